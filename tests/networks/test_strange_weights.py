"""Weights from a stranger cost one line at most: no file, socket, program, memory or time."""

import ast
import io
import json
import os
import pickle
import resource
import socket
import struct
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import basicsr
import cv2
import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from basicsr.archs.spynet_arch import SpyNet
from conftest import ROOT, command_line, environment, tiny_options, write_options
from samples import SECTIONS, as_release

from hmaca_arch import HMACA, HMANet, build_network_from_state_dict, compat
from hmaca_arch.config import checks as option_checks
from hmaca_arch.experiments.comparison import methods
from hmaca_arch.files import claims as file_claims
from hmaca_arch.files import pickles
from hmaca_arch.files.torch_files import load_safely, read_checkpoint
from hmaca_arch.inference import load_restorer
from hmaca_arch.networks import described
from hmaca_arch.networks.mask_input import network_section

HUGE = 10**9
DAMAGED = 'it is damaged, or another kind of file'
SMALL_OURS = {
    'embed_dim': 32,
    'depths': (1,),
    'num_heads': (2,),
    'window_size': 4,
    'interval_size': 2,
}
OURS = {'embed_dim': 32, 'depths': [1], 'num_heads': [2], 'window_size': 4}


def description(network: str, settings: dict) -> torch.Tensor:
    text = json.dumps({'network': network, 'settings': settings})
    return torch.tensor(list(text.encode()), dtype=torch.uint8)


def saved(path: Path, weights: dict, **how) -> Path:
    torch.save({'params_ema': weights}, path, **how)
    return path


def refused(weights, path: Path) -> str:
    """Return the line that refuses a state dict, equal for a file and for the dict itself."""
    with pytest.raises(ValueError) as caught:
        build_network_from_state_dict(weights)
    with pytest.raises(ValueError) as from_file:
        load_restorer(saved(path, weights), device='cpu')
    for text in (str(caught.value), str(from_file.value)):
        assert '\n' not in text and len(text) < 1200
    assert str(path) in str(from_file.value)
    return str(caught.value)


def ours(**settings) -> dict:
    return HMACA(**{**OURS, **settings}).state_dict()


def measured(tmp_path: Path, *arguments, **more) -> tuple[int, str, int]:
    """Run `basicsr ...` as a process; return exit status, errors and peak memory in MB."""
    code = (
        'import resource, subprocess, sys\n'
        'done = subprocess.run(sys.argv[1:], capture_output=True, text=True)\n'
        'print(done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)\n'
        'print(done.stderr)\n'
    )
    command = [sys.executable, '-c', code, *command_line(*arguments)]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**environment(), **more},
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    numbers, errors = done.stdout.split('\n', 1)
    status, megabytes = numbers.split()
    assert 'Traceback' not in errors
    return int(status), errors.strip(), int(megabytes)


@pytest.fixture
def image(tmp_path):
    """Return the arguments of `basicsr restore` for a small image and its mask."""
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((64, 64, 3), np.uint8))
    mask = np.zeros((64, 64), np.uint8)
    mask[20:30, 20:30] = 255
    cv2.imwrite(str(tmp_path / 'm.png'), mask)
    return ('-i', 'a.png', '-m', 'm.png', '-o', 'out.png', '--overwrite', '--device', 'cpu')


# --- descriptions: the closed list


@pytest.mark.parametrize('override', ['0', '1'])
def test_a_description_does_not_open_another_file(tmp_path, image, override):
    """In a process, with and without the environment that makes torch execute what it loads."""

    class Program:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'executed'),)

    torch.save({'params': Program()}, tmp_path / 'other.bin')
    inner = {'type': 'SpyNet', 'load_path': str(tmp_path / 'other.bin')}
    saved(
        tmp_path / 'net.pth',
        {'_extra_state': description('MaskInput', {'inner': inner}), 'x': torch.zeros(1)},
    )
    how = {'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD': override}
    status, errors, _ = measured(tmp_path, 'restore', *image, '--weights', 'net.pth', **how)
    assert (
        status == 1
        and len(errors.splitlines()) == 1
        and "names 'SpyNet' inside MaskInput" in errors
        and '-opt' in errors
    )
    assert not (tmp_path / 'executed').exists() and not (tmp_path / 'out.png').exists()


