"""Targets for random inputs: whatever comes in, the answer is right or a refusal in one line.

Run more of them: `pytest tests/fuzz --hypothesis-profile=many`. What fails goes into
`tests/data/corpus` with its right answer.
"""

import io
import json
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
from page.test_guard import Inner, ask

from hmaca_arch.files.images import decode
from hmaca_arch.files.masks import read_mask
from hmaca_arch.page.guard import Guard
from hmaca_arch.page.sessions import Sessions, paths_in

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


@pytest.fixture(scope='module')
def page(folder):
    """Sessions around an application that notes what reaches it, and two cookies."""
    inner, files = Inner(), folder / 'pages'
    files.mkdir()
    app = Guard(Sessions(inner, files, 7860), '127.0.0.1', 7860)
    app.inner, app.folder = inner, files
    app.cookies = [ask(app)[1]['set-cookie'].split(';')[0] for _ in range(2)]
    app.paths = []
    for number, cookie in enumerate(app.cookies):
        path = str(files / f'{number}' / 'image.png')
        inner.answer = json.dumps([path]).encode()
        assert ask(app, 'POST', '/gradio_api/upload', b'form', cookie=cookie)[0] == 200
        app.paths.append(path)
    inner.answer = b'{"event_id": "1"}'
    return app


@given(seed=SEEDS)
def test_requests(page, seed):
    """Whatever a call holds, what reaches Gradio names the session's own file or none."""
    rng = random.Random(seed)
    mine, theirs = page.paths
    data = odd_inputs.request(rng, mine, (theirs, '/etc/passwd', str(page.folder), ''))
    body = {'data': data if isinstance(data, list) else [data], 'fn_index': 0, 'session_hash': 'a'}
    for key in list(body):
        if rng.random() < 0.05:
            body[key] = odd_inputs.request(rng, mine, (theirs, '/etc/passwd'))
    raw = json.dumps(body).encode()
    if rng.random() < 0.1:
        raw = odd_inputs.damaged(rng, raw)
    page.inner.bodies.clear()
    route = rng.choice(('queue/join', 'run/predict'))
    status = ask(page, 'POST', f'/gradio_api/{route}', raw, cookie=page.cookies[0])[0]
    assert status in (200, 400, 403, 404, 413)
    assert (status == 200) == bool(page.inner.bodies)
    for passed in page.inner.bodies:
        seen = json.loads(passed)
        assert set(paths_in(seen)) <= {mine}
        assert not {theirs, '/etc/passwd'} & set(names(seen)), 'in no other key of a file either'


def names(value) -> list[str]:
    """The values of every key that Gradio takes for a file."""
    if isinstance(value, dict):
        own = [value[key] for key in ('path', 'url') if key in value]
        return [str(item) for item in own] + [
            text for inner in value.values() for text in names(inner)
        ]
    if isinstance(value, list):
        return [text for inner in value for text in names(inner)]
    return []


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
