"""Images side by side, to be looked at."""

from collections.abc import Sequence
from itertools import zip_longest

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

GAP, TEXT, FONT = 4, 30, 12  # pixels between images; height of a title or caption; of letters


def fitted(image: np.ndarray, side: int) -> np.ndarray:
    """Scale an image to fit a square, enlarged pixels kept as squares; black around it."""
    scale = side / max(image.shape[:2])
    size = [max(1, round(length * scale)) for length in image.shape[1::-1]]
    cell = np.zeros((side, side, 3), np.uint8)
    method = cv2.INTER_NEAREST if scale > 1 else cv2.INTER_AREA
    cell[: size[1], : size[0]] = cv2.resize(image, size, interpolation=method)
    return cell


def contact_sheet(
    rows: Sequence[Sequence[np.ndarray]],
    heads: Sequence[str] = (),
    captions: Sequence[str] = (),
    side: int | None = None,
) -> np.ndarray:
    """Lay images out in rows and columns, on white.

    Args:
        rows: of images, (h, w[, 1 or 3]) uint8. They may differ in size, and rows in length.
        heads: a title for each column.
        captions: a line below each row; '' for none.
        side: scale each image to fit a square of that many pixels; None: as it is.

    Returns:
        (height, width, 3) uint8, the channels in the order of the images.
    """
    images = [
        [
            image if image.ndim == 3 and image.shape[2] == 3 else cv2.merge([image] * 3)
            for image in row
        ]
        for row in rows
    ]
    if side:
        images = [[fitted(image, side) for image in row] for row in images]
    widths = [
        max(image.shape[1] for image in column if image is not None)
        for column in zip_longest(*images)
    ]
    lefts = np.cumsum([0, *(width + GAP for width in widths)]).tolist()
    labels = [(left, 2, broken(head, width)) for left, width, head in zip(lefts, widths, heads)]
    top, places = TEXT if heads else 0, []
    padded = [*captions, *[''] * len(images)]
    for row, caption in zip(images, padded):
        places.append(top)
        top += max(image.shape[0] for image in row)
        if caption:
            labels.append((0, top + 2, caption))
            top += TEXT
        top += GAP
    sheet = np.full((top - GAP, lefts[-1] - GAP, 3), 255, np.uint8)
    for row, top in zip(images, places):
        for image, left in zip(row, lefts):
            sheet[top : top + image.shape[0], left : left + image.shape[1]] = image
    return written(sheet, labels) if labels else sheet


def broken(text: str, width: int) -> str:
    """Break a text into two lines where it is too long for a width."""
    words, lines = text.split(' '), ['']
    for word in words:
        joined = f'{lines[-1]} {word}'.strip()
        fits = ImageFont.load_default(FONT).getlength(joined) <= width
        lines[-1:] = [joined] if fits or not lines[-1] else [lines[-1], word]
    return '\n'.join(lines[:2])


def written(sheet: np.ndarray, labels: Sequence[tuple[int, int, str]]) -> np.ndarray:
    """Write texts at (left, top) on a copy of the sheet."""
    image = Image.fromarray(sheet)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(FONT)
    for left, top, text in labels:
        draw.multiline_text((left, top), text, fill=(0, 0, 0), font=font, spacing=1)
    return np.asarray(image)


def strip(lq: np.ndarray, mask: np.ndarray, output: np.ndarray, gt: np.ndarray) -> np.ndarray:
    """Put lq | mask | restored | gt side by side, (h, w[, c]) uint8 of one size."""
    return contact_sheet([[lq, mask, output, gt]])