@pytest.mark.parametrize(
    'name',
    ['VGGFeatureExtractor', 'SpyNet', 'DFDNet', 'BasicVSR', 'TOFlow', 'StyleGAN2Generator', 'DUF', 'MSRResNet', 'MaskInput', 'HMACA',
     'InceptionV3', 'os.system', '', 'x' * 5000, 'swinir'],
)  # fmt: skip
@pytest.mark.parametrize('inside', [True, False])
def test_other_networks_need_their_option_file(tmp_path, name, inside):
    if name in ('HMACA', 'MaskInput') and not inside:
        pytest.skip('these may be described')
    settings = {'inner': {'type': name, 'num_block': HUGE, 'out_size': HUGE}}
    text = refused(
        {
            '_extra_state': description(*(('MaskInput', settings) if inside else (name, {}))),
            'x': torch.zeros(1),
        },
        tmp_path / 'n',
    )
    assert 'option file' in text and '-opt' in text


@pytest.mark.parametrize(
    'more',
    [
        {'load_path': '/etc/passwd'}, {'norm_layer': 'LayerNorm'}, {'pretrained': 'https://example.org/x.pth'}, {'upsampler': 'eval'},
        {'resi_connection': ['1conv', 'some/path']}, {'inner': {'type': 'SwinIR'}}, {'img_range': [[1]]}, {'depths': {'type': 'SwinIR'}},
        {'embed_dim': [{'a': 1}]}, {'x' * 3000: 'text'}, {'img_range': float('nan')}, {'img_range': float('inf')}, {'qk_scale': HUGE},
        {'embed_dim': 10**400}, {'depths': [1] * 1000}, {'depths': []},
    ],
)  # fmt: skip
def test_settings_are_numbers_and_known_names(tmp_path, more):
    inner = {**SECTIONS['SwinIR'], **more}
    weights = build_network(
        network_section({**SECTIONS['SwinIR'], 'mask_input': 'channel'})
    ).state_dict()
    weights['_extra_state'] = description('MaskInput', {'mask_input': 'channel', 'inner': inner})
    refused(weights, tmp_path / 'net.pth')
    weights = ours()
    weights['_extra_state'] = description('HMACA', {**OURS, **more})
    refused(weights, tmp_path / 'net.pth')


def test_every_text_that_a_network_takes_is_written_down():
    """The closed list has every name that a setting may be, also one that is added later."""
    for network in (HMANet, HMACA):
        for key, kind in network.__init__.__annotations__.items():
            if getattr(kind, '__origin__', None) is not None and 'Literal' in str(kind):
                assert set(kind.__args__) <= set(described.NAMES[key]), key
    assert all(
        inner in SECTIONS or inner in ('HMANet', 'HMACA')
        for names in described.NESTED.values()
        for inner in names
    )


@pytest.fixture
def no_sockets(monkeypatch):
    def forbidden(*_, **__):
        raise AssertionError('a socket was opened')

    monkeypatch.setattr(socket, 'socket', forbidden)
    monkeypatch.setattr(socket, 'create_connection', forbidden)
    monkeypatch.setattr(socket, 'getaddrinfo', forbidden)


@pytest.mark.parametrize('name', ['HMANet', 'HMACA', 'Unfolded', *described.STOCK])
def test_restoring_opens_no_socket(tmp_path, no_sockets, name):
    """Each network of the list is built from its description alone."""
    if name in ('HAT', 'DRCT', 'NAFNet'):
        pytest.importorskip('spandrel')
    ours = (
        {'type': name, **OURS}
        if name != 'Unfolded'
        else {'type': name, 'inner': {'type': 'HMACA', **OURS}}
    )
    section = SECTIONS.get(name, ours)
    nested = name in described.STOCK
    network = build_network(
        network_section({**section, 'mask_input': 'channel'} if nested else dict(section))
    )
    restorer = load_restorer(saved(tmp_path / 'net.pth', network.state_dict()), device='cpu')
    mask = np.zeros((24, 24), np.uint8)
    mask[8:16, 8:16] = 255
    restored = restorer.restore(np.full((24, 24, 3), 100, np.uint8), mask, context=4)
    assert restored.shape == (24, 24, 3) and (restored[:8] == 100).all()


# --- descriptions: sizes


