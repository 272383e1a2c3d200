"""What the checks of all sections share: keys against a schema, a signature or a constructor."""

import inspect

import pytest
from basicsr.models.sr_model import SRModel
from basicsr.utils import registry
from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY

import hmaca_arch.networks  # noqa: F401  (registers the networks)
from hmaca_arch.config import checker as checker_module
from hmaca_arch.config import signatures
from hmaca_arch.config.checker import Checker, find, refused, unknown_type
from hmaca_arch.config.kinds import choice, whole
from hmaca_arch.networks import baselines

KNOWN = {'size': whole(1), 'mode': choice('fast', 'slow')}


def own(created=()):
    return Checker({}, True, created)


def of_basicsr(created=()):
    checker = own(created)
    checker.model = SRModel
    return checker


def keys(place, section, *more, checker=None, **how):
    return list((checker or own()).check_keys(place, section, KNOWN, *more, **how))


def test_names_are_found_with_and_without_basicsrs_suffix():
    known = registry.Registry('test')
    known._obj_map = {'A': 1, 'B_basicsr': 2, 'C': 3, 'C_basicsr': 4}
    assert [find(name, known) for name in ('A', 'B', 'C', 'D', None, ['A'])] == [1, 2, 3, None, None, None]  # fmt: skip


def test_a_name_that_is_not_registered_is_one_line(monkeypatch):
    assert list(unknown_type('a', 'L1Loss', LOSS_REGISTRY)) == []
    (line,) = unknown_type('train:pixel_opt', 'L2Loss', LOSS_REGISTRY)
    assert line.startswith(
        "train:pixel_opt:type: there is no 'L2Loss' (did you mean L1Loss? known: "
    )
    assert 'spandrel' not in line
    monkeypatch.setattr(baselines, 'has_spandrel', lambda: False)
    (line,) = unknown_type('network_g', 'NAFNett', ARCH_REGISTRY)
    assert line.startswith("network_g:type: there is no 'NAFNett'")
    assert line.endswith(f"; spandrel's networks, such as NAFNet, need {baselines.EXTRA}")
    monkeypatch.setattr(baselines, 'has_spandrel', lambda: True)
    monkeypatch.setattr(baselines, 'spandrel_networks', lambda: {'NAFNet': None})
    (line,) = unknown_type('network_g', 'NAFNett', ARCH_REGISTRY)
    assert 'did you mean NAFNet?' in line and 'need' not in line


@pytest.mark.parametrize(
    ('error', 'lines'),
    [
        (ValueError('no\nsize'), ['train: Net: no\\nsize']),
        (KeyError('size'), ["train: Net: KeyError 'size'"]),
        (TypeError('Net() needs a size'), ['train: Net() needs a size']),
        (None, []),
    ],
)
def test_a_constructors_error_is_one_line_with_its_name(capsys, error, lines):
    def build():
        print('construction is quiet')
        if error:
            raise error

    assert list(refused('train', 'Net', build)) == lines and capsys.readouterr().out == ''


@pytest.mark.parametrize(
    ('place', 'section', 'how', 'lines'),
    [
        ('a', {'size': 1, 'mode': 'fast'}, {}, []),
        ('a', [1], {}, ['a: got [1], expected a section']),
        ('a', {}, {'required': ('size',)}, ['a:size: is missing, expected a whole number of at least 1']),
        ('', {}, {'required': ('mode',)}, ['mode: is missing, expected fast or slow']),
        ('a', {'size': 0, 'mode': 'fats'}, {}, ['a:size: got 0, expected a whole number of at least 1',
                                               "a:mode: got 'fats', expected fast or slow (did you mean fast?)"]),
        ('a', {'sizes': 1}, {}, ['a:sizes: there is no such setting (did you mean size? known: mode, size)']),
        ('', {'sizes': 1}, {}, ['sizes: there is no such setting (did you mean size? known: mode, size)']),
        ('a', {'sizes': 1}, {'allow_unknown': True}, []),
        ('a', {'sizes': 1}, {'allow_unknown': True, 'checker': own({'a:sizes'})},
         ['a:sizes: there is no such setting (did you mean size? known: mode, size)']),
        ('a', {'sizes': 1}, {'allow_unknown': True, 'checker': own({'sizes', 'b:sizes'})}, []),
        ('datasets:train', {'prefetch_mode': 'cuda'}, {}, [f'datasets:train:prefetch_mode: {checker_module.REMOVED["prefetch_mode"]}']),
        ('datasets:train', {'prefetch_mode': None}, {}, []),
        ('datasets', {'prefetch_mode': None}, {}, ['datasets:prefetch_mode: there is no such setting (known: mode, size)']),
    ],
)  # fmt: skip
def test_a_section_is_checked_against_a_schema(place, section, how, lines):
    assert keys(place, section, **how) == lines


