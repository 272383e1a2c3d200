"""What the page is given: files as they were uploaded, read as `basicsr restore` reads them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hmaca_arch.files.images import decode, read_file, to_8_bit
from hmaca_arch.files.masks import read_mask


def read_image(path: str) -> np.ndarray:
    """Read an uploaded image, upright: (h, w, 4) uint8 RGBA; 16 bits are scaled.

    Raises:
        ValueError: it cannot be read; in one line with the file's name.
    """
    found = decode(read_file(path), Path(path).name)
    colours = np.broadcast_to(found.colours, (*found.pixels.shape[:2], 3))
    opaque = np.full(colours.shape[:2], np.iinfo(colours.dtype).max, colours.dtype)
    return to_8_bit(np.dstack([colours, opaque if found.alpha is None else found.alpha]))


def read_uploads(
    painted: Mapping[str, Any] | None, drawn: Mapping[str, Any] | None
) -> tuple[dict[str, Any], np.ndarray | None, list[str]]:
    """Read what was uploaded, with the readers of `basicsr restore`.

    Args:
        painted: as `read_painted` takes it, but with files, {'path': ...}, instead of arrays.
        drawn: a file that is a mask.

    Returns:
        The two, read; and notes about the mask.

    Raises:
        ValueError: a file cannot be read, or is no mask; in one line with its name.
    """
    painted = painted or {}
    background = painted.get('background') and read_image(painted['background']['path'])
    layers = [read_image(layer['path']) for layer in painted.get('layers') or ()]
    images = {'background': background, 'layers': layers}
    if not drawn:
        return images, None, []
    mask, notes = read_mask(read_file(drawn['path']), name=Path(drawn['path']).name)
    return images, mask, [note.text for note in notes]


def read_painted(
    painted: Mapping[str, Any] | None, drawn: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """A picture that was painted on -> (h, w, 3 or 4) uint8 and the mask (h, w) bool: what was
    painted white, in either way.

    Args:
        painted: 'background', (h, w, 4) uint8 RGBA, and 'layers', a list of such; as
            `gradio.ImageEditor` has it.
        drawn: a mask as a picture of its own, (h, w), 1 inside the region, else 0.

    Raises:
        ValueError: no picture, nothing painted, or a mask of another size.
    """
    if not painted or painted.get('background') is None:
        raise ValueError('there is no picture yet: open one, or choose an example')
    picture = painted['background']
    mask = np.zeros(picture.shape[:2], bool)
    opaque = [
        np.where(layer[..., 3] > 127, layer[..., 1], 0) for layer in painted.get('layers') or ()
    ]
    for layer in opaque if drawn is None else (*opaque, 255 * drawn):
        if layer.shape != mask.shape:
            sizes = [f'{shape[1]}x{shape[0]}' for shape in (layer.shape, mask.shape)]
            raise ValueError(
                f'the mask has {sizes[0]} pixels, the picture {sizes[1]}; expected equal sizes'
            )
        mask |= layer > 127
    if not mask.any():
        raise ValueError('nothing is painted yet: paint over the region to restore, or open a mask')
    return (picture[..., :3] if picture[..., 3].min() == 255 else picture), mask