NUMBERS = [
    {'embed_dim': HUGE}, {'depths': [HUGE]}, {'num_heads': [HUGE]}, {'window_size': HUGE}, {'upscale': 2**30}, {'mlp_ratio': 1e9},
    {'embed_dim': 2**20}, {'depths': [2**20]}, {'num_heads': [2**20]}, {'window_size': 2**20}, {'upscale': 2**20}, {'mlp_ratio': 1e6},
    {'in_chans': 2**20}, {'in_chans': HUGE}, {'depths': [2**20] * 200, 'num_heads': [2] * 200}, {'embed_dim': 0}, {'depths': [0]},
    {'num_heads': [0]}, {'window_size': 0}, {'embed_dim': -32}, {'window_size': -4}, {'embed_dim': 32.5}, {'depths': 3},
]  # fmt: skip


@pytest.mark.parametrize('more', [*NUMBERS, {'interval_size': HUGE}, {'interval_size': 2**20}, {'interval_size': 0}, {'img_range': 0},
                                  {'cross_attention_heads': 2**20}, {'drop_path_rate': float('nan')}])  # fmt: skip
def test_sizes_of_our_networks_are_bounded_by_the_file(tmp_path, more):
    weights = ours()
    weights['_extra_state'] = description('HMACA', {**OURS, **more})
    refused(weights, tmp_path / 'net.pth')


@pytest.mark.parametrize('name', ['SwinIR', 'HAT', 'DRCT'])
@pytest.mark.parametrize('more', [*NUMBERS, {'img_size': 2**19, 'depths': [2]}, {'patch_size': 2**20}, {'gc': 2**20, 'compress_ratio': 0},
                                  {'overlap_ratio': 1e6}, {'upsampler': 'pixelshuffle', 'upscale': 2**19}])  # fmt: skip
def test_sizes_of_stock_networks_are_bounded_by_the_file(tmp_path, name, more):
    """Settings that cannot work, or would pad images to gigapixels though no weight changes."""
    if name != 'SwinIR':
        pytest.importorskip('spandrel')
    section = {**SECTIONS[name], 'img_size': 8}
    weights = build_network(network_section({**section, 'mask_input': 'channel'})).state_dict()
    weights['_extra_state'] = description(
        'MaskInput', {'mask_input': 'channel', 'inner': {**section, **more}}
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        restorer = load_restorer(saved(tmp_path / 'net.pth', weights), device='cpu')
        mask = np.zeros((16, 16), np.uint8)
        mask[4:8, 4:8] = 255
        restorer.restore(np.zeros((16, 16, 3), np.uint8), mask, context=2)
    except ValueError as error:
        assert '\n' not in str(error)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000


@pytest.mark.parametrize('more', [{'width': 2**20}, {'enc_blk_nums': [2**20]}, {'middle_blk_num': 2**20}, {'dec_blk_nums': [2**20]},
                                  {'enc_blk_nums': [1] * 200}, {'img_channel': 2**20}, {'width': 0}])  # fmt: skip
def test_sizes_of_nafnet_are_bounded_by_the_file(tmp_path, more):
    pytest.importorskip('spandrel')
    section = SECTIONS['NAFNet']
    weights = build_network(network_section({**section, 'mask_input': 'channel'})).state_dict()
    weights['_extra_state'] = description(
        'MaskInput', {'mask_input': 'channel', 'inner': {**section, **more}}
    )
    refused(weights, tmp_path / 'net.pth')


def test_a_network_of_many_blocks_stops_at_the_files_number_of_weights():
    """The network is counted while it is built; nothing waits for memory to run out."""
    made = []

    class Counting(torch.nn.Linear):
        def __init__(self):
            made.append(1)
            super().__init__(2, 2)

    with pytest.raises(described.TooLarge), described.Bounded(tensors=10):
        torch.nn.Sequential(*(Counting() for _ in range(1000)))
    assert len(made) == 6


def test_without_memory_shapes_alone_are_made():
    with described.Bounded(elements=10**12):
        layer = torch.nn.Linear(10**5, 10**6)
    assert layer.weight.is_meta and layer.weight.shape == (10**6, 10**5)
    with pytest.raises(described.TooLarge), described.Bounded(elements=10**10):
        torch.nn.Linear(10**5, 10**6)


@pytest.mark.parametrize(
    'section',
    [
        *({'type': 'HMACA', **OURS, **more} for more in NUMBERS[:6]),
        *({**SECTIONS['SwinIR'], **more} for more in NUMBERS[:6]),
        {'type': 'MSRResNet', 'num_block': HUGE}, {'type': 'StyleGAN2Generator', 'out_size': HUGE},
        {'type': 'SRVGGNetCompact', 'num_conv': 2**20}, {**SECTIONS['SwinIR'], 'img_size': 2**20},
        {**SECTIONS['SwinIR'], 'depths': [10**5]}, {**SECTIONS['SwinIR'], 'embed_dim': 10**400},
    ],
)  # fmt: skip
def test_option_files_are_bounded_too(section):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match='network_g') as caught:
        option_checks.check_network(section)
    assert all(len(line) < 500 for line in caught.value.lines)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000


