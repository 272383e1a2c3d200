"""Nodes for ComfyUI: load a model, restore the masked region, measure what was done to it.

ComfyUI executes this file through a link to this folder in its `custom_nodes`, or through the file
that `basicsr comfyui-install` writes there. Its Python need not have this package installed.
"""

import sys
from contextlib import suppress
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

if find_spec('hmaca_arch') is None:
    # This package alone, and not its folder in sys.path: what else lies there may be made for
    # another Python.
    _spec = spec_from_file_location(
        'hmaca_arch', Path(__file__).resolve().parents[1] / '__init__.py'
    )
    if _spec is None or _spec.loader is None:
        raise ImportError(f'{__file__} does not lie in the package hmaca_arch')
    sys.modules['hmaca_arch'] = module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules['hmaca_arch'])

from hmaca_arch.comfyui.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

if __name__ != 'hmaca_arch.comfyui':  # executed by ComfyUI, whose Load Upscale Model has spandrel
    with suppress(ImportError):
        from hmaca_arch import spandrel_support

        spandrel_support.install()

__all__ = ['NODE_CLASS_MAPPINGS', 'NODE_DISPLAY_NAME_MAPPINGS']
