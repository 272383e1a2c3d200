"""Where the mask of an image comes from: a file, an alpha channel, a colour, or boxes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from hmaca_arch.files.depth import peak_of
from hmaca_arch.files.formats import LOSSY
from hmaca_arch.files.image_files import read_image
from hmaca_arch.files.images import StoredImage
from hmaca_arch.files.masks import Doubt, Note, note_mostly_white, read_mask
from hmaca_arch.files.reading import read_file
from hmaca_arch.restoring.image_arrays import size_of
from hmaca_arch.restoring.regions import marked_box

LOSSY_COLOUR = 24  # of 255: how far lossy compression may move a channel of a painted colour

Boxes = Sequence[tuple[int, int, int, int]]


@dataclass(frozen=True)
class MaskSource:
    """How masks are read.

    Attributes:
        kind: 'gray': white is restored. 'alpha': what is transparent. 'color:#rrggbb': what has
            that colour.
        boxes: (x, y, width, height) in pixels of the upright image, instead of a kind.
        invert: restore everything else.
        soft: keep gray values, instead of taking the middle as a threshold.
        grow: pixels by which the mask is widened.
    """

    kind: str = 'gray'
    boxes: Boxes = ()
    invert: bool = False
    soft: bool = False
    grow: int = 0

    def __post_init__(self) -> None:
        """Raise a ValueError for a kind or a number that there is not."""
        if self.kind not in ('gray', 'alpha') and colour_of(self.kind) is None:
            raise ValueError(
                f'--mask-from: got {self.kind!r}; expected alpha, or a colour as color:#ff00ff'
            )
        if self.grow < 0:
            raise ValueError(f'--grow: got {self.grow}; expected 0 or more pixels')

    def read(self, image: StoredImage, path: Path | None) -> tuple[np.ndarray, list[str]]:
        """Return the mask of an image.

        Args:
            image: what is restored.
            path: the mask's file, or None if the mask comes from the image itself.

        Returns:
            (h, w): uint8 of 0 and 1, or if soft float32 in [0, 1]; and what is doubtful, a sentence
            each.

        Raises:
            ValueError: there is no such mask, it has another size than the image, or a box reaches
                beyond the image.
        """
        notes: list[Note] = []
        if self.boxes:
            mask = of_boxes(self.boxes, image.pixels.shape[:2])
        elif self.kind == 'gray' and path is not None:
            mask, notes = read_mask(read_file(path), self.soft, str(path))
        else:
            source = image if path is None else read_image(path)
            name = 'the image' if path is None else str(path)
            mask, notes = self._of_pixels(source, name)
        if mask.shape != image.pixels.shape[:2]:
            turned = ', once its EXIF orientation is applied,' if image.turned else ''
            raise ValueError(
                f'the mask {path} has {size_of(mask)} pixels, '
                f'the image{turned} {size_of(image.pixels)}; expected equal sizes'
            )
        if self.invert:
            mask = 1 - mask
            notes = [note for note in notes if note.doubt is not Doubt.MOSTLY_WHITE]
        return grown(mask, self.grow), [note.text for note in notes]

    def _of_pixels(self, source: StoredImage, name: str) -> tuple[np.ndarray, list[Note]]:
        """Return what is transparent, or has the colour."""
        if self.kind == 'alpha':
            mask, notes = of_alpha(source.pixels, name, self.soft)
        else:
            mask, notes = of_colour(source, colour_of(self.kind) or (0, 0, 0), name)
        return mask, notes + note_mostly_white(mask)


def parse_box(text: str) -> tuple[int, int, int, int]:
    """Read x,y,width,height.

    Raises:
        ValueError: it is something else.
    """
    numbers = re.fullmatch(','.join(['([0-9]{1,9})'] * 4), text.replace(' ', ''))
    x, y, width, height = map(int, numbers.groups()) if numbers else (0, 0, 0, 0)
    if not width or not height:
        raise ValueError(
            f'--box: got {text!r}; expected x,y,width,height in pixels, as 120,40,64,64'
        )
    return x, y, width, height


def colour_of(kind: str) -> tuple[int, int, int] | None:
    """Read color:#rrggbb as three numbers from 0 to 255; None if it is something else."""
    digits = re.fullmatch(r'colou?r:#?([0-9a-fA-F]{6})', kind)
    return tuple(bytes.fromhex(digits[1])) if digits else None  # type: ignore[return-value]


