"""The nodes, through the interfaces that ComfyUI documents for custom nodes. `stand_ins` has what
they use of it; test_real_comfyui.py starts the real one.
"""

import inspect
import json
import logging
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ROOT, status_of
from PIL import Image
from skimage import data

import hmaca_arch.comfyui
from hmaca_arch.comfyui.nodes import (
    NODE_CLASS_MAPPINGS,
    NODE_DISPLAY_NAME_MAPPINGS,
    SHIPPED,
    STEPS,
    LoadModel,
    MeasureDegradation,
    RestoreRegion,
)
from hmaca_arch.degradation import Degradation
from hmaca_arch.inference import SHIPPED_WEIGHTS

COMFYUI = ROOT / 'hmaca_arch' / 'comfyui'


class Interrupted(Exception):
    """As ComfyUI raises after Cancel."""


@pytest.fixture
def stand_ins(monkeypatch, tmp_path):
    """ComfyUI's modules with what the nodes call of them, and a record of the calls."""
    seen = SimpleNamespace(loaded=[], bars=[], cancelled=False, models=tmp_path / 'models')
    (seen.models / 'hmaca').mkdir(parents=True)

    class ModelPatcher:
        def __init__(self, model, load_device, offload_device):
            self.model = model
            self.load_device, self.offload_device = load_device, offload_device

    class ProgressBar:
        def __init__(self, total):
            self.total, self.shown = total, []
            seen.bars.append(self)

        def update_absolute(self, value, total=None, preview=None):
            self.shown.append(value)

    def interrupt():
        if seen.cancelled:
            raise Interrupted

    folders = {}
    contents = {
        'folder_paths': {
            'models_dir': str(seen.models),
            'add_model_folder_path': folders.__setitem__,
            'get_filename_list': lambda name: sorted(p.name for p in Path(folders[name]).iterdir()),
            'get_full_path_or_raise': lambda name, file: str(Path(folders[name]) / file),
        },
        'comfy': {'__path__': []},
        'comfy.utils': {'ProgressBar': ProgressBar},
        'comfy.model_patcher': {'ModelPatcher': ModelPatcher},
        'comfy.model_management': {
            'get_torch_device': lambda: torch.device('cpu'),
            'unet_offload_device': lambda: torch.device('cpu'),
            'load_models_gpu': lambda models, memory_required=0: seen.loaded.append(models),
            'throw_exception_if_processing_interrupted': interrupt,
        },
    }
    for name, attributes in contents.items():
        module = ModuleType(name)
        vars(module).update(attributes)
        monkeypatch.setitem(sys.modules, name, module)
    return seen


class Darker(torch.nn.Module):
    """A network that halves what it sees, and keeps what it was told."""

    def __init__(self):
        super().__init__()
        self.told = []

    def forward(self, lq, mask, degradation=None):
        self.told += [str(Degradation.from_vector(row)) for row in degradation.tolist()]
        return lq / 2


@pytest.fixture
def model():
    return SimpleNamespace(model=Darker(), load_device=torch.device('cpu'))


def as_image(pixels):
    """(h, w, 3) uint8 as Load Image gives it."""
    return torch.from_numpy(pixels.astype(np.float32) / 255.0)[None]


def as_mask(pixels):
    """(h, w) uint8 as Load Image (as Mask) gives it."""
    return torch.from_numpy(pixels.astype(np.float32) / 255.0)[None]


def as_saved(images):
    """What Save Image writes: it cuts off the fraction."""
    return np.clip(255.0 * images.numpy(), 0, 255).astype(np.uint8)


def photo(size=96):
    """A photograph with a square of blocks of 8, and its mask."""
    image = data.astronaut()[40 : 40 + size, 170 : 170 + size].copy()
    square = image[24:72, 16:64].astype(float).reshape(6, 8, 6, 8, 3)
    image[24:72, 16:64] = square.mean((1, 3)).round().repeat(8, 0).repeat(8, 1)
    mask = np.zeros(image.shape[:2], np.uint8)
    mask[24:72, 16:64] = 255
    return image, mask