def test_what_basicsrs_models_do_not_read_is_a_warning():
    section = {'size': 1, 'scale': 2, 'siez': 3}  # BasicSR reads `scale`
    checker = of_basicsr()
    assert checker.is_basicsr() and not own().is_basicsr()
    assert keys('a', section, checker=checker, allow_unknown=True) == []
    assert checker.warnings == ['a:siez: nothing reads it (did you mean size? known: mode, size)']
    other = own()
    other.model = type('Other', (), {'__module__': 'basicsrs.models'})
    assert not other.is_basicsr() and keys('a', section, checker=other, allow_unknown=True) == []
    assert other.warnings == []


def function(given, size: int, mode: str = 'fast', *args, rate=0.5, **kwargs):
    """Stand for what a section configures."""


PARAMETERS = signatures.parameters(function)


def arguments(section, *, checker=None, **how):
    section = {'type': 'Name', **section}
    how = {'given': ('given',), **how}
    return list((checker or own()).check_arguments('a', section, PARAMETERS, **how))


@pytest.mark.parametrize(
    ('section', 'how', 'lines'),
    [
        ({'size': 1, 'mode': 'x', 'rate': 1}, {}, []),
        ({}, {}, ['a:size: is missing, Name needs it']),
        ({'size': 1}, {'given': ()}, ['a:given: is missing, Name needs it']),
        ({'size': 1}, {'required': ('rate',)}, ['a:rate: is missing, Name needs it']),
        ({'size': 'x', 'mode': 3}, {}, ["a:size: got 'x', expected a whole number", 'a:mode: got 3, expected a text']),
        ({'size': 1, 'given': 2}, {}, ['a:given: Name has no such setting (known: mode, rate, size)']),
        ({'size': 1, 'args': 2}, {'own': ('better',)}, ['a:args: Name has no such setting (known: better, mode, rate, size)']),
        ({'size': 1, 'kwargs': 2}, {}, ['a:kwargs: Name has no such setting (known: mode, rate, size)']),
        ({'size': 1, 'better': 2}, {'own': ('better',)}, []),
        ({'size': 1, 'sizes': 2}, {'allow_unknown': True}, []),
        ({'size': 1, 'sizes': 2}, {'allow_unknown': True, 'checker': own({'a:sizes'})},
         ['a:sizes: Name has no such setting (did you mean size? known: mode, rate, size)']),
    ],
)  # fmt: skip
def test_a_section_is_checked_against_a_signature(section, how, lines):
    assert arguments(section, **how) == lines


def test_the_signature_of_a_function_with_names_that_are_not_there():
    def unknown(size: 'int', other: 'NotThere' = 1):  # noqa: F821
        pass

    found = signatures.parameters(unknown)
    assert list(found) == ['size', 'other'] and found['other'].annotation == 'NotThere'

    def known(size: 'int', other: 'str | None' = None):
        pass

    found = signatures.parameters(known)
    assert (found['size'].annotation, found['other'].annotation) == (int, str | None)
    assert signatures.parameters(lambda x: 1)['x'].default is inspect.Parameter.empty
