"""Every input of `tests/data/corpus`: strangers' files and requests that once ended in a traceback,
never ended, or were read wrongly. Each has its right answer here.
"""

import copy
import json
import os

import numpy as np
import pytest
import torch
from conftest import ROOT
from torch import nn

from hmaca_arch.config import files
from hmaca_arch.files.images import decode
from hmaca_arch.files.masks import read_mask
from hmaca_arch.files.torch_files import load_safely
from hmaca_arch.inference import load_restorer
from hmaca_arch.training.state_checks import check_optimizer, check_state

CORPUS = ROOT / 'tests' / 'data' / 'corpus'
OPTIONS = {
    'alias_bomb': 'holds more than 20000 values, aliases resolved',
    'base_is_itself': 'is a base of itself',
    'bool_of_a_number': "num_gpu (line 1): '0.3' is no bool",
    'bool_of_letters': "name (line 1): 'kl' is no bool",
    'bool_of_three': "batch_size_per_gpu (line 1): '3' is no bool",
    'code_in_base': 'base (line 1): ',
    'contains_itself': 'contains itself',
    'deep': 'is nested too deeply',
    'empty_float': "path (line 1): '' is no float",
    'equals_sign': 'network_g: ',
    'escape_character': 'unacceptable character #x001b',
    'four_hundred_zeros': 'is no int that can be used',
    'key_twice': "key 'name' is given twice",
    'map_of_a_text': 'network_g (line 1): ',
    'merge_bomb': 'holds more than 20000 values, aliases resolved',
    'name_is_a_section': "datasets:train:name: got {'x': 'a'}, expected a name",
    'not_utf8': 'is not UTF-8: byte 0xff at position 6',
    'nul_character': 'unacceptable character #x0000',
    'object': 'name (line 1): it is given as ',
    'set_of_a_list': 'region (line 1): it is given as ',
    'timestamp': "num_gpu (line 1): '0' is given as !!timestamp",
}
CODE = 'besides tensors and plain values, and loading that could execute code'
CHECKPOINTS = {
    'claims_a_deep_network': 'depths is ',
    'claims_a_wide_network': 'embed_dim is ',
    'claims_an_infinite_setting': 'embed_dim is inf',
    'complex_tensor': 'conv_first.weight is a tensor complex64',
    'compressed': 'it is compressed: 2041 bytes that claim 1000237',
    'cut_short': 'it is damaged, or another kind of file',
    'description_is_a_list': 'is not a description of a network',
    'empty': 'it is cut short',
    'executes_code': CODE,
    'executes_code_of_the_old_format': CODE,
    'meta_tensor': 'tensors of a kind that no checkpoint has',
    'names_a_download': "names 'VGGFeatureExtractor' inside MaskInput",
    'names_another_file': "names 'SpyNet' inside MaskInput",
    'names_msrresnet': "network of the checkpoint is 'MSRResNet'",
    'names_stylegan': "network of the checkpoint is 'StyleGAN2Generator'",
    'quantised_tensor': 'tensors of a kind that no checkpoint has',
    'repeated_tensor': 'its tensors claim 4000000000 bytes and share 4',
    'sparse_tensor': 'tensors of a kind that no checkpoint has',
    'text': 'it is damaged, or another kind of file',
    'upsampler_without_channels': 'the state dict (keys ',
    'window_table_is_a_number': 'the state dict (keys ',
    'window_table_of_one_axis': 'the state dict (keys ',
    'window_table_without_entries': 'the state dict (keys ',
}
STATES = {
    'best_of_another_form': 'best:test:psnr has []',
    'endless_step': 'parameter 0: step is 1000000',
    'iteration_is_a_path': "iter is '../../x'; expected a whole number",
    'moment_is_missing': 'parameter 0: exp_avg_sq is missing',
    'moment_of_another_shape': 'exp_avg has shape (2, 5), here (4, 3, 3, 3)',
    'negative_step': 'parameter 0: step is -5',
    'parameter_is_a_list': 'parameter 0 is []; expected a section',
    'rate_beyond_float32': 'lr is 1e+260',
    'rates_are_a_section': 'schedulers:_last_lr is {}',
    'sound': None,
}
# Shape, the first pixel and what is said; or why it is refused. The pixels are those of the
# programs that made the files, or are computed by hand from what was stored.
IMAGES = {
    '300_dpi.jpg': ((16, 24, 3), None, []),
    'claims_a_terabyte.png': 'pixels are more than',
    'cut_short.png': 'the file is cut short',
    'damaged_gamma.png': 'a checksum does not match',
    'damaged_text.png': ((16, 24, 3), None, ['its tEXt chunk is damaged and left out']),
    'fewer_rows.png': 'it holds fewer rows than it claims',
    'frame_smaller_than_screen.gif': ((10, 12, 3), None, []),
    'gray_16.png': ((16, 24, 1), [66 * 257], []),
    'no_image.png': 'its content is none of PNG',
    'orientation_as_long.jpg': ((24, 16, 3), None, []),
    'pixels_overwritten.jpg': 'coded pixels are missing',
    'premultiplied_16.tif': ((6, 7, 4), None, []),
    'premultiplied_8.tif': ((64, 64, 4), [182, 140, 102, 255], []),
    'restart_interval_lost.jpg': 'coded pixels are missing',
    'scan_cut_short.jpg': 'coded pixels are missing',
    'thumbnail_page.tif': ((64, 64, 3), [182, 140, 102], []),
}
# Only `basicsr restore` looks for missing pixels.
SCANS = {name for name, answer in IMAGES.items() if answer == 'coded pixels are missing'}
MASKS = {
    'as_palette.png': 30,  # white pixels
    'sound.png': 30,
    'tinted.png': 'a mask must be black and white',
    'white_under_transparent.png': 'has transparent pixels',
    'zero_and_one.png': 30,
}
NOT_FOUND = (404, 'Not Found')
NO_FILE = (400, "the request has no file 'image'")
REQUESTS = {
    'a_file_of_the_server': NOT_FOUND,
    'a_file_route': NOT_FOUND,
    'a_form_cut_short': NO_FILE,
    'a_form_without_a_boundary': (400, 'Missing boundary'),
    'a_negative_length': (400, 'Invalid HTTP request'),
    'a_path_for_an_image': NO_FILE,
    'a_proxy': NOT_FOUND,
    'above_the_static_files': NOT_FOUND,
    'above_the_static_files_escaped': NOT_FOUND,
    'an_id_that_is_a_path': NOT_FOUND,
    'an_id_with_a_nul': (404, 'this session has no such image'),
    'another_name': (403, 'the page is not served under this name'),
    'another_origin': (403, 'the request comes from the page of another site'),
    'no_form': NO_FILE,
    'no_image': (400, 'context is '),
    'static_absolute': NOT_FOUND,
}
KINDS = {
    'options': {f'{name}.yml' for name in OPTIONS},
    'checkpoints': {f'{name}.pth' for name in CHECKPOINTS},
    'states': {f'{name}.state' for name in STATES},
    'images': set(IMAGES),
    'masks': set(MASKS),
    'requests': {f'{name}.json' for name in REQUESTS},
}