def test_every_node_is_described_as_comfyui_asks():
    assert NODE_CLASS_MAPPINGS.keys() == NODE_DISPLAY_NAME_MAPPINGS.keys()
    assert hmaca_arch.comfyui.NODE_CLASS_MAPPINGS is NODE_CLASS_MAPPINGS
    for node in NODE_CLASS_MAPPINGS.values():
        assert len(node.RETURN_TYPES) == len(node.RETURN_NAMES) and node.CATEGORY == 'image/HMACA'
        assert len(getattr(node, 'OUTPUT_TOOLTIPS', node.RETURN_TYPES)) == len(node.RETURN_TYPES)


def test_inputs_are_the_arguments(stand_ins):
    for node in NODE_CLASS_MAPPINGS.values():
        inputs = node.INPUT_TYPES()
        names = [*inputs['required'], *inputs.get('optional', {})]
        assert ['self', *names] == list(inspect.signature(getattr(node, node.FUNCTION)).parameters)


def test_the_saved_file_is_the_commands(stand_ins, tmp_path, capsys):
    pixels, mask = photo()
    Image.fromarray(pixels).save(tmp_path / 'photo.png')
    Image.fromarray(mask).save(tmp_path / 'mask.png')
    files = ('-i', tmp_path / 'photo.png', '-m', tmp_path / 'mask.png', '-o', tmp_path / 'out.png')
    assert status_of('restore', *files, '--device', 'cpu') == 0
    (patcher,) = LoadModel().load(SHIPPED)
    restored, notes = RestoreRegion().restore(patcher, as_image(pixels), as_mask(mask))
    expected = np.asarray(Image.open(tmp_path / 'out.png'))
    assert np.array_equal(as_saved(restored)[0], expected)
    assert notes.startswith('measured at 16,24: blocks of 8 pixels')
    assert not np.array_equal(expected, pixels)
    assert stand_ins.loaded == [[patcher]]


def test_a_batch_is_each_image_alone(stand_ins, model):
    first, mask = photo()
    images = torch.cat([as_image(first), as_image(first[::-1].copy())])
    masks = torch.cat([as_mask(mask), as_mask(mask[::-1].copy())])
    node = RestoreRegion()
    together, _ = node.restore(model, images, masks, 'unknown')
    alone = [
        node.restore(model, images[i : i + 1], masks[i : i + 1], 'unknown')[0] for i in range(2)
    ]
    assert torch.equal(together, torch.cat(alone))
    changed = (together != images).any(-1)
    assert torch.equal(changed, masks > 0)
    both, _ = node.restore(model, images, masks[0], 'unknown')  # one mask, (h, w), for all
    assert torch.equal((both != images).any(-1), (masks[:1] > 0).expand(2, -1, -1))


def test_values_between_the_levels_stay_outside_and_are_not_rounded_inside(stand_ins, model):
    image = torch.rand(1, 40, 40, 3, generator=torch.Generator().manual_seed(0))
    image[:, :10] = image[:, :10] * 1.2 - 0.1  # other nodes may leave the range
    mask = torch.zeros(1, 40, 40)
    mask[:, 10:30, 10:30] = 1
    restored, _ = RestoreRegion().restore(model, image, mask, 'unknown')
    inside = mask[..., None].expand_as(image) > 0
    assert torch.equal(restored[~inside], image[~inside])
    torch.testing.assert_close(restored[inside], image[inside] / 2)


def test_soft_masks_and_feathering_reach_the_restorer(stand_ins, model):
    image, mask = torch.full((1, 40, 40, 3), 200 / 255), torch.zeros(1, 40, 40)
    mask[:, 10:30, 10:30] = 0.75
    soft, _ = RestoreRegion().restore(model, image, mask, 'unknown', soft_mask=True)
    assert as_saved(soft)[0, 20, 20].tolist() == [125] * 3  # 0.75 * 100 + 0.25 * 200
    hard, _ = RestoreRegion().restore(model, image, mask, 'unknown', feather=4)
    assert as_saved(hard)[0, 20, 20].tolist() == [100] * 3
    assert 100 < as_saved(hard)[0, 10, 20, 0] < 200


