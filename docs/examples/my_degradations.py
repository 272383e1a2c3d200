"""A degradation of your own: docs/data.md. Dark, thin lines cross the region.

    basicsr make-dataset photos -o datasets/scratches --protocol clean \
        --import my_degradations --degradation scratches
"""

import cv2
import numpy as np

from hmaca_arch.degradation import register_degradation


@register_degradation('scratches')
def scratches(image, mask, rng, count=5, darkness=0.8):
    """Draw `count` lines between masked pixels. Outside the mask they are undone afterwards."""
    places = np.argwhere(mask[..., 0])
    lines = np.zeros(mask.shape[:2], np.uint8)
    for _ in range(int(count)):
        start, end = places[rng.integers(len(places), size=2), ::-1].tolist()  # x, y
        cv2.line(lines, start, end, color=1)
    return np.where(lines[..., None] > 0, image * (1 - darkness), image).astype(np.uint8)
