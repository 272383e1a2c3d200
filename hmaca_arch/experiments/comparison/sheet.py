"""A contact sheet: the region in every method's version, its error below it."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

CELL = 192  # pixels of the sheet: side of a cell
GAP, TEXT = 4, 30


def crop_of(mask: np.ndarray, margin: float = 0.6) -> tuple[slice, slice]:
    """A square around a region with some surroundings, inside the picture as far as that is large enough; (h, w), above 0 inside."""
    rows, columns = (np.flatnonzero((mask > 0).any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        rows, columns = (np.arange(side) for side in mask.shape)
    side = int(np.ceil((1 + margin) * max(np.ptp(rows) + 1, np.ptp(columns) + 1)))
    boxes = []
    for places, whole in zip((rows, columns), mask.shape):
        start = int(np.clip((places[0] + places[-1] + 1 - side) // 2, 0, max(0, whole - side)))
        boxes.append(slice(start, start + side))
    return tuple(boxes)


def error_map(picture: np.ndarray, gt: np.ndarray, peak: float) -> np.ndarray:
    """Mean absolute error over the channels, in false colours: dark is 0, bright is `peak` grey levels or more."""
    error = np.abs(picture.astype(float) - gt).mean(axis=2)
    return cv2.applyColorMap(np.clip(np.rint(error * 255 / peak), 0, 255).astype(np.uint8), cv2.COLORMAP_INFERNO)


def fitted(picture: np.ndarray) -> np.ndarray:
    """Enlarged (or reduced) to fit a cell, pixels kept as squares, black around it."""
    scale = CELL / max(picture.shape[:2])
    size = [max(1, round(side * scale)) for side in picture.shape[1::-1]]
    cell = np.zeros((CELL, CELL, 3), np.uint8)
    cell[: size[1], : size[0]] = cv2.resize(picture, size, interpolation=cv2.INTER_NEAREST if scale > 1 else cv2.INTER_AREA)
    return cell


def contact_sheet(
    versions: Sequence[tuple[str, Mapping[str, np.ndarray]]], gt: Mapping[str, np.ndarray], masks: Mapping[str, np.ndarray]
) -> np.ndarray:
    """A row a picture: every version's crop around the region, the ground truth last; below each its error map, of one scale a row.

    Args:
        versions: (title, {name: picture}), the input first: its error sets the scale.
        gt: {name: picture}; pictures are (h, w, 3) BGR uint8.
        masks: {name: (h, w)}, above 0 inside the region.

    Returns:
        (height, width, 3) BGR uint8.
    """
    columns = len(versions) + 1
    sheet = np.full((TEXT + len(gt) * 2 * (CELL + GAP) + len(gt) * TEXT, columns * (CELL + GAP), 3), 255, np.uint8)
    labels = [(column * (CELL + GAP), 2, title) for column, title in enumerate([*(title for title, _ in versions), 'ground truth'])]
    top = TEXT
    for name in gt:
        box = crop_of(masks[name])
        truth = gt[name][box]
        first = np.abs(versions[0][1][name][box].astype(float) - truth).mean(axis=2)
        peak = max(1.0, float(first.max()))
        for column, picture in enumerate([*(pictures[name][box] for _, pictures in versions), truth]):
            left = column * (CELL + GAP)
            sheet[top : top + CELL, left : left + CELL] = fitted(picture)
            below = top + CELL + GAP
            sheet[below : below + CELL, left : left + CELL] = fitted(error_map(picture, truth, peak))
        labels.append((0, top + 2 * CELL + GAP + 2, f'{name}: error from 0 (black) to {peak:.0f} of 255 grey levels or more (bright)'))
        top += 2 * (CELL + GAP) + TEXT
    return written(sheet, labels)


def written(sheet: np.ndarray, labels: list[tuple[int, int, str]]) -> np.ndarray:
    """The sheet with texts at (left, top); those above columns are broken into two lines where they are too long."""
    image = Image.fromarray(sheet)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(12)
    for left, top, text in labels:
        if top < TEXT and draw.textlength(text, font) > CELL:
            words, lines = text.split(' '), ['']
            for word in words:
                joined = f'{lines[-1]} {word}'.strip()
                lines[-1:] = [joined] if draw.textlength(joined, font) <= CELL or not lines[-1] else [lines[-1], word]
            text = '\n'.join(lines[:2])
        draw.multiline_text((left, top), text, fill=(0, 0, 0), font=font, spacing=1)
    return np.asarray(image)
