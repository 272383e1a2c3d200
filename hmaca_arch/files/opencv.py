"""The one door to OpenCV's decoders, which print what they find odd in a file."""

import cv2
import numpy as np

from hmaca_arch.messages import without_stderr


def imdecode(data: bytes | np.ndarray, flags: int = cv2.IMREAD_UNCHANGED) -> np.ndarray | None:
    """Return the pixels of an image file as OpenCV reads them; None if it cannot."""
    with without_stderr():
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