@pytest.mark.parametrize(
    ('images', 'masks', 'says'),
    [
        ((1, 40, 30, 3), (1, 64, 64), 'the mask has 64x64 pixels, the image 30x40'),
        ((3, 40, 30, 3), (2, 40, 30), 'got 2 masks for 3 images; expected one for all or one'),
    ],
)
@pytest.mark.parametrize('node', ['restore', 'measure'])
def test_what_does_not_fit_is_refused(stand_ins, model, node, images, masks, says):
    given = torch.zeros(images), torch.zeros(masks)
    with pytest.raises(ValueError, match=says):
        if node == 'restore':
            RestoreRegion().restore(model, *given)
        else:
            MeasureDegradation().measure(*given)


def test_a_degradation_is_checked_before_anything_runs(model):
    check = RestoreRegion.VALIDATE_INPUTS
    assert check('auto') is check('pix:8:centre@3,5+jpeg:75') is check('unknown') is True
    assert check() is check(None) is True  # it comes from another node
    assert check('pix:huge').startswith("degradation: got 'pix:huge', expected pix:BLOCK:mean")
    assert check('pix:huge').endswith('; or auto')
    assert check('kernel:k.png').startswith("degradation: got 'kernel:k.png', expected pix:BLOCK")
    with pytest.raises(ValueError, match="got 'words'"):
        RestoreRegion().restore(model, torch.zeros(1, 8, 8, 3), torch.zeros(1, 8, 8), 'words')


def test_the_bar_follows_the_tiles_of_each_image(stand_ins, model):
    images, masks = torch.rand(2, 300, 300, 3), torch.ones(2, 300, 300)
    RestoreRegion().restore(model, images, masks, 'unknown')
    (bar,) = stand_ins.bars
    assert bar.total == 2 * STEPS and bar.shown[-1] == bar.total
    assert bar.shown == sorted(bar.shown) and len(set(bar.shown)) == 9  # 4 tiles each


def test_cancel_ends_the_node(stand_ins, model):
    stand_ins.cancelled = True
    with pytest.raises(Interrupted):
        RestoreRegion().restore(model, torch.rand(1, 40, 40, 3), torch.ones(1, 40, 40), 'unknown')


def test_notes_are_an_output_and_in_the_log(stand_ins, model, caplog):
    caplog.set_level(logging.WARNING, 'hmaca_arch')
    _, notes = RestoreRegion().restore(
        model, torch.rand(2, 40, 40, 3), torch.zeros(1, 40, 40), 'unknown'
    )
    expected = [f'image {i}: the mask is empty (black): nothing is restored' for i in (1, 2)]
    assert notes.splitlines() == expected == caplog.messages


def test_checkpoints_are_those_of_the_models_folder(stand_ins, monkeypatch):
    folder = stand_ins.models / 'hmaca'
    for name in ('one.pth', 'notes.txt'):
        (folder / name).write_bytes(b'x')
    assert LoadModel.INPUT_TYPES()['required']['weights'][0] == [SHIPPED, 'one.pth']
    with pytest.raises(ValueError, match=r'one\.pth: not a checkpoint that can be read'):
        LoadModel().load('one.pth')
    (folder / 'one.pth').write_bytes(SHIPPED_WEIGHTS.read_bytes())
    changed = LoadModel.IS_CHANGED('one.pth')
    assert changed == (folder / 'one.pth').stat().st_mtime_ns != LoadModel.IS_CHANGED(SHIPPED)
    (patcher,) = LoadModel().load('one.pth')
    assert type(patcher.model.network).__name__ == 'Unfolded'
    assert patcher.load_device == patcher.offload_device == torch.device('cpu')


