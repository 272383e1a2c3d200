"""Which mutants mutation testing leaves out, and which tests try the others."""

import importlib.util
import json

import pytest
from conftest import ROOT


@pytest.fixture(scope='module')
def mutation():
    spec = importlib.util.spec_from_file_location('mutation', ROOT / 'scripts' / 'mutation.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ('before', 'after', 'left_out'),
    [
        ("f('two words')", "f('XXtwo wordsXX')", True),
        ("f('setting: what it is')", "f('SETTING: WHAT IT IS')", True),
        ("raise ValueError('word')", "raise ValueError('XXwordXX')", True),
        ("raise ValueError(f'{a}{\", \".join(b)}')", "raise ValueError(f'{a}{\"XX, XX\".join(b)}')", True),
        ("logger.warning('%s', a)", "logger.warning('XX%sXX', a)", True),
        ("f('word')", "f('WORD')", False),
        ("', '.join(a)", "'XX, XX'.join(a)", False),
        ("raise ValueError(a['key'])", "raise ValueError(a['KEY'])", False),
        ("a['two words']", "a['XXtwo wordsXX']", False),
        ("raise ValueError('two words')", 'raise ValueError(None)', False),
        ("logger.warning('%s', a)", "logger.warning('%s', None)", False),
        ("f('two words', 1)", "f('two words', 2)", False),
        ("f('two words', 1)", "f('two words', )", False),
        ('a < b', 'a <= b', False),
        ('a and b', 'a or b', False),
        ('a = 1', 'a = None', False),
        ('pass', 'pass', False),
    ],
)  # fmt: skip
def test_only_words_of_messages_are_left_out(mutation, before, after, left_out):
    assert mutation.only_words(*(f'def f():\n    {line}' for line in (before, after))) is left_out


def test_every_slice_names_what_there_is(mutation):
    for part in mutation.SLICES.values():
        for pattern in part.changed + part.tests:
            assert list(ROOT.glob(pattern)), pattern


def test_the_tests_that_reach_a_function_try_its_mutants(mutation, tmp_path):
    (tmp_path / 'mutants').mkdir()
    stats = {'tests_by_mangled_function_name': {'a.x_f': ['tests/a.py::one'], 'a.x_g': []}}
    (tmp_path / 'mutants/mutmut-stats.json').write_text(json.dumps(stats))
    mutants = [f'a.{name}__mutmut_1' for name in ('x_f', 'x_g', 'x_h')]
    found = mutation.tests_of(tmp_path, mutants, ['tests'])
    assert list(found.values()) == [['tests/a.py::one'], ['tests'], ['tests']]
