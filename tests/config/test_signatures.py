"""What constructors can be given is read from their signatures."""

import inspect
from collections.abc import Sequence
from typing import Literal, Optional

import pytest
import torch
from basicsr.archs import build_network

from hmaca_arch.config import signatures


def parameter(annotation=inspect.Parameter.empty, default=inspect.Parameter.empty):
    return inspect.Parameter(
        'x', inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default
    )


@pytest.mark.parametrize(
    'given, right, wrong',
    [
        (parameter(int), [1, -3], [1.5, 'a', True, None, [1]]),
        (parameter(float), [1, 1.5], ['1e-4', True, float('nan'), None]),
        (parameter(bool), [True, False], [1, 'yes', None]),
        (parameter(str), ['', 'a'], [1, None, ['a']]),
        (parameter(Literal['a', 'b']), ['a'], ['c', None]),
        (parameter(int | None), [1, None], ['a']),
        (parameter(Optional[str]), ['a', None], [1]),  # noqa: UP045
        (parameter(float | torch.Tensor), [1.0], ['a']),
        (parameter(tuple[float, float]), [[1, 2]], [[1], [1, 'a'], 'ab']),
        (parameter(tuple[int, ...]), [[1], [1, 2, 3]], [['a'], 1]),
        (parameter(Sequence[int]), [[1, 2]], [1, 'ab', [1.5]]),
        (parameter(list), [[1, 'a']], ['ab', {}]),
        (parameter(dict), [{}], [[], 'a']),
        (parameter(int, default=None), [1, None], ['a']),  # written without `| None`
        (parameter(torch.nn.Module), [1, 'a'], []),
        (parameter(default=64), [1, 1.5, [1, 2], None], ['a', {}]),
        (parameter(default=False), [True], ['no', 1]),
        (parameter(default='a'), ['b', None], [1]),
        (parameter(default=(1, 2)), [[1, 2], 3, None], ['ab', {}]),
        (parameter(default=None), [1, 'a', []], []),
        (parameter(), [1, 'a'], []),
    ],
)
def test_signatures_say_what_values_fit(given, right, wrong):
    kind = signatures.kind_of(given)
    assert (
        [value for value in right if not kind.accepts(value)]
        == [value for value in wrong if kind.accepts(value)]
        == []
    )


def test_trying_a_network_draws_no_numbers_and_tries_a_section_once(monkeypatch):
    section = {
        'type': 'HMACA',
        'embed_dim': 64,
        'depths': [1],
        'num_heads': [2],
        'window_size': 8,
        'img_range': 3.0,
    }
    signatures._count_parameters.cache_clear()  # another test may have tried it
    state, tried = torch.get_rng_state(), []
    monkeypatch.setattr(
        signatures, 'build_network', lambda section: tried.append(section) or build_network(section)
    )
    numbers = {signatures.count_parameters(section), signatures.count_parameters(dict(section))}
    assert torch.equal(state, torch.get_rng_state()) and len(tried) == 1
    assert numbers == {sum(p.numel() for p in build_network(section).parameters())}
