"""One way to run any network: `Adapter`, and the sizes that a network needs."""

import inspect
from collections.abc import Callable, Mapping
from numbers import Integral
from typing import Any

from torch import Tensor, nn

from hmaca_arch.networks import baselines
from hmaca_arch.networks.checkpoints import SelfDescribing
from hmaca_arch.networks.settings import require, require_type
from hmaca_arch.networks.windows import pad_to_multiple

# Pixels. No network has larger windows, and a stranger's checkpoint may state anything.
MOST_PADDED = 1024


class Adapter(nn.Module):
    """A module (lq, mask, degradation) -> output around any network.

    Args:
        network: any module whose `forward` takes lq, and `mask` and `degradation` if it has
            arguments of these names.
        pad_to: sides are padded to multiples of this, and the output is cropped.
    """

    def __init__(self, network: nn.Module, pad_to: int = 1) -> None:
        super().__init__()
        self.network, self.pad_to = network, pad_to
        self.takes = takes(network)

    def forward(self, lq: Tensor, mask: Tensor, degradation: Tensor | None = None) -> Tensor:
        """Restore an image.

        Args:
            lq: (b, c, h, w).
            mask: (b, 1, h, w), 1 = restore.
            degradation: (b, fields), see `degradation.FIELDS`.

        Returns:
            (b, c, h, w)

        Raises:
            ValueError: the network's output has another size than its input.
        """
        h, w = lq.shape[-2:]
        lq = pad_to_multiple(lq, self.pad_to, 'image')
        given = {'mask': pad_to_multiple(mask, self.pad_to, 'mask'), 'degradation': degradation}
        output = self.network(lq, **{name: given[name] for name in self.takes})
        if output.shape != lq.shape:
            raise ValueError(
                f'the network makes {tuple(output.shape)} of {tuple(lq.shape)}; '
                'expected equal sizes: set upscale: 1 if it has that setting'
            )
        return output[..., :h, :w]


def takes(network: nn.Module | Callable[..., nn.Module]) -> tuple[str, ...]:
    """Return which of `mask` and `degradation` the `forward` of a module or class takes."""
    forward = getattr(network, 'forward', None)
    arguments = inspect.signature(forward).parameters if forward else ()
    return tuple(name for name in ('mask', 'degradation') if name in arguments)


def check_pad_to(pad_to: Any) -> None:
    """Raise a ValueError unless `pad_to` is None or a number of pixels to pad to multiples of."""
    if pad_to is not None:
        require_type('pad_to', pad_to, Integral)
        require(1 <= pad_to <= MOST_PADDED, 'pad_to', pad_to, f'1 to {MOST_PADDED}')


def padding(section: Mapping[str, Any]) -> int:
    """Return the number to multiples of which a network's images must be padded.

    It is 1 for a network that needs no padding, or pads by itself.

    Args:
        section: the network's, with `pad_to` if it has one.
    """
    if section.get('pad_to') is not None:
        return section['pad_to']
    network = baselines.constructor(section['type'])
    if isinstance(network, type) and issubclass(network, SelfDescribing):
        return 1
    default = baselines.parameters(section['type']).get('window_size')
    window: Any = section.get('window_size', default.default if default else 1)
    if not isinstance(window, int):
        return 1
    require(1 <= window <= MOST_PADDED, 'window_size', window, f'1 to {MOST_PADDED}')
    return window
