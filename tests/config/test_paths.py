"""Environment variables in the paths of option files."""

import pytest
from conftest import changed, tiny_options, write_options

import datasets_ext  # noqa: F401
import losses_ext  # noqa: F401
from hmaca_arch.config import files
from hmaca_arch.messages import OptionError


def test_variables_in_paths_are_expanded_and_other_texts_are_left(tmp_path, monkeypatch):
    monkeypatch.setenv('MY_DATA', '/some/where')
    options = changed(
        tiny_options(tmp_path),
        {
            'datasets:train:dataroot_gt': '${MY_DATA}/horse/gt', 'datasets:val:meta_info_file': '${MY_DATA}${MY_DATA}.txt',
            'path:pretrain_network_g': '${MY_DATA}/a.pth', 'datasets:val:prepare': 'echo ${MY_DATA}', 'path:resume_state': '$MY_DATA',
        },
    )  # fmt: skip
    found = files.resolve(write_options(tmp_path / 'o.yml', options), [])
    assert found['datasets']['train']['dataroot_gt'] == '/some/where/horse/gt'
    assert found['datasets']['val']['meta_info_file'] == '/some/where/some/where.txt'
    assert found['path'] == {'pretrain_network_g': '/some/where/a.pth', 'resume_state': '$MY_DATA'}
    assert found['datasets']['val']['prepare'] == 'echo ${MY_DATA}'


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