def test_a_measurement_serves_the_restoration(stand_ins, model):
    pixels, mask = photo(160)
    found = MeasureDegradation().measure(as_image(pixels), as_mask(mask))
    degradation, report, degraded = found['result']
    assert degradation.startswith('pix:8:mean') and 'blocks of 8 pixels' in report
    assert found['ui'] == {'text': [report]} and torch.equal(degraded, as_mask(mask))
    RestoreRegion().restore(model, as_image(pixels), as_mask(mask), degradation)
    (told,) = model.model.told
    assert told.startswith('pix:8:mean')


def test_a_painted_mask_is_cut_to_what_is_degraded(stand_ins):
    pixels, mask = photo(160)
    painted = np.zeros_like(mask)
    painted[17:78, 9:70] = 255
    _, report, degraded = MeasureDegradation().measure(as_image(pixels), as_mask(painted))['result']
    assert torch.equal(degraded, as_mask(mask)) and 'grid at 0,0' in report


def test_a_batch_of_different_degradations_is_unknown(stand_ins):
    pixels, mask = photo(160)
    clean = data.astronaut()[40:200, 170:330]
    images, masks = torch.cat([as_image(pixels), as_image(clean)]), as_mask(mask)
    degradation, report, degraded = MeasureDegradation().measure(images, masks)['result']
    assert degradation == 'unknown' and degraded.shape == (2, 160, 160)
    assert report.startswith('image 1: ')
    assert not degraded[1].any()
    nothing = MeasureDegradation().measure(images, 0 * masks)['result']
    assert nothing[0] == 'none' and nothing[1].count('the mask is empty') == 2


@pytest.mark.parametrize('name', ['restore_mask_file', 'restore_painted_mask'])
def test_workflows_fit_the_nodes(stand_ins, name):
    """As ComfyUI's page reads them: links at both ends, one value for each widget."""
    folder = COMFYUI / 'example_workflows'
    graph = json.loads((folder / f'{name}.json').read_text(encoding='utf-8'))
    assert (folder / f'{name}.jpg').is_file()  # shown among the templates
    nodes = {node['id']: node for node in graph['nodes']}
    assert graph['last_node_id'] == max(nodes) and graph['last_link_id'] == len(graph['links'])
    for number, source, out, target, into, kind in graph['links']:
        sent, received = nodes[source]['outputs'][out], nodes[target]['inputs'][into]
        assert number in sent['links'] and received['link'] == number
        assert sent['type'] == kind and received['type'] in (kind, '*')
    for node in nodes.values():
        ours = NODE_CLASS_MAPPINGS.get(node['type'])
        if ours:
            inputs = {**ours.INPUT_TYPES()['required'], **ours.INPUT_TYPES().get('optional', {})}
            sockets = [key for key, kind in inputs.items() if str(kind[0]).isupper()]
            widgets = [key for key in sockets if inputs[key][0] in ('STRING', 'INT', 'BOOLEAN')]
            assert [slot['name'] for slot in node['inputs']] == [
                key for key in sockets if key not in widgets
            ]
            assert [slot['name'] for slot in node['outputs']] == list(ours.RETURN_NAMES)
            assert len(node['widgets_values']) == len(inputs) - len(node['inputs'])
    assert set(NODE_CLASS_MAPPINGS) <= {node['type'] for node in nodes.values()}


def test_the_graph_for_the_api_is_the_workflow(stand_ins):
    graph = json.loads((COMFYUI / 'restore_mask_file_api.json').read_text(encoding='utf-8'))
    for node in graph.values():
        ours = NODE_CLASS_MAPPINGS.get(node['class_type'])
        if ours:
            inputs = {**ours.INPUT_TYPES()['required'], **ours.INPUT_TYPES().get('optional', {})}
            assert node['inputs'].keys() == inputs.keys()
        for value in node['inputs'].values():
            assert not isinstance(value, list) or value[0] in graph
    page = json.loads(
        (COMFYUI / 'example_workflows' / 'restore_mask_file.json').read_text(encoding='utf-8')
    )
    types = {node['type'] for node in page['nodes']} - {'PreviewAny'}
    assert types == {node['class_type'] for node in graph.values()}
