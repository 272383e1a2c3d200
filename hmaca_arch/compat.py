"""Repairs without which BasicSR 1.4.2 does not import on current torch and torchvision, and its `torch.load`.

Each repair is inert where it is not needed. What BasicSR's *training* needs replaced is in `training.py`.
"""

import importlib
import sys
import types
from typing import Any

import torch

LOADING = (  # BasicSR's modules that load files, but for `basicsr.train`, where `training.py` replaces what does
    'basicsr.models.base_model',
    *(f'basicsr.archs.{name}' for name in ('basicvsr_arch', 'dfdnet_arch', 'inception', 'spynet_arch', 'tof_arch', 'vgg_arch')),
)

_declared: torch.library.Library | None = None  # declarations live as long as the object that made them


def _import_torchvision() -> None:
    """Import torchvision, also where its compiled operators cannot be loaded.

    Where torch and torchvision come from different builds (a CPU torch beside PyPI's torchvision, for one) the operators do not load,
    and torchvision then fails at import: it registers shape functions for two operators that were never declared. Declaring
    them is enough. Nothing here calls them, and calling one still raises torch's error for an operator without a kernel.
    """
    try:
        import torchvision

        return
    except RuntimeError as error:
        if 'operator torchvision::' not in str(error):
            raise
    global _declared
    _declared = torch.library.Library('torchvision', 'FRAGMENT')
    for name in ('nms', 'qnms'):
        _declared.define(f'{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
    for name in [name for name in sys.modules if name.split('.')[0] == 'torchvision']:
        del sys.modules[name]  # half imported
    import torchvision  # noqa: F401


def _provide_functional_tensor() -> None:
    """`torchvision.transforms.functional_tensor` is gone since torchvision 0.17; BasicSR takes one function from it."""
    name = 'torchvision.transforms.functional_tensor'
    try:
        __import__(name)
    except ImportError:
        from torchvision.transforms.functional import rgb_to_grayscale

        module = types.ModuleType(name, _provide_functional_tensor.__doc__)
        module.rgb_to_grayscale = rgb_to_grayscale
        sys.modules[name] = module


class _Torch:
    """The name `torch` for modules of BasicSR, with another `load`."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    @staticmethod
    def load(path: str, map_location: Any = None) -> Any:
        """As `checkpoint_files.load_safely`, with the path in its errors. BasicSR copies what it loads to where it computes."""
        from hmaca_arch.checkpoint_files import load_safely  # late: BasicSR must be importable

        try:
            return load_safely(path)
        except ValueError as error:
            raise ValueError(f'{path}: {error}') from None


def load_safely_everywhere() -> None:
    """Replace `torch.load` in BasicSR's modules, which leave it to torch's version and environment whether code in a file is executed."""
    for name in LOADING:
        importlib.import_module(name).torch = _Torch()


def apply() -> None:
    """Make `import basicsr` work. Safe to call more than once."""
    _import_torchvision()
    _provide_functional_tensor()
