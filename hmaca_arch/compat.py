"""Repairs without which BasicSR 1.4.2 does not import on current torch and torchvision.

Each repair is inert where it is not needed. What BasicSR's *training* needs replaced is in `training/pipeline.py`.
"""

import sys
import types

import torch

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


def apply() -> None:
    """Make `import basicsr` work. Safe to call more than once."""
    _import_torchvision()
    _provide_functional_tensor()