def test_every_file_has_an_answer():
    found = {
        folder.name: {path.name for path in folder.iterdir()} for folder in sorted(CORPUS.iterdir())
    }
    assert found == {kind: KINDS[kind] for kind in sorted(KINDS)}
    assert sum(path.stat().st_size for path in CORPUS.rglob('*.*')) < 2**20, 'small files'


def lines_of(error: Exception) -> list[str]:
    lines = getattr(error, 'lines', [str(error)])
    assert lines and not any('\n' in line for line in lines)
    return lines


@pytest.mark.parametrize('name', OPTIONS)
def test_option_file(name):
    with pytest.raises(ValueError) as caught:
        files.resolve(str(CORPUS / 'options' / f'{name}.yml'), [])
    assert any(OPTIONS[name] in line for line in lines_of(caught.value)), caught.value


@pytest.mark.parametrize('override', ['0', '1'])
@pytest.mark.parametrize('name', CHECKPOINTS)
def test_checkpoint(name, override, tmp_path, monkeypatch):
    """With and without the environment that makes torch execute what it loads."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', override)
    path = CORPUS / 'checkpoints' / f'{name}.pth'
    with pytest.raises(ValueError) as caught:
        load_restorer(path, 'cpu')
    (line,) = lines_of(caught.value)
    assert line.startswith(str(path)) and CHECKPOINTS[name] in line
    assert os.listdir(tmp_path) == [], 'nothing was executed'


@pytest.mark.parametrize('name', STATES)
def test_training_state(name):
    network = nn.Conv2d(3, 4, 3)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)

    def resume() -> None:
        state = load_safely(CORPUS / 'states' / f'{name}.state')
        check_state(state)
        check_optimizer(optimizer, state['optimizers'][0])
        optimizer.load_state_dict(copy.deepcopy(state['optimizers'][0]))
        network(torch.rand(1, 3, 8, 8)).sum().backward()
        optimizer.step()

    if STATES[name] is None:
        resume()
        return
    with pytest.raises(ValueError) as caught:
        resume()
    (line,) = lines_of(caught.value)
    assert STATES[name] in line


@pytest.mark.parametrize('name', IMAGES)
def test_image(name):
    data = (CORPUS / 'images' / name).read_bytes()
    if isinstance(IMAGES[name], str):
        with pytest.raises(ValueError) as caught:
            decode(data, name, convert=name in SCANS)
        (line,) = lines_of(caught.value)
        assert line.startswith(name) and IMAGES[name] in line
        return
    shape, first, notes = IMAGES[name]
    found = decode(data, name, convert=name in SCANS)
    assert found.pixels.shape == shape and found.notes == notes
    assert first is None or found.pixels[0, 0].tolist() == first


def test_associated_alpha_of_16_bits_is_that_of_8(tmp_path):
    """By hand: a colour is what is stored, times 65535, by its alpha."""
    tifffile = pytest.importorskip('tifffile')
    path = CORPUS / 'images' / 'premultiplied_16.tif'
    stored = tifffile.imread(path).astype(np.float64)
    found = decode(path.read_bytes(), path.name)
    expected = stored[..., :3] * 65535 / stored[..., 3:]
    assert np.abs(found.colours - expected).max() <= 0.5 + 1e-9
    assert (found.alpha == stored[..., 3]).all()


@pytest.mark.parametrize('name', MASKS)
def test_mask(name):
    data = (CORPUS / 'masks' / name).read_bytes()
    if isinstance(MASKS[name], str):
        with pytest.raises(ValueError) as caught:
            read_mask(data, name=name)
        (line,) = lines_of(caught.value)
        assert line.startswith(name) and MASKS[name] in line
        return
    mask, _ = read_mask(data, name=name)
    assert mask.sum() == MASKS[name] and set(np.unique(mask)) == {0, 1}


@pytest.fixture(scope='module')
def page(tmp_path_factory):
    pytest.importorskip('uvicorn')
    from page.serving import Served

    with Served(tmp_path_factory.mktemp('page'), load_restorer(device='cpu')) as served:
        yield served


@pytest.mark.parametrize('name', REQUESTS)
def test_request(page, name):
    """Each is refused in one line, and the page goes on."""
    from page.serving import Visitor, form

    asked = json.loads((CORPUS / 'requests' / f'{name}.json').read_text(encoding='utf-8'))
    headers = {key.replace('-', '_'): value for key, value in asked.get('headers', {}).items()}
    body = asked['body'].encode() if 'body' in asked else None
    if 'form' in asked:
        body, headers['Content_Type'] = form(asked['form'])
    visitor = Visitor(page.address)
    answer = visitor.ask(asked['method'], asked['path'], body, **headers)
    status, said = REQUESTS[name]
    assert answer.status == status and said in answer.body.decode()
    assert b'root:' not in answer.body and b'\n' not in answer.body.strip()
    assert 'access-control-allow-origin' not in answer.headers
    assert visitor.ask('GET', '/').status == 200
