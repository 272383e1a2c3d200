"""Build the network that a checkpoint describes, and nothing else that a stranger may write there.

A description names one network of a closed list. Its settings are numbers, booleans, null, names
out of closed lists, and lists of these: no path, no URL, nothing that is called. The network is
first built without memory, to compare its weights with the file's. Only if they fit it is built for
use. So a description costs no more than the file that carries it.
"""

import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from hmaca_arch.messages import reason_of, short_repr
from hmaca_arch.networks.checkpoints import refuse_misfit
from hmaca_arch.networks.conditions import DESCRIBED
from hmaca_arch.networks.registry import find, is_section

STOCK = ('SwinIR', 'HAT', 'DRCT', 'NAFNet')
NETWORKS = ('HMANet', 'HMACA', 'MaskInput', 'Unfolded')
# What may stand in the one section `inner` of a network.
NESTED = {'MaskInput': ('HMANet', *STOCK), 'Unfolded': ('HMANet', 'HMACA', *STOCK)}
# Settings that are texts, and all values of each. Constructors refuse another network's.
NAMES = {
    'mask_input': ('channel',),
    'resi_connection': ('1conv', '3conv', 'identity', '0conv'),
    'shifted_windows': ('windows', 'strips'),
    'cross_attention': ('global', 'window', 'none'),
    'specialists': DESCRIBED,
    'upsampler': ('', 'pixelshuffle', 'pixelshuffledirect', 'nearest+conv'),
}
LARGEST = 2**20  # of a number in a network's settings; no width, depth or side comes near
LONGEST = 256  # list

# The most that the network of an option file may have. One trained on a single GPU has less.
MOST_TENSORS = 8000
MOST_ELEMENTS = 2**31
MOST_IN_MEMORY = 2**28  # elements of a network that cannot be constructed without memory


class TooLarge(ValueError):
    """A network has more weights than it may have."""


@contextlib.contextmanager
def quiet_construction() -> Iterator[None]:
    """Context for trial construction: no output; the RNG and BasicSR's logger stay unchanged."""
    logger = logging.getLogger('basicsr')
    of_basicsr = sys.modules.get('basicsr.utils.logger')
    initialized = of_basicsr.initialized_logger if of_basicsr else {}
    handlers, propagate, known = list(logger.handlers), logger.propagate, dict(initialized)
    logging.disable(logging.WARNING)
    try:
        with (
            torch.random.fork_rng(devices=[]),
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            warnings.simplefilter('ignore')
            yield
    finally:
        logging.disable(logging.NOTSET)
        logger.handlers[:], logger.propagate = handlers, propagate
        initialized.clear()
        initialized.update(known)


class Bounded(TorchFunctionMode):
    """Context for construction that raises `TooLarge` once a network has too many weights.

    Args:
        tensors: the most tensors that may be allocated.
        elements: the most elements that they may have together.
        memory: whether tensors get memory; without it they have only shapes (torch's meta device).
    """

    ALLOCATE = (torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn)
    COMPUTE = (torch.arange, torch.eye)

    def __init__(
        self, tensors: int = MOST_TENSORS, elements: int = MOST_ELEMENTS, memory: bool = False
    ) -> None:
        super().__init__()
        self.tensors, self.elements, self.memory = tensors, elements, memory

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """Call a function of torch, and count what it allocates."""
        kwargs = kwargs or {}
        # The rates of stochastic depth, one for each block. Their values are read, so they need
        # memory.
        if func is torch.linspace:
            steps = kwargs.get('steps', args[2] if len(args) > 2 else 0)
            if steps > self.tensors:
                raise TooLarge(f'{steps} blocks are too many')
            return func(*args, **kwargs)
        if not self.memory and func in self.ALLOCATE + self.COMPUTE:
            kwargs = {**kwargs, 'device': 'meta'}
        result = func(*args, **kwargs)
        if func in self.ALLOCATE:
            self.tensors -= 1
            self.elements -= result.numel()
            if self.tensors < 0 or self.elements < 0:
                raise TooLarge(
                    'the network has more weights than it may have: a setting is too large'
                )
        return result


def too_large(section: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each setting of a section with a number that no network has."""
    for key, value in section.items():
        items = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(item, int | float) and abs(item) > LARGEST for item in items):
            yield f'{key}: got {short_repr(value)}, expected numbers up to {LARGEST}'


def check_description(description: Mapping[str, Any]) -> None:
    """Check that a description names only the networks and settings that the module allows.

    Raises:
        ValueError: it names others.
    """
    name, settings = description['network'], dict(description['settings'])
    expected = f'{" or ".join(NETWORKS)}; any other needs the option file of its training (-opt)'
    _require(name in NETWORKS, 'network of the checkpoint', name, expected)
    if name in NESTED:
        inner = settings.pop('inner', None)
        expected = f'the section of the network inside {name}, with its type'
        _require(is_section(inner), 'inner', inner, expected)
        if inner['type'] not in NESTED[name]:
            raise ValueError(
                f'the checkpoint names {short_repr(inner["type"])} inside {name}; without the '
                f'option file of its training (-opt) only {", ".join(NESTED[name])} are built'
            )
        _check_settings({key: value for key, value in inner.items() if key != 'type'})
    _check_settings(settings)


def _check_settings(settings: Mapping[str, Any]) -> None:
    for key, value in settings.items():
        items = value if isinstance(value, list) else [value]
        _require(len(items) <= LONGEST, key, value, f'at most {LONGEST} items')
        for item in items:
            _check_item(key, item, value)


def _check_item(key: str, item: Any, value: Any) -> None:
    if not isinstance(item, str):
        number = isinstance(item, int | float) and abs(item) <= LARGEST  # False for NaN
        expected = f'numbers up to {LARGEST}, true, false or null, or a list of them'
        _require(number or item is None, key, value, expected)
    else:
        names = NAMES.get(key, ())
        expected = ' or '.join(map(repr, names)) or 'no text; only an option file sets one (-opt)'
        _require(item in names, key, value, expected)


def _require(holds: bool, key: str, value: Any, expected: str) -> None:
    if not holds:
        raise ValueError(f'{key[:80]} is {short_repr(value)}; expected {expected}')


def build(description: Mapping[str, Any], state_dict: Mapping[str, Tensor]) -> nn.Module:
    """Build the network of a description for the weights that come with it.

    Args:
        description: see `checkpoints.description_of`.
        state_dict: the weights to compare with; they are not loaded.

    Raises:
        ValueError: the description names what it may not, or does not fit the weights.
    """
    check_description(description)
    # Twice and more, as a constructor also makes what is not saved.
    elements = 2 * sum(value.numel() for value in state_dict.values()) + LARGEST
    try:
        with quiet_construction(), Bounded(2 * len(state_dict) + 64, elements):
            outline = _construct(description)
    except TooLarge as error:
        raise ValueError(
            'the checkpoint describes a larger network than '
            f'its {len(state_dict)} weights are of: {error}'
        ) from None
    refuse_misfit(outline, state_dict)
    return _construct(description)


def _construct(description: Mapping[str, Any]) -> nn.Module:
    try:
        return find(description['network'])(**description['settings'])
    except TypeError as error:
        raise ValueError(
            f'unknown setting in the checkpoint ({error}); was it saved by a newer version?'
        ) from None
    except ValueError:
        raise
    # Another package's constructor may raise anything.
    except Exception as error:
        reason = f'{type(error).__name__}: {reason_of(error, 200)}'
        raise ValueError(
            f'the checkpoint describes a network that cannot be built ({reason})'
        ) from None
