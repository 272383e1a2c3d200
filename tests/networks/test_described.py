"""What a description may name, how large its network may be, and what construction leaves behind."""

import json
import logging
import sys
import warnings

import pytest
import torch
from basicsr.utils import logger as basicsr_logger
from samples import SECTIONS

from hmaca_arch.networks import checkpoints, described, loading
from hmaca_arch.networks.checkpoints import SelfDescribing, decode, refuse_misfit
from hmaca_arch.networks.mask_input import network_section
from hmaca_arch.networks.registry import build

LARGEST = described.LARGEST
NUMBERS = 'numbers up to 1048576, true, false or null, or a list of them'


def packed(text: str) -> torch.Tensor:
    return torch.tensor(list(text.encode()), dtype=torch.uint8)


class Net(SelfDescribing):
    """As small as a network can be that describes itself."""

    def __init__(
        self, a=1, b=2, c=3, d=4, e=5, f=6, g=7, h=8, drop_path_rate=0, use_checkpoint=0, pad_to=0
    ):
        self.settings = {
            key: value for key, value in locals().items() if key not in ('self', '__class__')
        }
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(2))


# --- what a description may name


@pytest.mark.parametrize(
    'settings',
    [
        {'depths': [1] * 256}, {'img_range': LARGEST}, {'img_range': -float(LARGEST)}, {'qk_scale': None}, {'ape': False},
        *({key: name} for key, names in described.NAMES.items() for name in names),
        *({key: list(names)} for key, names in described.NAMES.items()),
    ],
)  # fmt: skip
def test_numbers_and_known_names_may_be_described(settings):
    described.check_description({'network': 'HMACA', 'settings': settings})
    inner = {'type': 'SwinIR', **settings}
    described.check_description({'network': 'MaskInput', 'settings': {'inner': inner}})
    with pytest.raises(ValueError, match='^other is '):
        described.check_description(
            {'network': 'Unfolded', 'settings': {'inner': inner, 'other': 'text'}}
        )


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'depths': [1] * 257}, r'depths is \[1, .*\.\.\.; expected at most 256 items'),
        ({'depths': [1, LARGEST + 1]}, rf'depths is \[1, 1048577\]; expected {NUMBERS}'),
        ({'img_range': -LARGEST - 1}, f'img_range is -1048577; expected {NUMBERS}'),
        ({'img_range': float('nan')}, f'img_range is nan; expected {NUMBERS}'),
        ({'depths': [[1]]}, rf'depths is \[\[1\]\]; expected {NUMBERS}'),
        ({81 * 'x': {}}, f'{80 * "x"} is {{}}; expected {NUMBERS}'),
        ({'mask_input': 'none'}, "mask_input is 'none'; expected 'channel'"),
        ({'cross_attention': ['none', 'x']}, r"cross_attention is \['none', 'x'\]; expected 'global' or 'window' or 'none'"),
        ({'other': 'text'}, r"other is 'text'; expected no text; only an option file sets one \(-opt\)"),
    ],
)  # fmt: skip
@pytest.mark.parametrize('nested', [False, True])
def test_other_settings_are_named(settings, message, nested):
    network = 'MaskInput' if nested else 'HMACA'
    settings = {'inner': {'type': 'HAT', **settings}} if nested else settings
    with pytest.raises(ValueError, match=f'^{message}$'):
        described.check_description({'network': network, 'settings': settings})


@pytest.mark.parametrize(
    ('network', 'inner', 'message'),
    [
        (81 * 'y', None, f"network of the checkpoint is '{76 * 'y'}\\.\\.\\.; expected HMANet or HMACA or MaskInput or Unfolded; any other needs"),
        ('Unfolded', None, 'inner is None; expected the section of the network inside Unfolded, with its type'),
        ('Unfolded', ..., 'inner is None; expected the section of the network inside Unfolded, with its type'),
        ('Unfolded', {'a': 1}, "inner is {'a': 1}; expected the section of the network inside Unfolded, with its type"),
        ('MaskInput', {'type': 'HMACA'}, "the checkpoint names 'HMACA' inside MaskInput; .* only HMANet, SwinIR, HAT, DRCT, NAFNet are built"),
    ],
)  # fmt: skip
def test_other_networks_are_named(network, inner, message):
    settings = {} if inner is ... else {'inner': inner}
    with pytest.raises(ValueError, match=f'^{message}'):
        described.check_description({'network': network, 'settings': settings})


