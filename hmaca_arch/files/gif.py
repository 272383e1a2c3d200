"""GIF holds 256 colours: fit a restored region into the colours that are left."""

import numpy as np
from PIL import Image

MOST = 256
AT_ONCE = 4096  # colours


def fit_colours(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return pixels with at most 256 colours, of which only those inside the mask have changed.

    Args:
        pixels: (h, w, 1 to 4) uint8.
        mask: (h, w), 0 = keep.

    Raises:
        ValueError: there are more colours outside.
    """
    inside = mask > 0
    outside_colours = np.unique(pixels[~inside], axis=0)
    if len(outside_colours) > MOST:
        raise ValueError(
            f'GIF holds {MOST} colours, and outside the mask there are {len(outside_colours)}; '
            'choose .png'
        )
    wanted = pixels[inside]
    if not len(wanted) or len(np.unique(np.vstack([outside_colours, wanted]), axis=0)) <= MOST:
        return pixels
    palette = np.vstack([outside_colours, _typical(wanted, MOST - len(outside_colours))])
    result = pixels.copy()
    result[inside] = palette[_nearest(wanted, palette)]
    return result


def _typical(colours: np.ndarray, count: int) -> np.ndarray:
    """Return at most `count` colours that stand for (n, c) others."""
    if not count:
        return colours[:0]
    channels = colours.shape[1]
    opaque = colours[:, : 1 if channels < 3 else 3]
    line = Image.fromarray(np.repeat(opaque, 3 // opaque.shape[1], axis=1)[None])
    palette = line.quantize(count).getpalette() or []
    found = np.array(palette, np.uint8).reshape(-1, 3)[:count, : opaque.shape[1]]
    alpha = np.full((len(found), channels - found.shape[1]), 255, np.uint8)
    return np.hstack([found, alpha])


def _nearest(colours: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Return the number of the nearest palette colour of each of (n, c) colours."""
    found = np.empty(len(colours), int)
    for start in range(0, len(colours), AT_ONCE):
        part = colours[start : start + AT_ONCE, None].astype(int)
        found[start : start + AT_ONCE] = ((part - palette) ** 2).sum(axis=2).argmin(axis=1)
    return found


def as_palette(pixels: np.ndarray) -> Image.Image:
    """Return pixels (h, w, 1 to 4) uint8 as an image with a palette of exactly their colours.

    Raises:
        ValueError: a palette does not hold them.
    """
    height, width, channels = pixels.shape
    colours, numbers = np.unique(
        pixels.reshape(height * width, channels), axis=0, return_inverse=True
    )
    if len(colours) > MOST:
        raise ValueError(f'GIF holds {MOST} colours, this image has {len(colours)}; choose .png')
    image = Image.fromarray(numbers.reshape(height, width).astype(np.uint8))
    opaque = colours[:, : 1 if channels < 3 else 3]
    image.putpalette(np.repeat(opaque, 3 // opaque.shape[1], axis=1).tobytes())
    if channels in (2, 4):
        clear = np.flatnonzero(colours[:, -1] == 0)
        if len(clear) > 1 or not np.isin(colours[:, -1], (0, 255)).all():
            raise ValueError('GIF has one transparent colour and none in between; choose .png')
        if len(clear):
            image.info['transparency'] = int(clear[0])
    return image
