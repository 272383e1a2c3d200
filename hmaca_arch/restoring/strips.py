"""Images side by side, to be looked at."""

import cv2
import numpy as np


def strip(lq: np.ndarray, mask: np.ndarray, output: np.ndarray, gt: np.ndarray, gap: int = 4) -> np.ndarray:
    """lq | mask | restored | gt side by side on white; pictures (h, w[, c]) uint8 of one size."""
    panels = [picture if picture.ndim == 3 else cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR) for picture in (lq, mask, output, gt)]
    padded = [cv2.copyMakeBorder(panel, 0, 0, 0, gap, cv2.BORDER_CONSTANT, value=(255, 255, 255)) for panel in panels[:-1]]
    return np.hstack([*padded, panels[-1]])
