"""Repairs without which BasicSR 1.4.2 does not import on current torch and torchvision, made when
either is imported; its `torch.load`.

Each repair is inert where it is not needed. What BasicSR's *training* needs replaced is in
`training/pipeline.py`.
"""

import importlib
import sys
import types
from collections.abc import Callable
from functools import partial
from importlib.abc import MetaPathFinder
from typing import Any

Execute = Callable[[types.ModuleType], None]

# BasicSR's modules that load files, but for `basicsr.train`, where `training/pipeline.py` replaces
# what does
LOADING = (
    'basicsr.models.base_model',
    *(
        f'basicsr.archs.{name}'
        for name in (
            'basicvsr_arch',
            'dfdnet_arch',
            'inception',
            'spynet_arch',
            'tof_arch',
            'vgg_arch',
        )
    ),
)

_declared = None  # a torch.library.Library: declarations live as long as the object that made them


def _execute_torchvision(execute: Execute, module: types.ModuleType) -> None:
    """Execute torchvision, also where its compiled operators cannot be loaded.

    Where torch and torchvision come from different builds (a CPU torch beside PyPI's torchvision,
    for one) the operators do not load, and torchvision then fails at import: it registers shape
    functions for two operators that were never declared. Declaring them is enough. Nothing here
    calls them, and calling one still raises torch's error for an operator without a kernel.
    """
    try:
        return execute(module)
    except RuntimeError as error:
        if 'operator torchvision::' not in str(error):
            raise
    global _declared
    import torch

    _declared = torch.library.Library('torchvision', 'FRAGMENT')
    for name in ('nms', 'qnms'):
        _declared.define(f'{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
    for name in [name for name in sys.modules if name.startswith('torchvision.')]:
        del sys.modules[name]  # half imported
    execute(module)


def _provide_functional_tensor() -> None:
    """`torchvision.transforms.functional_tensor` is gone since torchvision 0.17; BasicSR takes one
    function from it.
    """
    name = 'torchvision.transforms.functional_tensor'
    try:
        __import__(name)
    except ImportError:
        from torchvision.transforms.functional import rgb_to_grayscale

        module = types.ModuleType(name, _provide_functional_tensor.__doc__)
        module.rgb_to_grayscale = rgb_to_grayscale
        sys.modules[name] = module


class _OnImport(MetaPathFinder):
    """Lets others find torchvision and BasicSR, repairs them as they are executed, and calls `then`
    once BasicSR is.
    """

    def __init__(self, then: Callable[[], None]) -> None:
        self.then = then

    def execute_basicsr(self, execute: Execute, module: types.ModuleType) -> None:
        _provide_functional_tensor()
        execute(module)
        self.then()

    def find_spec(self, name: str, path=None, target=None):
        if name not in ('torchvision', 'basicsr'):
            return None
        others = (
            finder.find_spec(name, path, target)
            for finder in sys.meta_path
            if not isinstance(finder, _OnImport)
        )
        spec = next((spec for spec in others if spec is not None), None)
        if spec is not None and spec.loader is not None:
            replacement = _execute_torchvision if name == 'torchvision' else self.execute_basicsr
            spec.loader.exec_module = partial(replacement, spec.loader.exec_module)
        return spec


def with_basicsr(then: Callable[[], None]) -> None:
    """Repair torchvision and BasicSR when they are imported, and then call `then`: now, if BasicSR
    has been already.
    """
    sys.meta_path.insert(0, _OnImport(then))
    if 'basicsr' in sys.modules:
        then()


class _Torch:
    """The name `torch` for modules of BasicSR, with another `load`."""

    def __getattr__(self, name: str) -> Any:
        import torch

        return getattr(torch, name)

    @staticmethod
    def load(path: str, map_location: Any = None) -> Any:
        """As `files.torch_files.load_safely`, with the path in its errors. BasicSR copies what it
        loads to where it computes.
        """
        from hmaca_arch.files.torch_files import load_safely  # late: this module is light

        try:
            return load_safely(path)
        except ValueError as error:
            raise ValueError(f'{path}: {error}') from None


def load_safely_everywhere() -> None:
    """Replace `torch.load` in BasicSR's modules, which leave it to torch's version and environment
    whether code in a file is executed.
    """
    for name in LOADING:
        importlib.import_module(name).torch = _Torch()
