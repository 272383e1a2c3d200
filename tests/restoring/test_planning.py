"""Which image gets which mask and output, before anything is restored."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hmaca_arch.restoring import planning
from hmaca_arch.restoring.folders import REFUSED, SKIPPED
from hmaca_arch.restoring.mask_sources import MaskSource
from hmaca_arch.restoring.planning import Job, Plan, Request, ignores_case, make_plan


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """Make files, images where the ending is one, and a plan: plan(names, arguments) -> Plan."""
    monkeypatch.chdir(tmp_path)

    def make(names: str, inputs='in', output='out', mask=None, **options) -> Plan:
        for name in names.split():
            path = Path(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix in ('.png', '.jpg'):
                Image.fromarray(np.zeros((8, 8), np.uint8)).save(path)
            else:
                path.touch()
        mask = mask and Path(mask)
        inputs = [Path(one) for one in inputs.split()]
        return make_plan(Request(inputs, Path(output), MaskSource(), mask=mask, **options))

    return make


def jobs(found: Plan) -> list[tuple[str, str | None, str, bool]]:
    return [
        (one.image.as_posix(), one.mask and one.mask.as_posix(), one.output.as_posix(), one.copied)
        for one in found.jobs
    ]


def left(found: Plan) -> dict[str, tuple[str, str]]:
    return {one.path.as_posix(): (one.status, one.reason) for one in found.left}


@pytest.mark.parametrize(
    ('options', 'names'),
    [
        ({}, ['a.png', 'b.png', 'c.png']),
        ({'format': 'tif'}, ['a.tif', 'b.tif', 'c.tif']),
        ({'format': 'same', 'quality': 90}, ['a.jpg', 'b.png', 'c.png']),
    ],
)
def test_names_of_outputs_in_a_folder(plan, options, names):
    Path('in').mkdir()
    Image.new('L', (8, 8)).save('in/a.jpg')
    Image.new('L', (8, 8)).save('in/b.png')
    Image.new('L', (8, 8)).save('in/c.x', 'PNG')
    found = plan('', 'in/a.jpg in/b.png in/c.x', **options)
    assert [one.output for one in found.jobs] == [Path('out', name) for name in names]
    assert found.jobs[0] == Job(Path('in/a.jpg'), None, Path('out', names[0]), False, ())


def test_one_image_and_one_output(plan):
    assert jobs(plan('in/a.png', 'in/a.png', 'o.tif')) == [('in/a.png', None, 'o.tif', False)]
    for form in ('same', 'tif', None):
        assert jobs(plan('', 'in/a.png', 'o.TIFF', format=form))[0][2] == 'o.TIFF'
    assert jobs(plan('folder.png/x', 'in/a.png', 'folder.png'))[0][2] == 'folder.png/a.png'
    assert jobs(plan('in/b.png', 'in', 'v1.2'))[1][2] == 'v1.2/b.png', 'no ending of an image'
    Path('file').touch()
    Path('old.v1').touch()
    for inputs, output, options, message in (
        ('in/a.png', 'o.tif', {'format': 'png'}, '--format: png does not fit the ending of o.tif'),
        ('in/a.png', 'file', {}, '--output: file is a file; expected a folder'),
        ('in', 'o.png', {}, '--output: o.png is one file; expected a folder for several images'),
        ('in/a.png in/b.png', 'o.PNG', {}, '--output: o.PNG is one file'),
        ('in', 'old.v1', {}, '--output: old.v1 is one file'),
        ('in/a.png', 'o.xyz', {}, r'o\.xyz'),
    ):
        with pytest.raises(ValueError, match=message):
            plan('', inputs, output, **options)
    Path('in/b.png').unlink()
    with pytest.raises(ValueError, match='is one file; expected a folder'):
        plan('', 'in', 'o.png')


def test_one_mask_for_all_lies_beside_the_images(plan):
    found = plan('in/a.png in/m.png', mask='in/m.png')
    assert jobs(found) == [('in/a.png', 'in/m.png', 'out/a.png', False)]
    assert left(found) == {'in/m.png': (SKIPPED, 'the mask')}
    with pytest.raises(ValueError) as caught:
        plan('', 'in/m.png', mask='in/m.png')
    assert str(caught.value) == '--mask: in/m.png is the image itself; expected another file'
    with pytest.raises(FileNotFoundError, match=r'--mask: .*none\.png does not exist'):
        plan('', mask='none.png')
    Path('empty').mkdir()
    with pytest.raises(ValueError, match=r'^--input: .*empty holds no images'):
        plan('', 'empty', mask='in/m.png')


def test_a_folder_of_masks(plan):
    found = plan('in/a.png in/b.png in/c.png masks/a.png masks/c.png masks/x.png', mask='masks')
    assert jobs(found) == [
        ('in/a.png', 'masks/a.png', 'out/a.png', False),
        ('in/c.png', 'masks/c.png', 'out/c.png', False),
    ]
    assert left(found) == {
        'in/b.png': (
            REFUSED,
            'no mask: masks has no image named b or b_mask; there is a.png, c.png, x.png',
        ),
        'masks/x.png': (SKIPPED, 'a mask that no image uses'),
    }
    found = plan('masks/d.png masks/d.jpg in/d.png', mask='masks', copy_unmasked=True)
    assert jobs(found)[1] == ('in/b.png', None, 'out/b.png', True)
    assert left(found)['in/d.png'][1].startswith('several masks could be meant')
    copied = plan('in/e.jpg', mask='masks', copy_unmasked=True, format='tif').jobs
    assert {one.output.name for one in copied if one.copied} == {'b.png', 'e.jpg'}


def test_masks_among_the_images(plan):
    found = plan('in/a.png in/a_mask.png in/b.png', mask='in')
    assert jobs(found) == [('in/a.png', 'in/a_mask.png', 'out/a.png', False)]
    assert left(found)['in/a_mask.png'] == (SKIPPED, 'the mask of a.png')
    assert left(found)['in/b.png'][0] == REFUSED and len(found.left) == 2
    found = plan('', mask='in', copy_unmasked=True)
    assert [one[0] for one in jobs(found)] == ['in/a.png', 'in/b.png']


def test_folders_of_outputs_and_masks_are_no_input(plan):
    found = plan('in/a.png in/out/b.png in/m/a.png', 'in', 'in/out', 'in/m', recursive=True)
    assert jobs(found) == [('in/a.png', 'in/m/a.png', 'in/out/a.png', False)]
    assert left(found) == {
        'in/out': (SKIPPED, "the output's folder"),
        'in/m': (SKIPPED, 'the folder of masks'),
    }
    found = plan('', 'in in/out', 'in/out', recursive=True, mask='in/m')
    assert 'in/out/b.png' in left(found), 'unless it is named'


def test_a_jpeg_that_cannot_stay_one_becomes_png(plan, monkeypatch):
    monkeypatch.setattr(planning, 'obstacle_of_file', lambda path: 'it is odd')
    found = plan('in/a.jpg', format='jpg').jobs[0]
    assert found.output == Path('out/a.png') and found.notes == (
        'it is odd, so that as JPEG all of it would be compressed again; '
        'written as a.png (--quality N writes JPEG)',
    )
    assert plan('', format='jpg', quality=80).jobs[0].output == Path('out/a.jpg')
    assert plan('', format='tif').jobs[0].notes == ()


def test_outputs_that_clash(plan):
    found = plan('in/a.png in/a.jpg in/b.png')
    why = 'out/a.png is the output of another image too; rename one, or --format same'
    assert left(found) == {'in/a.png': (REFUSED, why), 'in/a.jpg': (REFUSED, why)}
    assert jobs(found) == [('in/b.png', None, 'out/b.png', False)]
    with pytest.raises(ValueError, match=r'^--output: m\.png is the mask; expected another file'):
        plan('m.png', 'in/b.png', 'm.png', 'm.png')


def test_outputs_of_an_earlier_run_are_no_images(plan, monkeypatch):
    monkeypatch.setattr(planning, 'is_own_output', lambda path: path.name == 'a.png')
    found = plan('in/a.png in/a.jpg in/b.png', output='in')
    assert jobs(found) == [
        ('in/a.jpg', None, 'in/a.png', False),
        ('in/b.png', None, 'in/b.png', False),
    ]
    assert left(found) == {'in/a.png': (SKIPPED, 'an output of an earlier run')}


def test_whether_a_folder_tells_case_apart_is_tried_there(tmp_path, monkeypatch):
    def outputs(*names: str) -> list[Job]:
        return [Job(Path('a'), None, tmp_path / 'new' / name) for name in names]

    (tmp_path / 'x').touch()
    tells = not (tmp_path / 'X').exists()
    assert ignores_case(outputs('a.png', 'A.png')) is not tells
    assert not list(tmp_path.glob('case*'))
    monkeypatch.setattr(planning.tempfile, 'NamedTemporaryFile', None)
    assert ignores_case(outputs('a.png', 'b.png')) is False, 'nothing is written for these'

    def refuses(**options):
        raise PermissionError

    monkeypatch.setattr(planning.tempfile, 'NamedTemporaryFile', refuses)
    assert ignores_case(outputs('a.png', 'A.png')) is False
