"""Regions that were enlarged from fewer pixels, or coded by themselves."""

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import data

from hmaca_arch.degradation import pixels
from hmaca_arch.restoring.measuring import measure
from hmaca_arch.restoring.measuring.repeats import repeats

TOP, LEFT, SIDE = 61, 90, 48


@pytest.fixture(scope='module')
def photo() -> np.ndarray:
    return data.astronaut()[40:240, 120:320]


def square(image: np.ndarray, top: int = TOP, left: int = LEFT) -> np.ndarray:
    mask = np.zeros(image.shape[:2], bool)
    mask[top : top + SIDE, left : left + SIDE] = True
    return mask


def ellipse(image: np.ndarray) -> np.ndarray:
    found = np.zeros(image.shape[:2], np.uint8)
    cv2.ellipse(found, (TOP + 50, LEFT), (34, 26), 20, 0, 360, 1, -1)
    return found > 0


def enlarged(image: np.ndarray, factor: float, way: str) -> np.ndarray:
    height, width = image.shape[:2]
    small = round(width / factor), round(height / factor)
    if way == 'lanczos':
        once = Image.fromarray(image).resize(small, Image.Resampling.LANCZOS)
        return np.asarray(once.resize((width, height), Image.Resampling.LANCZOS))
    once = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    how = {'linear': cv2.INTER_LINEAR, 'cubic': cv2.INTER_CUBIC}[way]
    return cv2.resize(once, (width, height), interpolation=how)


@pytest.mark.parametrize('shape', [square, ellipse])
@pytest.mark.parametrize(
    ('factor', 'way'), [(2, 'cubic'), (2, 'lanczos'), (1.5, 'linear'), (3, 'cubic'), (4, 'linear')]
)
def test_an_enlarged_region_is_unknown(photo, factor, way, shape):
    mask = shape(photo)
    found = measure(np.where(mask[..., None], enlarged(photo, factor, way), photo), mask)[0]
    assert found.degradation.kind == 'unknown' and 'enlarged' in found.words


def test_a_region_coded_by_itself_is_unknown(photo):
    mask = square(photo)
    coded = np.where(mask[..., None], pixels.jpeg(photo, 20), photo)
    found = measure(coded, mask, jpeg=0)[0]
    assert found.degradation.kind == 'unknown' and 'coded' in found.words


@pytest.mark.parametrize('shape', [square, ellipse])
@pytest.mark.parametrize('degrade', ['nothing', 'blur', 'noise'])
def test_nothing_else_repeats(photo, degrade, shape):
    mask = shape(photo)
    given = {
        'nothing': photo,
        'blur': pixels.blur(photo, mask[..., None], 1.5),
        'noise': pixels.noise(photo, mask[..., None], np.random.default_rng(0), 10),
    }[degrade]
    assert not repeats(given, mask, ~mask)


def test_an_enlarged_photograph_is_not_an_enlarged_region(photo):
    whole, mask = enlarged(photo, 2, 'cubic'), square(photo)
    assert not repeats(whole, mask, ~mask)
    assert repeats(np.where(mask[..., None], whole, photo), mask, ~mask)


def test_stripes_repeat_by_themselves(photo):
    stripes = np.where(np.arange(photo.shape[1]) % 5 == 0, 40, 0)[:, None]
    mask = square(photo)
    striped = np.where(mask[..., None], np.clip(photo + stripes, 0, 255).astype(np.uint8), photo)
    assert not repeats(striped, mask, ~mask)


def test_small_regions_are_not_looked_at(photo):
    mask = np.zeros(photo.shape[:2], bool)
    mask[50:65, 50:120] = True
    whole = enlarged(photo, 2, 'cubic')
    assert not repeats(np.where(mask[..., None], whole, photo), mask, ~mask)
