"""What constructors can be given is read from their signatures."""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Optional, Union

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


@pytest.mark.parametrize(
    ('annotation', 'words'),
    [
        (dict[str, int], 'a section'), (Mapping[str, int], 'a section'), (Mapping, 'a section'), (list, 'a list'), (Iterable[int], 'a list, each a whole number'),
        (list[list[int]], 'a list, each a list, each a whole number'), (tuple[int, int, int], 'a list of 3, each a whole number'),
        (tuple[int, float], 'a list'), (tuple[float, ...], 'a list, each a number'), (list[torch.Tensor], 'a list'),
        (int | str, 'a whole number, or a text'), (Union[int, torch.Tensor], 'a whole number'), (torch.Tensor | None, 'null'),  # noqa: UP007
        (torch.Tensor | torch.nn.Module, 'anything'), (int | Any, 'anything'), (Any, 'anything'), (torch.Tensor, 'anything'), ('str', 'anything'),
        (Literal['a', 2], 'a or 2'), (type(None), 'null'),
    ],
)  # fmt: skip
def test_an_annotation_in_words(annotation, words):
    assert signatures.kind_of(parameter(annotation)).words == words
    optional = 'anything' if words == 'anything' else ', or '.join(dict.fromkeys([words, 'null']))
    assert signatures.kind_of(parameter(annotation, default=None)).words == optional


@pytest.mark.parametrize(
    ('default', 'words'),
    [(True, 'true or false'), (1.5, 'a number'), ('a', 'a text'), ([1], 'a list'), ((), 'a list'), (None, 'anything'), ({}, 'anything')],
)  # fmt: skip
def test_a_default_in_words(default, words):
    assert signatures.kind_of(parameter(default=default)).words == words


def test_files_that_a_network_names_and_are_not_there(tmp_path):
    (tmp_path / 'there.pth').touch()
    gone = str(tmp_path / 'gone.pth')
    section = {
        'load_path': gone, 'spynet_path': str(tmp_path / 'there.pth'), 'a_path': '', 'b_path': None, 'paths': gone, 'path': str(tmp_path), 3: gone
    }  # fmt: skip
    assert signatures.absent_files(section) == ['load_path', 'path']


def test_a_network_that_needs_memory_to_be_built_gets_a_little(monkeypatch):
    made = []

    def build(section):
        layer = torch.nn.Linear(section['width'], 1, bias=False)
        made.append(layer.weight.is_meta)
        if layer.weight.is_meta and section.get('computes'):
            raise RuntimeError('a constructor that computes with its weights')
        layer.register_buffer('buffer', torch.zeros(section.get('buffer', 1)))
        return layer

    monkeypatch.setattr(signatures, 'build_network', build)
    monkeypatch.setattr(signatures.mask_input, 'network_section', lambda section: section)
    assert signatures.built({'width': 9}).weight.is_meta
    assert not signatures.built({'width': 9, 'computes': True}).weight.is_meta
    assert made == [True, True, False]
    monkeypatch.setattr(signatures, 'MOST_IN_MEMORY', 10)
    with pytest.raises(signatures.TooLarge):
        signatures.built({'width': 11, 'computes': True})
    monkeypatch.setattr(signatures, 'MOST_ELEMENTS', 20)
    assert signatures.built({'width': 10, 'buffer': 10}).weight.is_meta
    with pytest.raises(
        signatures.TooLarge, match='^the network has more than 20 weights: a setting'
    ):
        signatures.built({'width': 10, 'buffer': 11})


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
    again = dict(reversed(section.items()))
    numbers = {signatures.count_parameters(section), signatures.count_parameters(again)}
    assert torch.equal(state, torch.get_rng_state()) and len(tried) == 1
    assert numbers == {sum(p.numel() for p in build_network(section).parameters())}
