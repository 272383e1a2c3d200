"""Repairs without which BasicSR 1.4.2 does not import on current torch and torchvision.

They are made when BasicSR or torchvision is imported, and do nothing where they are not needed.
`torch.load` is replaced in BasicSR's modules as well. What training needs replaced is in
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

# BasicSR's modules that call torch.load. `basicsr.train` is missing: `training/pipeline.py`
# replaces the function that does.
LOADING = (
    'basicsr.models.base_model',
    'basicsr.archs.basicvsr_arch',
    'basicsr.archs.dfdnet_arch',
    'basicsr.archs.inception',
    'basicsr.archs.spynet_arch',
    'basicsr.archs.tof_arch',
    'basicsr.archs.vgg_arch',
)

_declared: list[Any] = []  # declarations live as long as the torch.library.Library that made them


def _execute_torchvision(execute: Execute, module: types.ModuleType) -> None:
    """Execute torchvision, even if its compiled operators cannot be loaded.

    If torch and torchvision come from different builds (for example a CPU torch and PyPI's
    torchvision), the operators do not load. torchvision then fails at import, because it registers
    shape functions for two operators that nobody has declared. Declaring them is enough: nothing
    here calls them, and a call still raises torch's error about an operator without a kernel.
    """
    try:
        return execute(module)
    except RuntimeError as error:
        if 'operator torchvision::' not in str(error):
            raise
    import torch

    library = torch.library.Library('torchvision', 'FRAGMENT')
    _declared.append(library)
    for name in ('nms', 'qnms'):
        library.define(f'{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
    for name in [name for name in sys.modules if name.startswith('torchvision.')]:
        del sys.modules[name]  # half imported
    execute(module)


def _provide_functional_tensor() -> None:
    """Provide `torchvision.transforms.functional_tensor`, which torchvision 0.17 removed.

    BasicSR imports one function from it.
    """
    name = 'torchvision.transforms.functional_tensor'
    try:
        __import__(name)
    except ImportError:
        from torchvision.transforms.functional import rgb_to_grayscale

        module = types.ModuleType(name, _provide_functional_tensor.__doc__)
        module.rgb_to_grayscale = rgb_to_grayscale  # type: ignore[attr-defined]
        sys.modules[name] = module


class _OnImport(MetaPathFinder):
    """Repairs torchvision and BasicSR while they are imported, and calls `then` after BasicSR."""

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
            execute = partial(replacement, spec.loader.exec_module)
            spec.loader.exec_module = execute  # type: ignore[method-assign]
        return spec


def with_basicsr(then: Callable[[], None]) -> None:
    """Repair torchvision and BasicSR when they are imported, then call `then`.

    If BasicSR is imported already, `then` is called at once.
    """
    sys.meta_path.insert(0, _OnImport(then))
    if 'basicsr' in sys.modules:
        then()


class _Torch:
    """Stands for the module `torch` in BasicSR's modules, with another `load`."""

    def __getattr__(self, name: str) -> Any:
        import torch

        return getattr(torch, name)

    @staticmethod
    def load(path: str, map_location: Any = None) -> Any:
        """Load a file to the CPU without executing code in it; errors name the file."""
        from hmaca_arch.files.torch_files import load_safely  # late: this module loads little

        try:
            return load_safely(path)
        except ValueError as error:
            raise ValueError(f'{path}: {error}') from None


def load_safely_everywhere() -> None:
    """Replace `torch.load` in BasicSR's modules.

    BasicSR leaves it to torch's version and environment whether code in a file is executed.
    """
    for name in LOADING:
        importlib.import_module(name).torch = _Torch()  # type: ignore[attr-defined]
