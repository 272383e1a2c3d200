"""Read a kernel's image file, and the written form of a degradation that names one.

Only what a user types on a command line, in Python or in an option file comes here. A page or a
node uses `Degradation.parse`: strangers must not make this machine read files.
"""

import re
from pathlib import Path

import numpy as np

from hmaca_arch.degradation.custom import DEGRADERS
from hmaca_arch.degradation.description import FORM, UNKNOWN, Degradation
from hmaca_arch.degradation.kernels import FORM as KERNEL_FORM
from hmaca_arch.degradation.kernels import Kernel
from hmaca_arch.files.images import decode
from hmaca_arch.files.reading import read_file
from hmaca_arch.messages import printable

MAX_PIXELS = 2**20  # of a kernel's file, most of which may be black


def read_kernel(path: str | Path) -> Kernel:
    """Read a kernel from an image file of 8 or 16 bits or floating point.

    Raises:
        ValueError: the file cannot be read or is no kernel, in one line that starts with its path.
    """
    name = printable(path)
    decoded = decode(read_file(path), name, max_pixels=MAX_PIXELS, convert=True)
    colours = decoded.colours
    if (colours != colours[..., :1]).any():
        raise ValueError(f'{name}: kernel: it has colours, expected {KERNEL_FORM}')
    if decoded.alpha is not None and len(np.unique(decoded.alpha)) > 1:
        raise ValueError(f'{name}: kernel: it has transparency, expected {KERNEL_FORM}')
    try:
        return Kernel.of(colours[..., 0], name)
    except ValueError as error:
        raise ValueError(f'{name}: {error}') from None


def read_degradation(text: str) -> Degradation:
    """Read the written form as `Degradation.parse` does, and `kernel:FILE` with it.

    The name of a degradation that `register_degradation` has registered is `unknown` to networks.

    Raises:
        ValueError: what was got, and the forms that exist; or the file is no kernel.
    """
    match = re.fullmatch(r'kernel:(.+?)(?:\+jpeg:(\d{1,3}))?', text.strip())
    if match:
        path, jpeg = match.groups()
        return Degradation('kernel', kernel=read_kernel(path), jpeg=int(jpeg or 0))
    if text in DEGRADERS:
        return UNKNOWN
    try:
        return Degradation.parse(text)
    except ValueError as error:
        raise ValueError(str(error).replace(FORM, f'kernel:FILE, {FORM}')) from None
