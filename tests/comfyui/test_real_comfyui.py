"""The nodes in the real ComfyUI, where there is one: HMACA_COMFYUI names its folder, and
HMACA_COMFYUI_PYTHON its Python, if that is not this one.
"""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, environment, status_of
from PIL import Image
from skimage import data

COMFYUI = os.environ.get('HMACA_COMFYUI')
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not COMFYUI, reason='HMACA_COMFYUI does not name the folder of a ComfyUI'),
]
# Importing hmaca_arch first repairs a torchvision whose compiled operators do not fit torch.
START = "import runpy, hmaca_arch; runpy.run_path('main.py', run_name='__main__')"


class Server:
    """A ComfyUI with folders of its own."""

    def __init__(self, base: Path) -> None:
        self.base = base
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = free.getsockname()[1]
        self.address = f'http://127.0.0.1:{port}'
        arguments = ['--cpu', '--port', str(port), '--base-directory', str(base)]
        self.log = (base / 'log.txt').open('wb')
        self.process = subprocess.Popen(
            [os.environ.get('HMACA_COMFYUI_PYTHON', sys.executable), '-c', START]
            + [*arguments, '--disable-auto-launch'],
            cwd=COMFYUI,
            env={**environment(), 'PYTHONPATH': f'{COMFYUI}{os.pathsep}{ROOT}'},
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )
        for _ in range(600):
            try:
                self.get('/system_stats')
                return
            except urllib.error.URLError:
                assert self.process.poll() is None, (base / 'log.txt').read_text(errors='replace')
                time.sleep(0.5)
        raise TimeoutError((base / 'log.txt').read_text(errors='replace'))

    def get(self, path: str):
        with urllib.request.urlopen(self.address + path) as answer:
            return json.load(answer)

    def run(self, graph: dict) -> tuple[str, dict, list]:
        """Its status, its outputs by node, and the errors of nodes."""
        request = urllib.request.Request(
            f'{self.address}/prompt',
            json.dumps({'prompt': graph}).encode(),
            {'Content-Type': 'application/json'},
        )
        with urllib.request.urlopen(request) as answer:
            number = json.load(answer)['prompt_id']
        while number not in (history := self.get(f'/history/{number}')):
            assert self.process.poll() is None
            time.sleep(0.2)
        status = history[number]['status']
        errors = [values for kind, values in status['messages'] if kind == 'execution_error']
        return status['status_str'], history[number]['outputs'], errors


@pytest.fixture(scope='module')
def server(tmp_path_factory):
    base = tmp_path_factory.mktemp('comfyui')
    for name in ('custom_nodes', 'input', 'output', 'models', 'temp', 'user'):
        (base / name).mkdir()
    assert status_of('comfyui-install', base) == 0
    image = data.astronaut()[:256, 96:352].copy()
    region = image[64:184, 72:184].astype(float).reshape(15, 8, 14, 8, 3)
    image[64:184, 72:184] = region.mean((1, 3)).round().repeat(8, 0).repeat(8, 1)
    mask = np.zeros((256, 256), np.uint8)
    mask[64:184, 72:184] = 255
    Image.fromarray(image).save(base / 'input' / 'photo.png')
    Image.fromarray(mask).save(base / 'input' / 'mask.png')
    Image.fromarray(mask[:200]).save(base / 'input' / 'lower.png')
    started = Server(base)
    yield started
    started.process.terminate()
    started.process.wait(30)
    started.log.close()


@pytest.fixture
def graph():
    path = ROOT / 'hmaca_arch' / 'comfyui' / 'restore_mask_file_api.json'
    return json.loads(path.read_text(encoding='utf-8'))


def saved(server, outputs) -> list[np.ndarray]:
    (images,) = [output['images'] for output in outputs.values() if 'images' in output]
    return [np.asarray(Image.open(server.base / 'output' / one['filename'])) for one in images]


def test_the_saved_file_is_the_commands(server, graph, tmp_path):
    status, outputs, errors = server.run(graph)
    assert (status, errors) == ('success', [])
    folder = server.base / 'input'
    files = ('-i', folder / 'photo.png', '-m', folder / 'mask.png', '-o', tmp_path / 'out.png')
    assert status_of('restore', *files, '--device', 'cpu') == 0
    expected = np.asarray(Image.open(tmp_path / 'out.png'))
    assert np.array_equal(saved(server, outputs)[0], expected)
    (text,) = [output['text'] for output in outputs.values() if 'text' in output]
    assert 'blocks of 8 pixels' in text[0]


def test_a_batch_and_a_measured_degradation(server, graph):
    graph['7'] = {'class_type': 'RepeatImageBatch', 'inputs': {'image': ['2', 0], 'amount': 2}}
    graph['5']['inputs'] |= {'image': ['7', 0], 'degradation': ['4', 0]}
    status, outputs, errors = server.run(graph)
    first, second = saved(server, outputs)
    assert (status, errors) == ('success', []) and np.array_equal(first, second)


def test_comfyui_says_what_does_not_fit(server, graph):
    graph['3']['inputs']['image'] = 'lower.png'
    status, _, (error,) = server.run(graph)
    assert status == 'error' and error['node_type'].startswith('HMACA')
    assert 'the mask has 256x200 pixels, the image 256x256' in error['exception_message']


def test_the_workflows_are_templates(server):
    names = server.get('/workflow_templates')['hmaca']
    assert sorted(names) == ['restore_mask_file', 'restore_painted_mask']
    for name in names:
        graph = server.get(f'/api/workflow_templates/hmaca/{name}.json')
        assert {node['type'] for node in graph['nodes']} - {'MarkdownNote'} <= set(
            server.get('/object_info')
        )
