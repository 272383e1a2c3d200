"""Masks found by the names of images."""

import unicodedata
from pathlib import Path

import pytest

from hmaca_arch.restoring.folders import Found
from hmaca_arch.restoring.matching import Masks


@pytest.fixture
def masks(tmp_path, monkeypatch):
    """Make empty files and look for masks: masks(names, images, suffix) -> Masks."""
    monkeypatch.chdir(tmp_path)

    def make(names: str, images=(), suffix=None) -> Masks:
        for name in names.split():
            path = Path('masks', name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        if sum(path.is_file() for path in Path('masks').rglob('*')) < len(names.split()):
            pytest.skip('this system has one file of these names')
        return Masks(Path('masks'), images, suffix)

    return make


def image(name: str, below: str = '.') -> Found:
    return Found(Path('in', below, name), Path(below))


@pytest.mark.parametrize(
    ('names', 'suffix', 'found'),
    [
        ('a.png a_mask.png', None, 'a.png'),
        ('a_mask.png b_mask.png', None, 'a_mask.png'),
        ('a-mask001.bmp', None, 'a-mask001.bmp'),
        ('A.PNG', None, 'A.PNG'),
        ('a.png A.png', None, 'a.png'),
        ('a.png a-m.png A-M.png', '-m', 'a-m.png'),
        ('A-M.gif a.png', '-m', 'A-M.gif'),
    ],
)
def test_the_mask_of_an_image(masks, names, suffix, found):
    taken = masks(names, suffix=suffix)
    assert taken.of(image('a.jpg')) == Path('masks', found)
    others = sorted(set(names.split()) - {found})
    assert sorted(path.name for path in taken.unused()) == others


@pytest.mark.parametrize(
    ('names', 'suffix', 'message'),
    [
        ('a.png a.bmp', None, 'several masks could be meant: a.bmp, a.png; --mask-suffix chooses'),
        (
            'a_mask.png a_mask1.png',
            None,
            'several masks could be meant: a_mask.png, a_mask1.png; --mask-suffix chooses',
        ),
        ('xa.png', None, 'no mask: masks has no image named a or a_mask; there is xa.png'),
        (
            'b.png c.png d.png e.png',
            '-m',
            'no mask: masks has no image named a-m; there is b.png, c.png, d.png, ...',
        ),
        (
            'b.png c.png d.png .a.png a.txt',
            None,
            'no mask: masks has no image named a or a_mask; there is b.png, c.png, d.png',
        ),
        ('sub/a.png', None, 'no mask: masks has no image named a or a_mask; there is nothing'),
    ],
)
def test_why_an_image_has_none(masks, names, suffix, message):
    with pytest.raises(ValueError) as caught:
        masks(names, suffix=suffix).of(image('a.jpg'))
    assert str(caught.value) == message


def test_the_closest_names_are_shown(masks):
    with pytest.raises(ValueError, match=r'there is Photo-12\.png, \.\.\.$'):
        masks('Photo-12.png zzz.png').of(image('photo_12.jpg'))


def test_subfolders_mirror_those_of_the_images(masks):
    taken = masks('a.png x/Sub/a.png')
    assert taken.of(image('a.jpg', 'X/sub')) == Path('masks/x/Sub/a.png')
    assert taken.of(image('a.jpg', 'other')) == Path('masks/a.png'), 'not mirrored'
    assert taken.used == {
        Path('masks/x/Sub/a.png'): Path('in/X/sub/a.jpg'),
        Path('masks/a.png'): Path('in/other/a.jpg'),
    }


def test_images_are_no_masks_of_their_own(masks):
    own = Found(Path('masks/a.png'), Path())
    taken = masks('a.png a_mask.png b.png', [own])
    assert taken.of(own) == Path('masks/a_mask.png')
    assert taken.unused() == [Path('masks/b.png')]


def test_both_ways_of_an_accent_are_one_name(masks):
    name = 'Caf\N{LATIN SMALL LETTER E WITH ACUTE}'
    taken = masks(unicodedata.normalize('NFD', name) + '.png')
    assert taken.of(image(unicodedata.normalize('NFC', name).upper() + '.jpg')).suffix == '.png'


def test_a_folder_without_images(masks):
    with pytest.raises(ValueError) as caught:
        masks('a.txt .b.png')
    assert str(caught.value) == f'--mask: {Path("masks").absolute()} holds no images'
