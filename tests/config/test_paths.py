"""Environment variables and `~` in the paths of option files."""

import pytest
from conftest import changed, tiny_options, write_options

import datasets_ext  # noqa: F401
import losses_ext  # noqa: F401
from hmaca_arch.config import files
from hmaca_arch.config.paths import expand, expand_paths, is_path
from hmaca_arch.messages import OptionError


def test_variables_in_paths_are_expanded_and_other_texts_are_left(tmp_path, monkeypatch):
    monkeypatch.setenv('MY_DATA', '/some/where')
    options = changed(
        tiny_options(tmp_path),
        {
            'datasets:train:dataroot_gt': '${MY_DATA}/horse/gt',
            'datasets:val:meta_info_file': '${MY_DATA}${MY_DATA}.txt',
            'path:pretrain_network_g': '${MY_DATA}/a.pth',
            'datasets:val:prepare': 'echo ${MY_DATA}',
            'path:resume_state': '$MY_DATA',
        },
    )
    found = files.resolve(write_options(tmp_path / 'o.yml', options), [])
    assert found['datasets']['train']['dataroot_gt'] == '/some/where/horse/gt'
    assert found['datasets']['val']['meta_info_file'] == '/some/where/some/where.txt'
    assert found['path'] == {'pretrain_network_g': '/some/where/a.pth', 'resume_state': '$MY_DATA'}
    assert found['datasets']['val']['prepare'] == 'echo ${MY_DATA}'


def test_every_kind_of_path(monkeypatch):
    monkeypatch.setenv('MY_DATA', '/some/where')
    monkeypatch.setenv('HOME', '/home/me')
    found = expand_paths(
        {
            'network_g': {'type': 'BasicVSR', 'spynet_path': '~/spynet.pth'},
            'datasets': {'train': {'dataroot_gt': ['${MY_DATA}/a', '~/b'], 'name': '~'}},
            'path': {'pretrain_network_d': '${MY_DATA}/d.pth', 'strict_load_d': True},
        }
    )
    assert found == {
        'network_g': {'type': 'BasicVSR', 'spynet_path': '/home/me/spynet.pth'},
        'datasets': {'train': {'dataroot_gt': ['/some/where/a', '/home/me/b'], 'name': '~'}},
        'path': {'pretrain_network_d': '/some/where/d.pth', 'strict_load_d': True},
    }


@pytest.mark.parametrize(
    ('place', 'expected'),
    [
        ('datasets:train:dataroot_gt', True), ('datasets:train:meta_info_file', True), ('datasets:val_2:flow_path', True),
        ('datasets:train:name', False), ('datasets:dataroot', False), ('datasets:train:io_backend:db_paths', False), ('dataroot', False),
        ('datasets:train:a_dataroot', False), ('path:resume_state', True), ('path:pretrain_network_g', True), ('path:strict_load_g', False),
        ('path:models:resume_state', False), ('network_g:load_path', True), ('network_g:path', True), ('network_g:load_paths', False),
        ('my_network_g:load_path', False), ('train:load_path', False),
    ],
)  # fmt: skip
def test_which_keys_are_paths(place, expected):
    assert is_path(place) is expected


def test_a_path_alone_is_expanded_or_refused(monkeypatch):
    monkeypatch.setenv('MY_DATA', 'd')
    monkeypatch.delenv('GONE', raising=False)
    assert expand('data', '${MY_DATA}/${GONE:-e}') == 'd/e'
    with pytest.raises(OptionError) as caught:
        expand('data', '${GONE}/${MY_DATA}/${GONE}')
    assert caught.value.lines == [
        'data: ${GONE}/${MY_DATA}/${GONE}: the environment variable GONE is not set; export GONE=..., or write the path itself'
    ]


def test_bases_and_data_files_are_paths_too(tmp_path, monkeypatch):
    monkeypatch.setenv('MY_FILES', str(tmp_path))
    (tmp_path / 'mine.yml').write_text('datasets: {val: {name: mine}}\n', encoding='utf-8')
    options = {**tiny_options(tmp_path), 'data': '${MY_FILES}/mine.yml'}
    del options['datasets']['val']['name']
    write_options(tmp_path / 'o.yml', options)
    above = tmp_path / 'above'
    above.mkdir()
    (above / 'p.yml').write_text('base: ${MY_FILES}/o.yml\nname: p\n', encoding='utf-8')
    found = files.resolve(above / 'p.yml')
    assert found['name'] == 'p' and found['datasets']['val']['name'] == 'mine'
    monkeypatch.delenv('MY_FILES')
    with pytest.raises(OptionError, match=r'p.yml: base: .* variable MY_FILES is not set'):
        files.resolve(above / 'p.yml')
    with pytest.raises(OptionError, match=r'^data: .* variable MY_FILES is not set'):
        files.resolve(tmp_path / 'o.yml')


def test_a_variable_that_is_not_set_is_named_with_its_key(tmp_path, monkeypatch):
    monkeypatch.delenv('MY_DATA', raising=False)
    options = changed(
        tiny_options(tmp_path),
        {'datasets:train:dataroot_lq': '${MY_DATA}/lq', 'path:resume_state': '${MY_DATA}/1.state'},
    )
    with pytest.raises(OptionError) as caught:
        files.resolve(write_options(tmp_path / 'o.yml', options), [])
    assert len(caught.value.lines) == 2
    assert caught.value.lines[0].startswith(
        'datasets:train:dataroot_lq: ${MY_DATA}/lq: the environment variable MY_DATA is not set; '
    )


def test_a_default_stands_in_for_a_variable_as_in_shells(monkeypatch):
    monkeypatch.setenv('SET', '/set')
    monkeypatch.setenv('EMPTY', '')
    monkeypatch.delenv('MY_DATA', raising=False)
    for text, path in (
        ('${MY_DATA:-datasets}/horse', 'datasets/horse'),
        ('${MY_DATA:-/a b}/${SET:-x}', '/a b//set'),
        ('${EMPTY:-y}', 'y'),
        ('${MY_DATA:-}x', 'x'),
        ('${EMPTY}x', 'x'),
        ('${MY_DATA-y}', '${MY_DATA-y}'),  # no form that is known
    ):
        assert expand_paths({'path': {'resume_state': text}}) == {'path': {'resume_state': path}}
