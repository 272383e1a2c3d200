"""Odd option files, checkpoints, files and requests, made at random from sound ones: for the
property tests in `fuzz/` and for `scripts/soak_files.py`.

Everything takes a `random.Random`: the same one makes the same input.
"""

import contextlib
import io
import json
import random
import re
import urllib.parse
from collections.abc import Callable
from typing import Any

import torch
import yaml
from torch import Tensor


class Raw(str):
    """A value that goes into an option file as it is."""


NASTY_TEXTS = (
    '\x1b[31m', '\u202e', 'a\nb', '', ' ', 'x' * 300, '../../etc/passwd', '/dev/zero', '~', '=',
    '${HOME}', '${NOT_SET}/x', 'None', 'nan', 'file:///etc/passwd', 'http://127.0.0.1/', 'é猫',
)  # fmt: skip
SCALARS = (
    'null', 'true', 'no', '0', '-1', '1', '1.5', '1e5', '1e400', '-.inf', '.nan', '0x10', '1_000',
    '10000000000', '1' + 400 * '0', '=', '<<', '[]', '{}', '[1]', '{a: 1}', '[[[]]]', '""',
    '!!float', '!!float x', '!!float 3', '!!int x', '!!bool 0.3', '!!bool kl', '!!timestamp 0',
    '2020-01-01', '!!map x', '!!seq x', '!!set [a]', '!!null x', '!!binary x', '!!str [x]',
    '!!python/object:os.system x', '!mine x', '!!omap [a: 1]', '!!pairs [a: 1]', '*missing',
    '&x [*x]', '&y 3', '|\n  text', '>-\n  text', '"\\x1b[31m"', "'it''s'", '? a', '- a', '@x', '%x',
)  # fmt: skip
KEYS = ('datasets', 'train', 'name', 'path', '<<', '1', 'null', '[a]', '"\\x1b"', 'x' * 200, 'x y')
BASES = ('base: /dev/null\n', 'base: .\n', 'base: missing.yml\n', 'base: [a]\n', 'base: {a: 1}\n')


def places(value: Any, place: tuple = ()) -> list[tuple]:
    """Every place in nested sections and lists."""
    found = [place] if place else []
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, inner in items:
        found += places(inner, (*place, key))
    return found


