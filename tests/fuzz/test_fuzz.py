"""Targets for random inputs: whatever comes in, the answer is right or a refusal in one line.

Run more of them: `pytest tests/fuzz --hypothesis-profile=many`. What fails goes into
`tests/data/corpus` with its right answer.
"""

import io
import random
import warnings
from pathlib import Path

import numpy as np
import odd_inputs
import pytest
import torch
from conftest import tiny_options
from corpus import corpus
from hypothesis import given
from hypothesis import strategies as st
from input_checks import check_checkpoint, check_options

from hmaca_arch.files.images import decode
from hmaca_arch.files.masks import read_mask
from hmaca_arch.inference import load_restorer

SEEDS = st.integers(0, 2**32)


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp('fuzz')


@given(seed=SEEDS)
def test_option_files(folder, seed):
    data = odd_inputs.option_file(random.Random(seed), tiny_options(folder / 'data'))
    check_options(data, folder)


@given(seed=SEEDS)
def test_checkpoints(folder, tiny_checkpoint, seed):
    sound = torch.load(tiny_checkpoint, weights_only=True)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of kinds of tensors that torch is about to drop
        data = odd_inputs.checkpoint(random.Random(seed), {'params_ema': sound['params_ema']})
    check_checkpoint(data, folder)


FILES = [
    entry for entry in corpus(300) if isinstance(entry.content, bytes) and len(entry.content) < 2e4
]


def decoded_or_refused(read, data: bytes) -> None:
    """Pixels of a kind that the rest understands, or one line that names the file."""
    try:
        read(data)
    except ValueError as error:
        assert 'a name' in str(error) and '\n' not in str(error), error


@given(seed=SEEDS)
def test_images(seed):
    rng = random.Random(seed)
    data = odd_inputs.damaged(rng, rng.choice(FILES).content)

    def read(data: bytes) -> None:
        pixels = decode(data, 'a name').pixels
        assert pixels.ndim == 3 and pixels.shape[2] in (1, 2, 3, 4) and pixels.size
        assert pixels.dtype in (np.uint8, np.uint16)

    decoded_or_refused(read, data)


@given(seed=SEEDS, soft=st.booleans())
def test_masks(seed, soft):
    rng = random.Random(seed)
    data = odd_inputs.damaged(
        rng, rng.choice([entry for entry in FILES if entry.role == 'mask']).content
    )

    def read(data: bytes) -> None:
        mask, notes = read_mask(data, soft, 'a name')
        assert mask.ndim == 2 and mask.size and mask.min() >= 0 and mask.max() <= 1
        assert soft or set(np.unique(mask)) <= {0, 1}
        assert all('\n' not in note.text for note in notes)

    decoded_or_refused(read, data)


SECRET = b'of nobody else: ' + bytes(range(33, 127))


@pytest.fixture(scope='module')
def page(folder, tiny_checkpoint):
    """The page, a visitor, and the ids of an image and a restoration of another one."""
    pytest.importorskip('uvicorn')
    from page.serving import INSIDE, Served, Visitor, colours, png

    files = folder / 'pages'
    files.mkdir()
    (folder / 'secret').write_bytes(SECRET)
    with Served(files, load_restorer(tiny_checkpoint, 'cpu')) as served:
        other = Visitor(served.address)
        # A text in a PNG file, after its end, as the file is given back as it was uploaded.
        image = other.open(png(colours()) + SECRET)
        job = other.finish(other.start(image, png(INSIDE)))
        served.theirs = (image['id'], job['id'], str(folder / 'secret'), '../secret', '/etc/passwd')
        served.image, served.mask = png(colours(seed=1)), png(INSIDE)
        yield served


@given(seed=SEEDS)
def test_requests(page, seed):
    """Whatever is asked, nobody gets a file of the server or of another, and the page goes on."""
    from page.serving import Visitor, form

    rng = random.Random(seed)
    visitor = Visitor(page.address)
    for _ in range(3):
        method, path, fields = odd_inputs.request(rng, page.theirs, page.image, page.mask)
        body, kind = form(fields)
        if rng.random() < 0.2:
            body = odd_inputs.damaged(rng, body)
        answer = visitor.ask(method, path, body, Content_Type=rng.choice((kind, kind, kind, 'x')))
        assert answer.status < 500, answer.body
        assert SECRET not in answer.body and b'root:' not in answer.body
        if answer.status >= 400 and method != 'HEAD':
            assert b'\n' not in answer.body and len(answer.body) < 2000
    assert visitor.ask('GET', '/api/about').status == 200


def test_the_generators_make_sound_and_odd_ones(folder, tiny_checkpoint):
    """Otherwise the targets above would try nothing."""
    sound = torch.load(tiny_checkpoint, weights_only=True)
    fates = {'options': set(), 'checkpoints': set()}
    for seed in range(40):
        rng = random.Random(seed)
        fates['options'].add(
            check_options(odd_inputs.option_file(rng, tiny_options(folder / 'data')), folder)
        )
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            data = odd_inputs.checkpoint(rng, {'params_ema': sound['params_ema']})
        fates['checkpoints'].add(check_checkpoint(data, folder))
    assert fates == {'options': {'accepted', 'refused'}, 'checkpoints': {'accepted', 'refused'}}
    assert torch.load(io.BytesIO(tiny_checkpoint.read_bytes()), weights_only=True)