# --- how large a network may be


def test_numbers_that_no_network_has_are_listed():
    section = {
        'type': 'SwinIR', 'a': LARGEST, 'b': LARGEST + 1, 'c': [1, -LARGEST], 'd': (1, -LARGEST - 1), 'e': None, 'f': ['x', 10**9]
    }  # fmt: skip
    assert list(described.too_large(section)) == [
        'b: got 1048577, expected numbers up to 1048576',
        'd: got (1, -1048577), expected numbers up to 1048576',
        "f: got ['x', 1000000000], expected numbers up to 1048576",
    ]


@pytest.mark.parametrize('name', ['empty', 'zeros', 'ones', 'full', 'rand', 'randn'])
@pytest.mark.parametrize('memory', [False, True])
def test_what_is_allocated_is_counted(name, memory):
    values = (1.0,) if name == 'full' else ()

    def make(size):
        tensor = getattr(torch, name)((size,), *values, device='cpu')
        assert tensor.is_meta is not memory and tensor.shape == (size,)

    with described.Bounded(2, 5, memory):
        make(2), make(3), torch.arange(100), torch.eye(9)
        with pytest.raises(described.TooLarge, match='^the network has more weights than'):
            make(0)
    with described.Bounded(9, 5, memory):
        make(5), make(0)
        with pytest.raises(described.TooLarge, match='a setting is too large$'):
            make(1)
    with described.Bounded(memory=memory):
        assert torch.arange(3).is_meta is torch.eye(3).is_meta is not memory


def test_the_rates_of_stochastic_depth_have_values_and_are_counted():
    with described.Bounded(4):
        for rates in (torch.linspace(0, 3, 4), torch.linspace(0, 3, steps=4)):
            assert rates.tolist() == [0, 1, 2, 3]
        for positional, named in (((5,), {}), ((), {'steps': 5})):
            with pytest.raises(described.TooLarge, match='^5 blocks are too many$'):
                torch.linspace(0, 1, *positional, **named)
    with described.Bounded(4, 0), pytest.raises(described.TooLarge):
        torch.zeros(1)


@pytest.mark.parametrize(
    ('sizes', 'fits'),
    [([1] * 70, True), ([1] * 71, False), ([20 + LARGEST], True), ([21 + LARGEST], False)],
)
def test_a_description_may_need_twice_the_weights_of_its_file_and_a_little(
    monkeypatch, sizes, fits
):
    """Three weights of ten elements: 2 * 3 + 64 tensors, 2 * 10 + 2**20 elements."""
    state_dict = {'a': torch.zeros(5), 'b': torch.zeros(2, 2), 'c': torch.zeros(1)}
    monkeypatch.setattr(described, 'find', lambda _: lambda: [torch.empty(size) for size in sizes])
    monkeypatch.setattr(
        described, 'refuse_misfit', lambda outline, given: compared.append((outline, given))
    )
    compared, description = [], {'network': 'HMACA', 'settings': {}}
    if fits:
        built = described.build(description, state_dict)
        ((outline, given),) = compared
        assert given is state_dict and outline[0].is_meta and not built[0].is_meta
    else:
        with pytest.raises(
            ValueError,
            match='^the checkpoint describes a larger network than its 3 weights are of: the network has more',
        ) as caught:
            described.build(description, state_dict)
        assert caught.value.__suppress_context__ and not compared


@pytest.mark.parametrize(
    ('error', 'message'),
    [
        (TypeError('got x'), 'unknown setting in the checkpoint (got x); was it saved by a newer version?'),
        (ValueError('as it is'), 'as it is'),
        (RuntimeError('a\nb'), 'the checkpoint describes a network that cannot be built (RuntimeError: a b)'),
        (KeyError(300 * 'k'), f"the checkpoint describes a network that cannot be built (KeyError: '{199 * 'k'})"),
    ],
)  # fmt: skip
def test_a_constructors_error_is_one_line(monkeypatch, error, message):
    def network(**settings):
        assert settings == {'depths': [1]}
        raise error

    found = {'HMACA': network}
    monkeypatch.setattr(described, 'find', found.__getitem__)
    with pytest.raises(ValueError) as caught:
        described.build({'network': 'HMACA', 'settings': {'depths': [1]}}, {})
    assert str(caught.value) == message


# --- what construction leaves behind


