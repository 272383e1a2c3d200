"""Build the network that a checkpoint describes, and nothing else that a stranger may have written
there.

A description names one network of a closed list. Its settings are numbers, booleans, null, names
out of closed lists, and lists of these: no path, no URL, nothing that is called. The network is
built twice: first without memory, to compare its weights with the file's, and only if they fit for
use. So a description costs no more than the file that carries it.
"""

import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from hmaca_arch.messages import show
from hmaca_arch.networks.checkpoints import refuse_misfit
from hmaca_arch.networks.registry import find, is_section
from hmaca_arch.networks.settings import require

STOCK = ('SwinIR', 'HAT', 'DRCT', 'NAFNet')
NETWORKS = ('HMANet', 'HMACA', 'MaskInput', 'Unfolded')
# What may stand in the one section `inner` of a network.
NESTED = {'MaskInput': ('HMANet', *STOCK), 'Unfolded': ('HMANet', 'HMACA', *STOCK)}
# settings that are texts, and all that each may be; constructors refuse what is another network's
NAMES = {
    'mask_input': ('channel',),
    'resi_connection': ('1conv', '3conv', 'identity', '0conv'),
    'shifted_windows': ('windows', 'strips'),
    'cross_attention': ('global', 'window', 'none'),
    'upsampler': ('', 'pixelshuffle', 'pixelshuffledirect', 'nearest+conv'),
}
LARGEST = 2**20  # of a number in a network's settings; no width, depth or side comes near
LONGEST = 256  # list

# What the network of an option file may have. One that is trained on a single GPU has less.
MOST_TENSORS = 8000
MOST_ELEMENTS = 2**31
MOST_IN_MEMORY = 2**28  # elements of a network that can only be tried out with memory


class TooLarge(ValueError):
    """A network has more weights than it may have."""


@contextlib.contextmanager
def trial() -> Iterator[None]:
    """Context for trial construction: no output; the random numbers and BasicSR's logger stay as
    they are.
    """
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
    """Context in which a network is built: refuse one that has too many weights, when it has made
    that many.

    Args:
        tensors, elements: the most that may be allocated.
        memory: whether tensors have memory; without it they have shapes alone (torch's meta
            device).
    """

    ALLOCATE = (torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn)
    COMPUTE = (torch.arange, torch.eye)

    def __init__(
        self, tensors: int = MOST_TENSORS, elements: int = MOST_ELEMENTS, memory: bool = False
    ) -> None:
        super().__init__()
        self.tensors, self.elements, self.memory = tensors, elements, memory

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Call `func`, count what it allocates, and let it allocate nothing where `memory` is
        False.
        """
        kwargs = kwargs or {}
        if (
            func is torch.linspace
        ):  # the rates of stochastic depth, one for each block; their values are read
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
    """A line for each setting of a network, of an option file, with a number that no network has."""
    for key, value in section.items():
        for item in value if isinstance(value, list | tuple) else [value]:
            if isinstance(item, int | float) and abs(item) > LARGEST:
                yield f'{key}: got {show(value)}, expected numbers up to {LARGEST}'
                break


def check_description(description: Mapping[str, Any]) -> None:
    """Raise a ValueError for a description that names another network or setting than it may (see
    the module's text).
    """
    name, settings = description['network'], dict(description['settings'])
    expected = f'{" or ".join(NETWORKS)}; any other needs the option file of its training (-opt)'
    require(name in NETWORKS, 'network of the checkpoint', name[:80], expected)
    if name in NESTED:
        inner = settings.pop('inner', None)
        require(
            is_section(inner),
            'inner',
            show(inner),
            f'the section of the network inside {name}, with its type',
        )
        if inner['type'] not in NESTED[name]:
            raise ValueError(
                f'the checkpoint names {show(inner["type"])} inside {name}; without the option file of its training (-opt) only '
                f'{", ".join(NESTED[name])} are built'
            )
        _check_settings({key: value for key, value in inner.items() if key != 'type'})
    _check_settings(settings)


def _check_settings(settings: Mapping[str, Any]) -> None:
    for key, value in settings.items():
        items = value if isinstance(value, list) else [value]
        require(len(items) <= LONGEST, key[:80], show(value), f'at most {LONGEST} items')
        for item in items:
            if isinstance(item, str):
                names = NAMES.get(key)
                if names is None:
                    raise ValueError(
                        f'{key[:80]} is {show(value)}; a checkpoint sets no text there, only an option file does (-opt)'
                    )
                require(item in names, key, show(value), ' or '.join(map(repr, names)))
            else:
                number = isinstance(item, int | float) and abs(item) <= LARGEST  # not for NaN
                require(
                    number or item is None,
                    key[:80],
                    show(value),
                    f'numbers up to {LARGEST}, true, false or null, or a list of them',
                )


def build(description: Mapping[str, Any], state_dict: Mapping[str, Tensor]) -> nn.Module:
    """Build the network of a description for the weights that come with it; its own weights are
    random.

    Raises:
        ValueError: the description names what it may not, or does not fit the weights.
    """
    check_description(description)
    # Twice and more: a constructor also makes what is not saved.
    bounds = Bounded(
        2 * len(state_dict) + 64, 2 * sum(value.numel() for value in state_dict.values()) + LARGEST
    )
    try:
        with trial(), bounds:
            outline = _construct(description)
    except TooLarge as error:
        raise ValueError(
            f'the checkpoint describes a larger network than its {len(state_dict)} weights are of: {error}'
        ) from None
    refuse_misfit(outline, state_dict)
    return _construct(description)


def _construct(description: Mapping[str, Any]) -> nn.Module:
    try:
        return find(description['network'])(**description['settings'])
    except TypeError as error:  # a setting that is not known here
        raise ValueError(
            f'the checkpoint says of itself what no network here can be ({error}); a newer version made it?'
        ) from None
    except ValueError:
        raise
    except Exception as error:  # whatever another package's constructor raises
        reason = f'{type(error).__name__}: {" ".join(str(error).split())[:200]}'
        raise ValueError(
            f'the checkpoint describes a network that cannot be built ({reason})'
        ) from None
