"""Networks to compare with: found by name, built unchanged, and their traps closed."""

import re
import subprocess
import sys

import pytest
import torch
from basicsr.archs import build_network
from basicsr.utils.registry import ARCH_REGISTRY
from conftest import ROOT, environment, tiny_options
from samples import SECTIONS

import datasets_ext  # noqa: F401
import losses_ext  # noqa: F401
from hmaca_arch.config import checks as option_checks
from hmaca_arch.networks import baselines


def checked(tmp_path, section):
    """Load the options of a training with this network, checked."""
    opt = {**tiny_options(tmp_path), 'network_g': section}
    option_checks.check(opt)
    return opt


@pytest.fixture
def no_spandrel(monkeypatch):
    monkeypatch.setitem(sys.modules, 'spandrel', None)  # as if it were not installed


def test_hat_and_drct_are_registered_without_importing_spandrel():
    code = (
        'import hmaca_arch, sys; from basicsr.utils.registry import ARCH_REGISTRY as known; '
        "assert {'HAT', 'DRCT', 'SwinIR', 'HMANet'} <= set(known.keys()) and 'NAFNet' not in known; "
        "assert not [name for name in sys.modules if name.startswith('spandrel')]"
    )
    subprocess.run([sys.executable, '-c', code], check=True, cwd=ROOT, env=environment())


@pytest.mark.parametrize('name', SECTIONS)
def test_stock_networks_are_what_their_packages_build(tmp_path, name):
    pytest.importorskip('spandrel')
    section = checked(tmp_path, SECTIONS[name])['network_g']
    torch.manual_seed(0)
    built = build_network(section)
    torch.manual_seed(0)
    settings = {key: value for key, value in section.items() if key != 'type'}
    theirs = (
        ARCH_REGISTRY.get('SwinIR') if name == 'SwinIR' else baselines.spandrel_networks()[name]
    )(**settings)
    assert type(built) is type(theirs)
    x = torch.rand(1, 3, 8, 12)
    with torch.no_grad():
        output = built.eval()(x)
        assert torch.equal(output, theirs.eval()(x)) and output.shape == x.shape


def test_basicsr_keeps_its_own_networks_of_the_same_name(tmp_path):
    pytest.importorskip('spandrel')
    for name in ('SwinIR', 'RCAN'):
        before = ARCH_REGISTRY.get(name)
        assert (
            baselines.provide(name)
            and ARCH_REGISTRY.get(name) is before
            and before.__module__.startswith('basicsr')
        )


def test_without_spandrel_the_error_says_what_to_install(tmp_path, no_spandrel):
    how = re.escape(baselines.EXTRA)
    for name in ('HAT', 'DRCT'):
        message = f'{name} is a network of the package spandrel.*{how}'
        with pytest.raises(ValueError, match=message):
            build_network({**SECTIONS[name]})
        with pytest.raises(ValueError, match=f'network_g: .*{how}'):
            checked(tmp_path, SECTIONS[name])
    with pytest.raises(ValueError, match=f"there is no 'Uformer'.*{how}"):
        checked(tmp_path, {'type': 'Uformer'})


@pytest.mark.parametrize('name, upsampler', [('DRCT', None), ('DRCT', ''), ('HAT', '')])
def test_networks_that_would_return_their_input_are_refused(tmp_path, name, upsampler):
    pytest.importorskip('spandrel')
    section = {key: value for key, value in SECTIONS[name].items() if key != 'upsampler'} | (
        {} if upsampler is None else {'upsampler': upsampler}
    )
    network = baselines.spandrel_networks()[name](
        **{key: value for key, value in section.items() if key != 'type'}
    )
    x = torch.rand(1, 3, 4, 4)
    torch.testing.assert_close(network.eval()(x), x)  # what is refused really does nothing
    with pytest.raises(ValueError, match='returns its input; set upsampler: pixelshuffle'):
        build_network(section)
    with pytest.raises(ValueError, match='network_g: .*set upsampler: pixelshuffle'):
        checked(tmp_path, section)


@pytest.mark.parametrize('name', SECTIONS)
def test_misspelled_settings_are_caught(tmp_path, name):
    pytest.importorskip('spandrel')
    right = next(
        key for key in SECTIONS[name] if key != 'type' and key != 'squeeze_factor' and key != 'gc'
    )
    with pytest.raises(
        ValueError, match=f'network_g:{right}s: {name} has no such setting.*did you mean {right}'
    ):
        checked(tmp_path, {**SECTIONS[name], f'{right}s': 8})
    with pytest.raises(ValueError, match='did you mean mask_input'):
        checked(tmp_path, {**SECTIONS[name], 'mask_inputs': 'channel'})


def test_misspelled_names_of_spandrel_are_caught(tmp_path):
    pytest.importorskip('spandrel')
    with pytest.raises(
        ValueError, match=r"network_g:type: there is no 'NAFNets' \(did you mean NAFNet\?"
    ):
        checked(tmp_path, {'type': 'NAFNets'})


def test_other_constructors_that_take_anything_may(tmp_path):
    class Swallowing(torch.nn.Module):
        def __init__(self, **kwargs):
            super().__init__()

    ARCH_REGISTRY.register(Swallowing)
    checked(tmp_path, {'type': 'Swallowing', 'anything': 1})