@pytest.mark.parametrize('known', [True, False])
def test_construction_leaves_no_trace(capsys, caplog, monkeypatch, known):
    """Also where an error ends it, and where nothing has asked for BasicSR's logger yet."""
    handler = logging.NullHandler()
    logger = logging.getLogger('basicsr')
    monkeypatch.setattr(logger, 'handlers', [handler])
    monkeypatch.setattr(logger, 'propagate', True)
    monkeypatch.setattr(basicsr_logger, 'initialized_logger', {'other': True})
    if not known:
        monkeypatch.delitem(sys.modules, 'basicsr.utils.logger')
    state = torch.get_rng_state()
    with warnings.catch_warnings(), pytest.raises(KeyError):
        warnings.simplefilter('error')
        with described.quiet_construction():
            print('printed')
            warnings.warn('warned', stacklevel=1)
            logging.getLogger('hmaca_arch').warning('not logged')
            logging.getLogger('hmaca_arch').error('logged')
            torch.rand(3)
            basicsr_logger.get_root_logger()
            raise KeyError
    assert capsys.readouterr().out == '' and torch.equal(torch.get_rng_state(), state)
    assert [record.message for record in caplog.records] == ['logged']
    assert logging.root.manager.disable == logging.NOTSET
    assert logger.handlers == [handler] and logger.propagate is True
    if known:
        assert basicsr_logger.initialized_logger == {'other': True}


# --- state dicts that describe themselves


def test_a_description_has_a_largest_size():
    text = '{"network": 3, "settings": {}}'
    most = packed(text.ljust(checkpoints.MOST_DESCRIBED))
    assert decode(most) == {'network': '3', 'settings': {}}
    with pytest.raises(ValueError, match=r'\(uint8, shape \(65537,\)\)$'):
        decode(torch.cat([most, most[-1:]]))


@pytest.mark.parametrize(
    ('state', 'reason'),
    [
        (packed('{}')[None], 'uint8, shape (1, 2)'),
        (packed('{}').float(), 'float32, shape (2,)'),
        (packed('{"settings": {}}'), "'network'"),
        (packed('{"network": "HMACA"}'), "'settings'"),
        (packed('[]'), 'list indices must be integers or slices, not str'),
        (packed('{"network": "HMACA", "settings": 3}'), "'int' object is not iterable"),
        ('text', "'str' object has no attribute 'dtype'"),
        (torch.empty(8, device='meta', dtype=torch.uint8), ''),
        (torch.zeros([1] * 60), 'float32, shape (' + 28 * '1, '),
    ],
)
def test_what_is_no_description_is_one_line(state, reason):
    with pytest.raises(ValueError) as caught:
        decode(state)
    start = '_extra_state of the checkpoint is not a description of a network ('
    message = str(caught.value)
    assert message.startswith(start + reason) and message.endswith(')')
    assert len(message) <= len(start) + 101
    if reason.startswith('float32, shape (1'):
        assert len(message) == len(start) + 101


def test_settings_that_differ_are_listed_in_order():
    net = Net(b=20, drop_path_rate=1, use_checkpoint=1, pad_to=1)
    description = {'network': 'Other', 'settings': {'z': 1, 'c': 'x'}}
    assert net.differences(description) == [
        'b is 2 in the checkpoint, 20 here',
        "c is 'x' in the checkpoint, 3 here",
        "network is 'Other' in the checkpoint, 'Net' here",
        "z is 1 in the checkpoint, 'not set' here",
    ]
    outer = build(network_section({**SECTIONS['SwinIR'], 'mask_input': 'channel'}))
    inner = {'type': 'HMANet', 'in_chans': 3}
    lines = outer.differences({'network': 'MaskInput', 'settings': {'inner': inner}})
    assert "upsampler is 'not set' in the checkpoint, '' here" in lines
    with pytest.raises(
        ValueError,
        match='^the checkpoint is of another network: a is 0 in the checkpoint, 1 here; b is 0',
    ):
        Net().set_extra_state(Net(a=0, b=0).get_extra_state())
    assert (
        bytes(Net().get_extra_state().tolist())
        == json.dumps({'network': 'Net', 'settings': Net().settings}, sort_keys=True).encode()
    )