def of_boxes(boxes: Boxes, shape: tuple[int, int]) -> np.ndarray:
    """Return a mask of `shape` (h, w), uint8, 1 inside the boxes.

    Raises:
        ValueError: a box reaches beyond the image.
    """
    mask = np.zeros(shape, np.uint8)
    for x, y, width, height in boxes:
        if x + width > shape[1] or y + height > shape[0]:
            raise ValueError(
                f'the box {x},{y},{width},{height} reaches beyond the image, '
                f'which has {shape[1]}x{shape[0]} pixels'
            )
        mask[y : y + height, x : x + width] = 1
    return mask


def of_alpha(pixels: np.ndarray, name: str, soft: bool) -> tuple[np.ndarray, list[Note]]:
    """Return a mask of what is transparent in pixels (h, w, c).

    Raises:
        ValueError: there is no alpha channel.
    """
    if pixels.shape[2] not in (2, 4):
        raise ValueError(f'{name} has no alpha channel, from which the mask was to come')
    alpha = pixels[..., -1]
    peak = peak_of(alpha.dtype)
    notes = []
    if soft:
        mask = 1 - alpha.astype(np.float32) / np.float32(peak)
    else:
        mask = (alpha <= (peak // 2 if alpha.dtype.kind == 'u' else 0.5)).view(np.uint8)
    hidden = pixels[marked_box(mask).area][..., :-1][mask[marked_box(mask).area] > 0]
    if len(hidden) > 1 and (hidden == hidden[0]).all():
        text = 'all transparent pixels have one colour: nothing is left of the image there'
        notes.append(Note(Doubt.EMPTIED, text))
    return mask, notes


def of_colour(
    source: StoredImage, colour: tuple[int, int, int], name: str
) -> tuple[np.ndarray, list[Note]]:
    """Return a mask of the pixels that have a colour, nearly so in files stored with loss."""
    pixels = source.pixels
    scale = {1: 1, 2: 257}.get(pixels.itemsize if pixels.dtype.kind == 'u' else 0)
    if scale is None:
        raise ValueError(f'{name} is of floating point: a colour cannot be looked for in it')
    lossy = source.format in LOSSY
    far = (LOSSY_COLOUR if lossy else 0) * scale
    mask = np.ones(pixels.shape[:2], bool)
    gray = pixels.shape[2] < 3
    for channel, value in enumerate(colour):
        values = pixels[..., 0 if gray else channel]
        low, high = max(0, value * scale - far), min(255 * scale, value * scale + far)
        mask &= (values >= low) & (values <= high)
    text = f'{name} is stored with loss: where the colour ends is not exactly as painted'
    return mask.view(np.uint8), [Note(Doubt.LOSSY, text)] if lossy else []


def grown(mask: np.ndarray, by: int) -> np.ndarray:
    """Widen a mask (h, w) by a number of pixels in every direction."""
    if not by or not mask.any():
        return mask
    result = mask.copy()
    box = marked_box(mask).grown(by, *mask.shape)
    part = mask[box.area]
    if mask.dtype == np.uint8:
        distance = cv2.distanceTransform(1 - part, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        result[box.area] = distance <= by
    else:
        squares = np.arange(-by, by + 1) ** 2
        disc = np.add.outer(squares, squares) <= by**2
        result[box.area] = cv2.dilate(part, disc.astype(np.uint8))
    return result