# --- files that claim


def rewritten(path: Path, change: dict, whole: bytes | None = None) -> Path:
    """Copy a small checkpoint with members changed: name -> bytes, or (bytes, compression)."""
    if whole is None:
        buffer = io.BytesIO()
        torch.save({'params_ema': {'x': torch.zeros(4)}}, buffer)
        whole = buffer.getvalue()
    source = zipfile.ZipFile(io.BytesIO(whole))
    with zipfile.ZipFile(path, 'w') as out:
        for name in source.namelist():
            data = change.get(name.split('/', 1)[1], lambda data: data)(source.read(name))
            out.writestr(name, *(data if isinstance(data, tuple) else (data,)))
    return path


def claim(elements: int):
    """Return a pickle program that asks for `count` float32 in place of 4."""
    return lambda data: data.replace(b'K\x04tq', b'J' + struct.pack('<i', elements) + b'tq', 1)


def test_a_sound_file_rewritten_still_loads(tmp_path):
    assert torch.equal(
        load_safely(rewritten(tmp_path / 'net.pth', {}))['params_ema']['x'], torch.zeros(4)
    )


def test_a_compressed_file_is_refused_before_it_is_read(tmp_path, image, tiny_checkpoint):
    """In a process: a file of a quarter MB that would take a quarter GB of memory."""

    def deflated(data):
        return data, zipfile.ZIP_DEFLATED

    path = rewritten(
        tmp_path / 'net.pth', {'data.pkl': claim(2**26), 'data/0': lambda _: deflated(bytes(2**28))}
    )
    assert path.stat().st_size < 2**19
    _, _, usual = measured(tmp_path, 'restore', *image, '--weights', tiny_checkpoint)
    status, errors, megabytes = measured(tmp_path, 'restore', *image, '--weights', path)
    assert status == 1 and len(errors.splitlines()) == 1
    assert 'it is compressed' in errors and 'claim 2684' in errors and megabytes < usual + 100


