"""Kernels with a name: the disc of a lens that is out of focus, and the box of a mean filter."""

import re

import numpy as np

from hmaca_arch.degradation.kernels import LARGEST, Kernel

FORM = 'disc:RADIUS, disc:RADIUS:hard, box:SIDE'
FINE = 8  # subpixels along a pixel's side


def disc(radius: float, hard: bool = False) -> Kernel:
    """Make a disc.

    Args:
        radius: in pixels.
        hard: a pixel belongs to it if its middle does, as drawn discs have it. Otherwise its border
            is smooth: pixels count by how much of them it covers.

    Raises:
        ValueError: it has no pixel, or too many.
    """
    most = (LARGEST - 1) // 2
    if not 0.5 <= radius < most:
        raise ValueError(
            f'disc: got a radius of {radius:g}, expected 0.5 to less than {most} pixels'
        )
    reach = int(radius) if hard else int(np.ceil(radius - 0.5))
    side, fine = 2 * reach + 1, 1 if hard else FINE
    place = (np.arange(side * fine) + 0.5) / fine - side / 2
    inside = np.hypot(place[:, None], place) <= radius
    name = f'disc:{radius:g}' + (':hard' if hard else '')
    return Kernel.of(inside.reshape(side, fine, side, fine).mean(axis=(1, 3)), name)


def box(side: int) -> Kernel:
    """Make a box.

    Args:
        side: in pixels, odd.

    Raises:
        ValueError: it is even, or too large.
    """
    if side % 2 == 0 or side > LARGEST:
        raise ValueError(f'box: got a side of {side}, expected an odd one, at most {LARGEST}')
    return Kernel.of(np.ones((side, side)), f'box:{side}')


def read_shape(text: str) -> Kernel | None:
    """Read `disc:3.5`, `disc:3:hard` or `box:5`; None for anything else.

    Raises:
        ValueError: there is no such disc or box.
    """
    match = re.fullmatch(r'disc:(\d{1,3}(?:\.\d{1,3})?)(:hard)?|box:(\d{1,4})', text, re.ASCII)
    if not match:
        return None
    radius, hard, side = match.groups()
    return box(int(side)) if side else disc(float(radius), hard is not None)


def is_shape(kernel: Kernel) -> bool:
    """Tell whether a kernel's name alone says what it is."""
    try:
        return read_shape(kernel.name) == kernel
    except ValueError:
        return False
