"""Which files are images and what is said about every other one."""

import os
from pathlib import Path

import pytest

from hmaca_arch.restoring import folders
from hmaca_arch.restoring.folders import REFUSED, SKIPPED, Found, Left, find_images


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ('b.PNG', 'a.jpg', 'c.txt', '.d.png', 'e.CR2', 'sub/f.png', 'sub/deep/g.tif'):
        path = Path('in', name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for name in ('texts/x.txt', 'hidden/.y.png', 'nested/deep/z.gif'):
        path = Path('in', name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return Path('in')


def reasons(left: list[Left]) -> dict[str, tuple[str, str]]:
    return {one.path.as_posix(): (one.status, one.reason) for one in left}


def test_a_folder_without_its_subfolders(tree):
    images, left = find_images([tree])
    assert images == [Found(tree / 'a.jpg', Path()), Found(tree / 'b.PNG', Path())]
    found = reasons(left)
    raw = found.pop('in/e.CR2')
    assert raw[0] == REFUSED and raw[1].startswith('cannot be read as an image: ')
    assert found == {
        'in/.d.png': (SKIPPED, 'its name starts with a dot'),
        'in/c.txt': (SKIPPED, 'its ending is not one of an image'),
        'in/hidden': (SKIPPED, 'a folder without images'),
        'in/nested': (REFUSED, 'a folder with images; --recursive goes into it'),
        'in/sub': (REFUSED, 'a folder with images; --recursive goes into it'),
        'in/texts': (SKIPPED, 'a folder without images'),
    }


def test_with_subfolders_but_those_that_are_apart(tree):
    apart = [(tree.absolute() / 'nested/../nested', 'the output')]
    images, left = find_images([tree], recursive=True, apart=apart)
    assert [(one.path.as_posix(), one.below.as_posix()) for one in images] == [
        ('in/a.jpg', '.'),
        ('in/b.PNG', '.'),
        ('in/sub/deep/g.tif', 'sub/deep'),
        ('in/sub/f.png', 'sub'),
    ]
    assert reasons(left)['in/nested'] == (SKIPPED, 'the output')
    assert reasons(find_images([tree], apart=apart)[1])['in/nested'] == (SKIPPED, 'the output')


def test_each_image_once_and_files_by_name_whatever_they_are(tree):
    images, left = find_images([tree / 'c.txt', tree, tree / 'sub/../a.jpg', tree.absolute()])
    assert [one.path.name for one in images] == ['c.txt', 'a.jpg', 'b.PNG', 'a.jpg']
    assert 'in/c.txt' not in reasons(left) and len(left) == len(reasons(left)) == 6


def test_patterns_are_sorted_and_go_into_subfolders(tree):
    images, left = find_images([tree / '**' / '*.[pP][nN]?'])
    assert [one.path.as_posix() for one in images] == ['in/b.PNG', 'in/sub/f.png'] and not left
    Path('in/[x].png').touch()
    assert find_images([tree / '[x].png'])[0] == [Found(tree / '[x].png', Path())], 'a name first'
    for name, what in (('no*.png', 'matches no file'), ('no.png', 'does not exist')):
        with pytest.raises(FileNotFoundError) as caught:
            find_images([tree / name])
        assert str(caught.value) == f'--input: {Path(tree, name).absolute()} {what}'


@pytest.mark.skipif(os.name == 'nt', reason='links need rights on Windows')
def test_links_to_folders(tree):
    Path('in/link').symlink_to('sub')
    assert reasons(find_images([tree])[1])['in/link'][0] == REFUSED
    images, left = find_images([tree], recursive=True)
    assert not any('link' in one.path.as_posix() for one in images)
    assert reasons(left)['in/link'] == (
        SKIPPED,
        'a link to a folder; name it as an input of its own',
    )


@pytest.mark.parametrize(
    ('error', 'words'), [(PermissionError(13, 'no rights'), 'no rights'), (OSError('odd'), 'odd')]
)
def test_a_folder_that_cannot_be_listed_is_refused(tree, monkeypatch, error, words):
    listdir = os.listdir

    def fails(path):
        if Path(path).name == 'sub':
            raise error
        return listdir(path)

    monkeypatch.setattr(folders.os, 'listdir', fails)
    images, left = find_images([tree], recursive=True)
    assert reasons(left)['in/sub'] == (REFUSED, f'cannot be listed: {words}')
    assert [one.path.name for one in images] == ['a.jpg', 'b.PNG', 'z.gif']
