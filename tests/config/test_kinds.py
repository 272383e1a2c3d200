"""Each kind of value: what it accepts, how an error names it and what its JSON schema says."""

import math

import pytest

from hmaca_arch.config import kinds
from hmaca_arch.config.kinds import Kind, choice, either, list_of, number, optional, whole

INT, REAL = {'type': 'integer'}, {'type': 'number'}


@pytest.mark.parametrize(
    ('make', 'right', 'wrong', 'words', 'json'),
    [
        (lambda: whole(), [0, -(10**30)], [1.0, True, None, '1', math.inf], 'a whole number', INT),
        (lambda: whole(2), [2], [1, False], 'a whole number of at least 2', {**INT, 'minimum': 2}),
        (lambda: whole(-1, 3), [-1, 3], [-2, 4, True], 'a whole number from -1 to 3', {**INT, 'minimum': -1, 'maximum': 3}),
        (lambda: whole(most=3), [-9, 3], [4], 'a whole number from -inf to 3', {**INT, 'maximum': 3}),
        (lambda: number(), [0, -1.5], [math.inf, -math.inf, math.nan, True, '1'], 'a number', REAL),
        (lambda: number(0, 1), [0, 1.0], [-1e-9, 1.001], 'a number from 0 to 1', {**REAL, 'minimum': 0, 'maximum': 1}),
        (lambda: number(0), [0.0], [-1], 'a number of at least 0', {**REAL, 'minimum': 0}),
        (lambda: choice('a'), ['a'], ['A', None], 'a', {'enum': ['a']}),
        (lambda: choice('a', 'b'), ['a', 'b'], ['ab'], 'a or b', {'enum': ['a', 'b']}),
        (lambda: choice('a', True, None), ['a', True, None], [1, False, 'true'], 'a, true or null', {'enum': ['a', True, None]}),
        (lambda: choice(1, 2.5), [1, 2.5], [True, 1.0], '1 or 2.5', {'enum': [1, 2.5]}),
        (lambda: either(whole(1), choice('x'), whole(1)), [1, 'x'], [0, 'y'], 'a whole number of at least 1, or x',
         {'anyOf': [{**INT, 'minimum': 1}, {'enum': ['x']}, {**INT, 'minimum': 1}]}),
        (lambda: optional(whole()), [1, None], ['a'], 'a whole number, or null', {'anyOf': [INT, {'type': 'null'}]}),
        (lambda: list_of(whole(1)), [[], [1, 2], (1,)], [[0], 1, None, {1}], 'a list, each a whole number of at least 1',
         {'type': 'array', 'items': {**INT, 'minimum': 1}}),
        (lambda: list_of(whole(), 2), [[1, 2], (1, 2)], [[1], [1, 2, 3], [1, 'a']], 'a list of 2, each a whole number',
         {'type': 'array', 'items': INT, 'minItems': 2, 'maxItems': 2}),
    ],
)  # fmt: skip
def test_a_kind_accepts_names_and_describes(make, right, wrong, words, json):
    kind = make()
    assert [value for value in right if not kind.accepts(value)] == []
    assert [value for value in wrong if kind.accepts(value)] == []
    assert (kind.words, kind.json) == (words, json)


def test_names_are_handed_on_for_suggestions():
    assert whole().names == () and choice('a', False).names == ('a', 'false')
    assert either(choice('a', 'b'), whole(), choice('c')).names == ('a', 'b', 'c')
    assert list_of(choice('a', 'b')).names == ('a', 'b')


def test_a_setting_is_a_kind_with_a_meaning():
    kind = whole(1).described('What it does.', '3', 'none')
    assert (kind.meaning, kind.example, kind.default) == ('What it does.', '3', 'none')
    assert kind.accepts(1) and not kind.accepts(0) and kind.json == {**INT, 'minimum': 1}
    assert whole().described('What.', '3').default == ''


@pytest.mark.parametrize(
    ('value', 'lines'),
    [
        ('higher', []),
        ('hihger', ["val:better: got 'hihger', expected higher or lower (did you mean higher?)"]),
        (3, ['val:better: got 3, expected higher or lower']),
        (90 * 'x', [f"val:better: got '{76 * 'x'}..., expected higher or lower"]),
    ],
)
def test_a_wrong_value_is_one_line(value, lines):
    assert list(kinds.wrong_value('val:better', value, choice('higher', 'lower'))) == lines
    assert list(kinds.wrong_value('a', value, Kind('anything', lambda value: True))) == []
