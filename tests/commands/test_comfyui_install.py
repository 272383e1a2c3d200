"""`basicsr comfyui-install`: what it writes, what it refuses, and that ComfyUI can execute it."""

import subprocess
import sys

import pytest
from conftest import ROOT, environment, status_of

PACKAGE = ROOT / 'hmaca_arch'
# Loads a folder as ComfyUI does, in a Python that has this package nowhere.
LOAD = """
import importlib.util, sys

class Hiding:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name == 'hmaca_arch' else self.finder.find_spec(name, path, target)

sys.path = [path for path in sys.path if path not in ('', sys.argv[2])]
sys.meta_path = [Hiding(finder) for finder in sys.meta_path if hasattr(finder, 'find_spec')]
name = sys.argv[1].replace('.', '_x_')
spec = importlib.util.spec_from_file_location(name, sys.argv[1] + '/__init__.py')
module = importlib.util.module_from_spec(spec)
sys.modules[name] = module
spec.loader.exec_module(module)
import hmaca_arch
print(hmaca_arch.__file__, *sorted(module.NODE_CLASS_MAPPINGS))
try:
    import spandrel
except ImportError:
    print('no spandrel')
else:
    print({'HMANet', 'HMACA'} <= {support.architecture.id for support in spandrel.MAIN_REGISTRY})
"""


def loaded(folder) -> list[str]:
    """What a fresh process prints that loads a folder as ComfyUI does."""
    result = subprocess.run(
        [sys.executable, '-c', LOAD, str(folder), str(ROOT)],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


EXPECTED = (
    f'{PACKAGE / "__init__.py"} HMACALoadModel HMACAMeasureDegradation HMACARestoreRegion',
    ('True', 'no spandrel'),
)


def test_comfyui_can_load_what_is_written(tmp_path, capsys):
    (tmp_path / 'custom_nodes').mkdir()
    assert status_of('comfyui-install', tmp_path) == 0
    folder = tmp_path / 'custom_nodes' / 'hmaca'
    assert str(folder) in capsys.readouterr().out
    workflows = {file.name: file.read_bytes() for file in (folder / 'example_workflows').iterdir()}
    assert workflows == {
        file.name: file.read_bytes()
        for file in (PACKAGE / 'comfyui' / 'example_workflows').iterdir()
    }
    first, second = loaded(folder)
    assert first == EXPECTED[0] and second in EXPECTED[1]


def test_a_link_does_as_well(tmp_path):
    link = tmp_path / 'hmaca'
    link.symlink_to(PACKAGE / 'comfyui', target_is_directory=True)
    first, second = loaded(link)
    assert first == EXPECTED[0] and second in EXPECTED[1]


def test_again_writes_what_is_new(tmp_path):
    (tmp_path / 'custom_nodes').mkdir()
    assert status_of('comfyui-install', tmp_path) == 0
    entry = tmp_path / 'custom_nodes' / 'hmaca' / '__init__.py'
    text = entry.read_text(encoding='utf-8')
    entry.write_text(text.replace(str(PACKAGE), '/moved/hmaca_arch'), encoding='utf-8')
    assert status_of('comfyui-install', tmp_path) == 0
    assert entry.read_text(encoding='utf-8') == text


@pytest.mark.parametrize('case', ['no ComfyUI', 'something else', 'a link'])
def test_what_is_not_ours_stays(tmp_path, capsys, case):
    target = tmp_path / 'custom_nodes' / 'hmaca'
    says = 'remove it first'
    if case == 'no ComfyUI':
        says = 'has no folder custom_nodes; expected the folder of a ComfyUI'
    elif case == 'something else':
        target.mkdir(parents=True)
        (target / '__init__.py').write_text('theirs', encoding='utf-8')
    else:
        (tmp_path / 'elsewhere').mkdir()
        target.parent.mkdir()
        target.symlink_to(tmp_path / 'elsewhere')
    before = sorted(tmp_path.rglob('*'))
    assert status_of('comfyui-install', tmp_path) == 1
    error = capsys.readouterr().err
    assert says in error and error.count('\n') == 1
    assert sorted(tmp_path.rglob('*')) == before
