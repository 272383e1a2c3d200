"""One way to run any network: `Adapter`; and to what sizes a network needs its images padded."""

import inspect
from collections.abc import Mapping
from numbers import Integral
from typing import Any

from torch import Tensor, nn

from hmaca_arch.networks import baselines
from hmaca_arch.networks.checkpoints import SelfDescribing
from hmaca_arch.networks.settings import require, require_type
from hmaca_arch.networks.windows import pad_to_multiple

MOST_PADDED = (
    1024  # pixels: no network has larger windows, and a stranger's checkpoint may say anything
)


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
        """Run the network on lq (b, c, h, w) and what it takes of mask (b, 1, h, w) and degradation
        (b, fields) -> (b, c, h, w).

        Raises:
            ValueError: the network's output is not of its input's size.
        """
        h, w = lq.shape[-2:]
        lq = pad_to_multiple(lq, self.pad_to, 'image')
        given = {'mask': pad_to_multiple(mask, self.pad_to, 'mask'), 'degradation': degradation}
        output = self.network(lq, **{name: given[name] for name in self.takes})
        if output.shape != lq.shape:
            raise ValueError(
                f'the network makes {tuple(output.shape)} of {tuple(lq.shape)}; expected equal sizes: set upscale: 1 if it has that setting'
            )
        return output[..., :h, :w]


def takes(network: nn.Module | type) -> tuple[str, ...]:
    """Which of `mask` and `degradation` the `forward` of a network, or of a loss, has as arguments."""
    arguments = inspect.signature(network.forward).parameters
    return tuple(name for name in ('mask', 'degradation') if name in arguments)


def check_pad_to(pad_to: Any) -> None:
    """Raise a ValueError for a number that images cannot be padded to multiples of; None: nothing
    is said.
    """
    if pad_to is not None:
        require_type('pad_to', pad_to, Integral)
        require(1 <= pad_to <= MOST_PADDED, 'pad_to', pad_to, f'1 to {MOST_PADDED}')


def padding(section: Mapping[str, Any]) -> int:
    """To multiples of which number of pixels a section's network needs its images padded; 1 if to
    none, or if it pads by itself.
    """
    if section.get('pad_to') is not None:
        return section['pad_to']
    network = baselines.constructor(section['type'])
    if isinstance(network, type) and issubclass(network, SelfDescribing):
        return 1
    default = baselines.parameters(section['type']).get('window_size')
    window = section.get('window_size', default.default if default else 1)
    if not isinstance(window, Integral):
        return 1
    require(1 <= window <= MOST_PADDED, 'window_size', window, f'1 to {MOST_PADDED}')
    return window