def test_loading_leaves_the_given_state_dict_alone_and_passes_assign_on(caplog):
    given = {**Net(a=5).state_dict(), 'weight': torch.ones(2)}
    before = dict(given)
    net = Net()
    with pytest.raises(ValueError, match='a is 5'):
        net.load_state_dict(given)
    net.load_state_dict({**given, '_extra_state': Net().get_extra_state()}, strict=False)
    assert not caplog.records
    net.load_state_dict(given, strict=False, assign=True)
    assert [record.getMessage() for record in caplog.records] == [
        'loading part of the weights of another network: a is 5 in the checkpoint, 1 here'
    ]
    assert given == before and net.weight.data_ptr() == given['weight'].data_ptr()
    net.load_state_dict(Net().state_dict())
    assert net.weight.data_ptr() == given['weight'].data_ptr()
    assert net.load_state_dict({'weight': torch.ones(2)}, strict=False).missing_keys == [
        '_extra_state'
    ]


def misfit(network, state_dict) -> list[str]:
    with pytest.raises(ValueError) as caught:
        refuse_misfit(network, state_dict)
    start, found = str(caught.value).split(': ', 1)
    assert start == 'the checkpoint is of another network'
    return found.split('; ')


@pytest.mark.parametrize(('count', 'shown', 'more'), [(6, 6, []), (7, 6, ['1 more settings']), (8, 6, ['2 more settings'])])  # fmt: skip
def test_a_few_of_the_settings_that_differ_are_named(count, shown, more):
    other = Net(**dict.fromkeys('abcdefgh'[:count], 0))
    lines = [
        f'{key} is 0 in the checkpoint, {number + 1} here' for number, key in enumerate('abcdefgh')
    ]
    assert misfit(Net(), other.state_dict()) == [*lines[:shown], *more]
    assert misfit(Net(a='x' * 200), Net().state_dict()) == [
        f"a is 1 in the checkpoint, '{200 * 'x'}"[:160]
    ]


@pytest.mark.parametrize(('count', 'named'), [(1, 'k0'), (3, 'k0, k1, k2'), (4, 'k0, k1, k2, ...')])
def test_a_few_of_the_weights_that_differ_are_named(count, named):
    some = torch.nn.ParameterDict(
        {f'k{number}': torch.zeros(2) for number in reversed(range(count))}
    )
    none, other = (
        torch.nn.ParameterDict(),
        {f'k{number}': torch.zeros(3, 1) for number in range(count)},
    )
    assert misfit(some, {}) == [f'{count} weights are missing in the checkpoint: {named}']
    assert misfit(none, some.state_dict()) == [f'{count} are in the checkpoint only: {named}']
    shapes = '(3, 1) in the checkpoint, (2,) here'
    assert misfit(some, other)[0].startswith(f'{count} have another shape: k0 {shapes}')
    assert misfit(none, {130 * 'w': torch.zeros(1)}) == [
        f'1 are in the checkpoint only: {120 * "w"}'
    ]
    refuse_misfit(some, some.state_dict())


def test_descriptions_of_inner_networks_may_differ_in_length():
    outer = torch.nn.Sequential(Net())
    weights = {**torch.nn.Sequential(Net(a=10**9)).state_dict(), 'more': torch.zeros(1)}
    assert misfit(outer, weights) == ['1 are in the checkpoint only: more']
    assert misfit(Net(), {'weight': torch.zeros(2)}) == [
        '1 weights are missing in the checkpoint: _extra_state'
    ]


# --- the line of a file


def test_the_line_of_a_file_is_that_of_its_state_dict(tmp_path, monkeypatch):
    path = tmp_path / 'net.pth'
    text = json.dumps({'network': 'HMACA', 'settings': {'depths': 'x'}})
    torch.save({'params': {'_extra_state': packed(text), 'w': torch.zeros(1)}}, path)
    with pytest.raises(ValueError) as caught:
        loading.load_network(path)
    assert str(caught.value).startswith(f'{path}: depths is ') and str(caught.value).endswith(
        '(-opt)'
    )

    def fail(*_):
        raise RuntimeError(800 * 'x')

    monkeypatch.setattr(loading, 'build_network_from_state_dict', fail)
    with pytest.raises(ValueError) as caught:
        loading.load_network(path)
    assert str(caught.value) == f'{path}: {700 * "x"}'


def test_a_state_dict_that_says_nothing_is_named_by_its_first_keys():
    weights = {
        90 * 'a': torch.zeros(1),
        'b': torch.zeros(1),
        'c': torch.zeros(1),
        'd': torch.zeros(1),
    }
    with pytest.raises(
        ValueError, match=rf'^the state dict \(keys {80 * "a"}, b, c, \.\.\.\) does not say'
    ):
        loading.build_network_from_state_dict(weights)
