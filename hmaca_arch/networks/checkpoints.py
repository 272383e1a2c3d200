"""State dicts that describe the network they belong to.

A state dict carries the network's class and settings under `_extra_state`, torch's own place for
such things. They are a uint8 tensor of JSON. As a tensor they survive weights-only loading, and
programs that call `.cpu()` on every entry.
"""

import inspect
import json
import logging
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

logger = logging.getLogger('hmaca_arch')

DESCRIPTION = '_extra_state'
MOST_DESCRIBED = 2**16  # bytes: a file may claim anything
# These change how a network is trained and run, not what its weights were trained for.
FREE_SETTINGS = ('drop_path_rate', 'use_checkpoint', 'pad_to', 'passes')


def description_of(state_dict: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """Return the description that a state dict carries, or None.

    Returns:
        {'network': class name, 'settings': constructor arguments}

    Raises:
        ValueError: it is not a description.
    """
    return decode(state_dict[DESCRIPTION]) if DESCRIPTION in state_dict else None


def decode(state: Tensor) -> dict[str, Any]:
    """Decode the uint8 tensor made by `SelfDescribing.get_extra_state`.

    Raises:
        ValueError: it is not a description.
    """
    try:
        if state.dtype != torch.uint8 or state.ndim != 1 or len(state) > MOST_DESCRIBED:
            kind = str(state.dtype).removeprefix('torch.')
            raise ValueError(f'{kind}, shape {tuple(state.shape)}')
        description = json.loads(bytes(state.cpu().tolist()))
        return {'network': str(description['network']), 'settings': dict(description['settings'])}
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f'{DESCRIPTION} of the checkpoint is not a description of a network '
            f'({str(error)[:100]})'
        ) from error


def refuse_misfit(network: nn.Module, state_dict: Mapping[str, Tensor]) -> None:
    """Raise a ValueError if a checkpoint is of another network.

    In one line it names a few of the settings, weights and shapes that differ. torch's own error
    lists every weight, which are hundreds.
    """
    theirs = dict(getattr(network, 'canonical_state_dict', dict)(state_dict))
    ours = network.state_dict()
    found = []
    if isinstance(network, SelfDescribing) and DESCRIPTION in theirs:
        found = [line[:160] for line in network.differences(decode(theirs.pop(DESCRIPTION)))]
        found[6:] = [f'{len(found) - 6} more settings'] if len(found) > 6 else []
        del ours[DESCRIPTION]
    # The descriptions of inner networks can have any length.
    for key in [key for key in ours.keys() & theirs.keys() if key.endswith(f'.{DESCRIPTION}')]:
        del ours[key], theirs[key]
    found += _few(ours.keys() - theirs.keys(), 'weights are missing in the checkpoint')
    found += _few(theirs.keys() - ours.keys(), 'are in the checkpoint only')
    reshaped = [
        f'{key} {tuple(theirs[key].shape)} in the checkpoint, {tuple(ours[key].shape)} here'
        for key in ours.keys() & theirs.keys()
        if ours[key].shape != theirs[key].shape
    ]
    found += _few(reshaped, 'have another shape')
    if found:
        raise ValueError(f'the checkpoint is of another network: {"; ".join(found)}')


def _few(items: Collection[str], problem: str) -> Iterator[str]:
    """Yield one text that counts the items and names the first three, if there are any."""
    if items:
        some = ', '.join(item[:120] for item in sorted(items)[:3])
        yield f'{len(items)} {problem}: {some}{", ..." if len(items) > 3 else ""}'


class SelfDescribing(nn.Module):
    """A network whose state dict carries its class and its constructor arguments.

    A subclass sets `settings`, the arguments as JSON holds them.
    """

    settings: dict[str, Any]

    def get_extra_state(self) -> Tensor:
        """Return class and settings as a uint8 tensor of JSON; torch saves it."""
        described = {'network': type(self).__name__, 'settings': self.settings}
        text = json.dumps(described, sort_keys=True)
        return torch.tensor(list(text.encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Raise a ValueError if `state` describes another network; torch calls it on loading."""
        if differences := self.differences(decode(state)):
            raise ValueError(f'the checkpoint is of another network: {"; ".join(differences)}')

    def differences(self, description: Mapping[str, Any]) -> list[str]:
        """Return a line for each setting in which a checkpoint's description differs from this.

        `FREE_SETTINGS` may differ.
        """
        theirs = self.known(description)
        ours = self.known({'network': type(self).__name__, 'settings': self.settings})
        lines = []
        for name in sorted({*theirs, *ours}.difference(FREE_SETTINGS)):
            there, here = theirs.get(name, 'not set'), ours.get(name, 'not set')
            if there != here:
                lines.append(f'{name} is {there!r} in the checkpoint, {here!r} here')
        return lines

    def known(self, description: Mapping[str, Any]) -> dict[str, Any]:
        """Return a description's network and settings in one dictionary, for `differences`."""
        # A setting that the checkpoint lacks came later: it was trained with the default.
        defaults = {
            name: list(default) if isinstance(default := parameter.default, tuple) else default
            for name, parameter in inspect.signature(type(self)).parameters.items()
            if name in self.settings
        }
        return {'network': description['network'], **defaults, **description['settings']}

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load weights as torch does, unless they describe another network.

        Args:
            state_dict: the weights.
            strict: without it, part of another network's weights is loaded, for fine-tuning, and
                the settings that differ are logged as a warning.
            assign: as torch's.

        Raises:
            ValueError: strict, and settings differ that decide what the network computes.
            RuntimeError: torch's own, for keys or shapes that do not fit.
        """
        state_dict = dict(state_dict)
        if strict and DESCRIPTION in state_dict:
            self.set_extra_state(state_dict[DESCRIPTION])
        elif DESCRIPTION in state_dict:
            differences = '; '.join(self.differences(decode(state_dict[DESCRIPTION])))
            if differences:
                logger.warning('loading part of the weights of another network: %s', differences)
            # Inner networks have descriptions too.
            state_dict = {
                key: value for key, value in state_dict.items() if key.split('.')[-1] != DESCRIPTION
            }
        return super().load_state_dict(state_dict, strict=strict, assign=assign)