def emit(value: Any) -> str:
    """Write a value as YAML in one line; a `Raw` one as it is."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        return '{' + ', '.join(f'{emit_key(key)}: {emit(value[key])}' for key in value) + '}'
    if isinstance(value, list):
        return '[' + ', '.join(map(emit, value)) + ']'
    return yaml.safe_dump(value, default_flow_style=True, width=10**6).split('\n')[0]


def emit_key(key: Any) -> str:
    return str(key) if isinstance(key, Raw) else emit(str(key))


def option_file(rng: random.Random, sound: dict) -> bytes:
    """Damage a sound option file in one to three places."""
    options = json.loads(json.dumps(sound))
    for _ in range(rng.randint(1, 3)):
        everywhere = places(options)
        if not everywhere:
            break
        *way, last = rng.choice(everywhere)
        inside = options
        for key in way:
            inside = inside[key]
        rng.choice((_put, _put, _put_text, _remove, _rename, _wrap, _alter, _alter, _alter))(
            rng, inside, last
        )
    # A section a line, so that messages have lines to name.
    text = ''.join(f'{emit_key(key)}: {emit(value)}\n' for key, value in options.items())
    if rng.random() < 0.1:
        text = rng.choice(BASES) + text
    if rng.random() < 0.05:
        text += rng.choice(text.splitlines(keepends=True) or ['a: 1\n'])  # a key twice
    data = text.encode('utf-8', 'surrogatepass')
    return damaged(rng, data) if rng.random() < 0.1 else data


def _put(rng: random.Random, inside: Any, key: Any) -> None:
    inside[key] = Raw(rng.choice(SCALARS))


def _put_text(rng: random.Random, inside: Any, key: Any) -> None:
    inside[key] = rng.choice(NASTY_TEXTS)


def _alter(rng: random.Random, inside: Any, key: Any) -> None:
    """Another value of the same kind, which may well be right."""
    value = inside[key]
    if isinstance(value, bool):
        inside[key] = not value
    elif isinstance(value, (int, float)):
        inside[key] = rng.choice((2 * value, value + 1, value / 2, 0, -value, 8, 16, 0.5, 10**6))


def _remove(rng: random.Random, inside: Any, key: Any) -> None:
    del inside[key]


def _wrap(rng: random.Random, inside: Any, key: Any) -> None:
    inside[key] = rng.choice(([inside[key]], {'x': inside[key]}, [inside[key]] * 2))


def _rename(rng: random.Random, inside: Any, key: Any) -> None:
    if isinstance(inside, dict):
        inside[Raw(rng.choice(KEYS))] = inside.pop(key)


def damaged(rng: random.Random, data: bytes) -> bytes:
    """Cut bytes short, flip some, or put others in."""
    content = bytearray(data)
    how = rng.randrange(4)
    if how == 0 or len(content) < 4:
        return bytes(content[: rng.randrange(len(content) + 1)])
    if how == 1:
        for _ in range(rng.randint(1, 8)):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    elif how == 2:
        start = rng.randrange(len(content))
        content[start : start + rng.randint(0, 40)] = rng.randbytes(rng.randint(0, 40))
    else:  # a field of a header is most often in the first bytes
        start = rng.randrange(min(len(content), 200))
        content[start : start + 4] = rng.choice((b'\xff' * 4, b'\0' * 4, b'\x7f\xff\xff\xff'))
    return bytes(content)


def _tensors() -> list[Callable[[Tensor], Any]]:
    return [
        lambda t: t.to_sparse() if t.ndim else t,
        lambda t: t.to('meta'),
        lambda t: t.to(torch.complex64),
        lambda t: t.to(torch.float64),
        lambda t: t.to(torch.int8),
        lambda t: torch.zeros(()),
        lambda t: torch.zeros(0),
        lambda t: torch.zeros(1).expand(t.shape),
        lambda t: t.new_full(t.shape, float('nan')) if t.is_floating_point() else t,
        lambda t: t.flatten(),
        lambda t: t[..., :0] if t.ndim else t,
        lambda t: torch.quantize_per_tensor(t.float(), 0.1, 0, torch.qint8),
        lambda t: None,
        lambda t: 3,
        lambda t: 'x',
        lambda t: [t],
        lambda t: {'x': t},
    ]


def checkpoint(rng: random.Random, sound: dict) -> bytes:
    """Damage a sound checkpoint, {params: {name: tensor}}: its tensors, names, description or
    bytes.
    """
    found: dict = {key: dict(value) for key, value in sound.items()}
    section = found[rng.choice(list(found))]
    for _ in range(rng.randint(1, 2)):
        name = rng.choice(list(section)) if section else ''
        how = rng.randrange(5)
        if how == 0 and section:
            del section[name]
        elif how == 1 and section:
            section[rng.choice((*NASTY_TEXTS, 3, f'module.{name}'))] = section.pop(name)
        elif how == 2 and '_extra_state' in section:
            section['_extra_state'] = described(rng, section['_extra_state'])
        elif section:
            with contextlib.suppress(RuntimeError, TypeError):  # not of every kind of tensor
                section[name] = rng.choice(_tensors())(section[name])
    if rng.random() < 0.1:
        found = rng.choice(({}, [], {'params': []}, section, {'params_ema': None}, found))  # type: ignore[assignment]
    buffer = io.BytesIO()
    torch.save(found, buffer, _use_new_zipfile_serialization=rng.random() < 0.8)
    return damaged(rng, buffer.getvalue()) if rng.random() < 0.3 else buffer.getvalue()


def described(rng: random.Random, description: Any) -> Any:
    """Damage the description of a network, JSON in a tensor of bytes."""
    if not isinstance(description, Tensor) or description.ndim != 1:
        return description
    try:
        text = bytes(description.tolist()).decode()
        value = json.loads(text)
    except (ValueError, TypeError):
        return description
    if rng.random() < 0.2:
        data = damaged(rng, text.encode())
    else:
        *way, last = rng.choice(places(value))
        inside = value
        for key in way:
            inside = inside[key]
        inside[last] = rng.choice(
            (None, True, -1, 0, 10**9, 1e400, 'x', [], {}, [10**9], 'SpyNet', {'type': 'SpyNet'})
        )
        data = json.dumps(value).encode()
    return torch.tensor(list(data), dtype=torch.uint8)


ROUTES = (
    ('GET', '/'), ('GET', '/static/{id}'), ('GET', '/api/about'), ('POST', '/api/images'),
    ('GET', '/api/images/{id}/file'), ('GET', '/api/images/{id}/preview'),
    ('GET', '/api/images/{id}/mask'), ('POST', '/api/images/{id}/mask'),
    ('POST', '/api/images/{id}/jobs'), ('POST', '/api/examples'), ('GET', '/api/examples/{id}.jpg'),
    ('GET', '/api/jobs/{id}'), ('DELETE', '/api/jobs/{id}'), ('GET', '/api/jobs/{id}/patch'),
    ('GET', '/api/jobs/{id}/image?format={id}'), ('POST', '/api/jobs/{id}/keep'),
    ('POST', '/api/restore'), ('GET', '/gradio_api/file={id}'),
)  # fmt: skip
FIELDS = ('image', 'mask', 'degradation', 'context', 'feather', 'format', 'name', 'strength', 'x')


def request(
    rng: random.Random, names: tuple[str, ...], image: bytes, mask: bytes
) -> tuple[str, str, dict]:
    """Make a request for the page: its method, its path and the fields of its form.

    Args:
        rng: decides.
        names: of what the client must not get.
        image: a sound image file.
        mask: a sound mask for it.
    """
    method, path = rng.choice(ROUTES)
    if rng.random() < 0.1:
        method = rng.choice(('GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH'))
    name = rng.choice((*names, *NASTY_TEXTS, 'png', '..', '%2e%2e', 'chelsea'))
    quoted = urllib.parse.quote(name, safe=rng.choice(('', '/', '/%.')))
    fields: dict[str, Any] = {}
    for key in FIELDS:
        value = rng.choice((image, mask, name, rng.choice(NASTY_TEXTS), '8', 'auto', 'pix:8:mean'))
        if rng.random() < 0.5:
            fields[key] = (
                (name, value) if isinstance(value, bytes) and rng.random() < 0.3 else value
            )
    if rng.random() < 0.5:
        fields.update(image=image, mask=damaged(rng, mask) if rng.random() < 0.3 else mask)
    fields = {key: _fit_for_a_form(value) for key, value in fields.items()}
    return method, path.replace('{id}', quoted), fields


def _fit_for_a_form(value: Any) -> Any:
    """Names with line breaks would end the form's own lines."""
    if isinstance(value, tuple):
        return re.sub('[^ -~]', '_', value[0]), value[1]
    return value