@pytest.mark.parametrize('kind', [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize('member', ['data.pkl', 'data/0', 'version'])
def test_no_member_is_compressed(tmp_path, kind, member):
    with pytest.raises(ValueError, match='it is compressed'):
        load_safely(rewritten(tmp_path / 'net.pth', {member: lambda data: (data, kind)}))


def test_a_storage_is_no_larger_than_its_member(tmp_path):
    """torch would read beyond the member's end."""
    with pytest.raises(ValueError, match='it claims 400 bytes in data/0, which has 16'):
        load_safely(rewritten(tmp_path / 'net.pth', {'data.pkl': claim(100)}))
    with pytest.raises(ValueError, match=DAMAGED):
        load_safely(rewritten(tmp_path / 'net.pth', {'data.pkl': claim(-1)}))


def test_members_that_overlap_are_counted_each(tmp_path):
    """The directory lists the same bytes a thousand times."""
    path = rewritten(tmp_path / 'net.pth', {'data/0': lambda _: bytes(10**5)})
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        entry = next(item for item in archive.infolist() if item.filename.endswith('data/0'))
        start = archive.start_dir
    size = len(data) - start - 22
    one = data.index(b'PK\x01\x02', data.index(entry.filename.encode(), start) - 46)
    record = data[one : one + 46 + len(entry.filename)]
    head, stem = record[:46], entry.filename[:-4].encode()
    many = b''.join(
        head[:28] + struct.pack('<H', len(stem) + 4) + head[30:] + stem + b'%04d' % number
        for number in range(1000)
    )
    directory = data[start : start + size] + many
    end = struct.pack('<4s4H2LH', b'PK\x05\x06', 0, 0, 1000 + 9, 1000 + 9, len(directory), start, 0)
    path.write_bytes(data[:start] + directory + end)
    with pytest.raises(ValueError, match=r'it claims \d{9} bytes and has'):
        load_safely(path)


def test_both_readers_of_a_zip_see_the_same(tmp_path):
    """Python finds a directory behind prepended bytes; torch trusts the file's own offset."""
    path = rewritten(tmp_path / 'net.pth', {})
    whole = path.read_bytes()
    path.write_bytes(b'PK\x03\x04' + bytes(1000) + whole)
    with pytest.raises(ValueError, match=DAMAGED):
        load_safely(path)
    path.write_bytes(whole)
    with zipfile.ZipFile(path, 'a') as archive:
        archive.writestr(
            archive.namelist()[1].upper(), b''
        )  # torch's reader does not tell cases apart
    with pytest.raises(ValueError, match=DAMAGED):
        load_safely(path)


PROGRAMS = {  # what torch's own list of harmless names lets a pickle ask for
    'memory': b'\x80\x02c__builtin__\nbytearray\nJ\xff\xff\xff\x7f\x85R.',
    'tensor': b'\x80\x02ctorch\nFloatTensor\nJ\xff\xff\xff\x7f\x85R.',
    'storage': b'\x80\x02ctorch.storage\nTypedStorage\nJ\xff\xff\xff\x7f\x85R.',
    'inst': b'\x80\x02(ios\nsystem\n.',
    'empty': b'\x80\x02.',
    'no end': b'\x80\x02}',
    'no memo': b'\x80\x02h\x05.',
    'no stack': b'\x80\x02R.',
    'large memo': b'\x80\x02}r\xff\xff\xff\x7f.',
    'protocol 4': pickle.dumps({'a': 1}, protocol=4),
    'itself': b'\x80\x02]q\x00h\x00h\x00a.',
}


def nested(open_: bytes, close: bytes, width: int, depth: int) -> bytes:
    """Each container holds ten of the one before, as a key, which is hashed throughout."""
    level = b'\x80\x02}' + b'K\x01q\x00'
    for number in range(depth):
        level += open_ + b'h%c' % number * width + close + b'q%c' % (number + 1)
    return level + b'.'


PROGRAMS['time'] = nested(b'(', b't', 10, 12)
PROGRAMS['text'] = nested(b'](', b'e', 10, 12)
PROGRAMS['dictionaries'] = (
    b'\x80\x02'
    + b''.join(b'}(X\x01\x00\x00\x00a' for _ in range(10000))
    + b'N'
    + b'u' * 10000
    + b'.'
)


WHY = {
    'memory': 'it holds __builtin__.bytearray besides', 'tensor': 'it holds torch.FloatTensor besides', 'time': 'it unfolds to more than',
    'storage': 'it holds torch.storage.TypedStorage besides', 'text': 'it unfolds to more than', 'itself': 'it holds itself',
    'dictionaries': 'holds no weights', 'large memo': 'holds no weights',
}  # fmt: skip


@pytest.mark.parametrize('name', PROGRAMS)
@pytest.mark.parametrize('legacy', [False, True])
def test_programs_that_ask_for_memory_or_time(tmp_path, name, legacy):
    path, program = tmp_path / 'net.pth', PROGRAMS[name]
    if legacy:
        torch.save({'x': torch.zeros(4)}, path, _use_new_zipfile_serialization=False)
        whole = path.read_bytes()
        at = whole.index(b'.\x80\x02}q\x00X\x01\x00\x00\x00x') + 1
        path.write_bytes(whole[:at] + program)
    else:
        rewritten(path, {'data.pkl': lambda _: program})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError) as caught:
        read_checkpoint(path)
    expected = WHY.get(name, DAMAGED)
    if legacy and expected == 'holds no weights':  # sound, but what follows is missing
        expected = DAMAGED
    assert expected in str(caught.value) and len(str(caught.value)) < 400
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_a_program_that_is_too_long_is_not_followed_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(pickles, 'MOST_STEPS', 100)
    with pytest.raises(ValueError, match='takes more than 100 steps'):
        load_safely(
            rewritten(
                tmp_path / 'net.pth', {'data.pkl': lambda _: b'\x80\x02' + b'N0' * 1000 + b'N.'}
            )
        )
    monkeypatch.setattr(file_claims, 'MOST_PROGRAM', 100)
    with pytest.raises(ValueError, match=r'data\.pkl has 2004 bytes'):
        load_safely(
            rewritten(
                tmp_path / 'net.pth', {'data.pkl': lambda _: b'\x80\x02' + b'N0' * 1000 + b'N.'}
            )
        )
    monkeypatch.setattr(file_claims, 'MOST_DIRECTORY', 100)
    with pytest.raises(ValueError, match='its directory has'):
        load_safely(rewritten(tmp_path / 'net.pth', {}))


def test_the_format_before_zip_loads_and_claims_no_more_than_it_has(tmp_path):
    path = tmp_path / 'net.pth'
    torch.save(
        {'x': torch.arange(4.0), 'y': torch.ones(2)}, path, _use_new_zipfile_serialization=False
    )
    assert torch.equal(load_safely(path)['x'], torch.arange(4.0))
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'K\x04Nt', b'J' + struct.pack('<i', 2**30) + b'Nt', 1))
    with pytest.raises(ValueError, match=r'it claims 42949\d+ bytes and has'):
        load_safely(path)
    path.write_bytes(whole[:-4])
    with pytest.raises(ValueError, match='EOF|damaged'):
        load_safely(path)


