"""The depth of pixels."""

import numpy as np


def peak_of(dtype: np.dtype) -> int:
    """Return the value of white: 255 of uint8, 65535 of uint16, 1 of bool and floating point."""
    return int(np.iinfo(dtype).max) if dtype.kind == 'u' else 1