def test_tar_and_other_files_are_refused(tmp_path):
    with tarfile.open(tmp_path / 'net.tar', 'w') as archive:
        for name in ('storages', 'tensors', 'pickle'):
            archive.addfile(tarfile.TarInfo(name))
    os.mkfifo(tmp_path / 'pipe')
    for name, message in (('net.tar', DAMAGED), ('pipe', 'it is no file'), ('.', 'it is no file')):
        with pytest.raises(ValueError, match=message):
            load_safely(tmp_path / name)
    with pytest.raises(ValueError, match='it is no file'):
        load_safely('/dev/zero')


# --- tensors of other kinds


ODD = {
    'meta': lambda: torch.empty(32, 3, 3, 3, device='meta'),
    'sparse': lambda: torch.zeros(32, 3, 3, 3).to_sparse(),
    'sparse, huge': lambda: torch.sparse_coo_tensor(
        torch.zeros(1, 1, dtype=torch.long), torch.ones(1), (10**12,)
    ),
    'csr': lambda: torch.eye(3).to_sparse_csr(),
    'quantised': lambda: torch.quantize_per_tensor(torch.zeros(32, 3, 3, 3), 0.1, 0, torch.qint8),
    'complex': lambda: torch.zeros(32, 3, 3, 3, dtype=torch.complex64),
    'scalar': lambda: torch.zeros(()),
    'empty': lambda: torch.zeros(0, 3, 3, 3),
    'repeated': lambda: torch.zeros(1).expand(32, 3, 3, 3),
    'repeated, huge': lambda: torch.zeros(1).expand(10**15),
    'nested': lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
}


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('kind', ODD)
@pytest.mark.parametrize('key', ['conv_first.weight', 'extra', '_extra_state'])
def test_tensors_that_no_checkpoint_has(tmp_path, kind, key):
    weights = ours()
    weights[key] = ODD[kind]()
    refused(weights, tmp_path / 'net.pth')
    release = as_release(HMANet(**SMALL_OURS))
    release[key] = ODD[kind]()
    refused(release, tmp_path / 'net.pth')


def test_weights_that_share_memory_do_not_claim_a_larger_network(tmp_path):
    one = torch.zeros(32 * 32)
    weights = {
        key: one[: value.numel()].view(value.shape) if value.numel() <= 1024 else value
        for key, value in ours().items()
    }
    weights['_extra_state'] = ours()['_extra_state']
    assert 'its tensors claim' in refused(weights, tmp_path / 'net.pth')


TABLE = 'layers.0.residual_group.blocks.1.attn.relative_position_bias_table'


@pytest.mark.parametrize(
    'name',
    [
        TABLE,
        'conv_first.weight',
        'upsample.0.weight',
        'layers.0.residual_group.blocks.1.mlp.fc1.weight',
    ],
)
@pytest.mark.parametrize(
    'shape',
    [(), (49,), (0,), (0, 4), (4, 0), (0, 64, 3, 3), (64, 0, 3, 3), (1, 1), (1, 1, 1, 1), None],
)
def test_release_states_with_odd_shapes(tmp_path, name, shape):
    weights = as_release(HMANet(**SMALL_OURS, upscale=2))
    assert name in weights
    if shape is None:
        del weights[name]
    else:
        weights[name] = torch.zeros(shape)
    refused(weights, tmp_path / 'net.pth')


def test_release_states_of_many_layers(tmp_path):
    weights = as_release(HMANet(**SMALL_OURS))
    weights[TABLE.replace('layers.0', 'layers.' + '9' * 5000)] = weights[TABLE].clone()
    weights[TABLE.replace('layers.0', 'layers.9999')] = weights[TABLE].clone()
    refused(weights, tmp_path / 'net.pth')


# --- all ways in


@pytest.fixture
def stranger(tmp_path) -> Path:
    inner = {'type': 'SpyNet', 'load_path': '/etc/passwd'}
    return saved(
        tmp_path / 'net.pth',
        {'_extra_state': description('MaskInput', {'inner': inner}), 'x': torch.zeros(1)},
    )


def test_every_way_in_refuses(tmp_path, stranger, monkeypatch, basicsr_here, triplets):
    monkeypatch.chdir(tmp_path)
    code, error = basicsr_here('export', '--weights', stranger, '-o', 'net.onnx', '--dynamic')
    assert code == 1 and "names 'SpyNet'" in error
    with pytest.raises(ValueError, match="names 'SpyNet'"):
        methods.network(str(stranger))
    code, error = basicsr_here('demo', '--weights', stranger, '--device', 'cpu')
    assert code == 1 and ("names 'SpyNet'" in error or 'gradio' in error)
    opt = tiny_options(triplets)
    opt['path'].update(pretrain_network_g=str(stranger), param_key_g='params_ema')
    for command in ('check', 'train', 'test'):
        more = ['--data', '--workers', 1] if command == 'check' else []
        code, error = basicsr_here(command, '-opt', write_options(tmp_path / 'o.yml', opt), *more)
        assert code == 1 and 'mask_input' in error


def test_spandrel_refuses(tmp_path):
    pytest.importorskip('spandrel')
    from hmaca_arch import spandrel_support

    weights = ours()
    weights['_extra_state'] = description('HMACA', {**OURS, 'depths': [2**20]})
    with pytest.raises(ValueError, match='larger network'):
        spandrel_support.MaskedArch('HMACA').load(weights)
    release = as_release(HMANet(**SMALL_OURS))
    release[TABLE] = torch.zeros(())
    with pytest.raises(ValueError, match='shape of layers'):
        spandrel_support.HMANetArch().load(release)


def test_files_that_basicsr_opens_itself(tmp_path, monkeypatch):
    """An option file may name a path; the file there is still a stranger's."""
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')

    class Program:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'executed'),)

    torch.save({'params': Program()}, tmp_path / 'flow.pth')
    with pytest.raises(ValueError, match=r'flow\.pth: it holds .*mkdir besides'):
        SpyNet(load_path=str(tmp_path / 'flow.pth'))
    assert not (tmp_path / 'executed').exists()
    flow = {
        key: value for key, value in SpyNet().state_dict().items() if key not in ('mean', 'std')
    }
    torch.save({'params': flow}, tmp_path / 'flow.pth')
    again = SpyNet(load_path=str(tmp_path / 'flow.pth')).state_dict()
    assert all(torch.equal(value, again[key]) for key, value in flow.items())


def test_every_load_of_torch_is_ours_or_safe():
    """Ours state `weights_only=True`; `compat.LOADING` lists BasicSR's that call torch.load."""

    def calls(path):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                'torch.load',
                'load_url',
                'torch.hub.load',
            ):
                yield node

    for folder in ('hmaca_arch', 'datasets_ext', 'losses_ext', 'scripts'):
        for path in (ROOT / folder).rglob('*.py'):
            for call in calls(path):
                assert any(
                    word.arg == 'weights_only' and ast.unparse(word.value) == 'True'
                    for word in call.keywords
                ), path
    root = Path(basicsr.__file__).parent
    found = {
        f'basicsr.{".".join(path.relative_to(root).with_suffix("").parts)}'
        for path in root.rglob('*.py')
        if any(calls(path))
    }
    assert found - {'basicsr.train'} == set(compat.LOADING)
    assert all(sys.modules[name].torch.load is not torch.load for name in compat.LOADING)
