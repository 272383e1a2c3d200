"""Images and masks of every kind become arrays, and go back to what they were."""

import numpy as np
import pytest
import torch
from PIL import Image

from hmaca_arch.restoring.image_arrays import as_type, as_unit, image_array, mask_array, size_of


def values(*shape, dtype=np.uint8):
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


@pytest.mark.parametrize('shape', [(3, 4), (3, 4, 1), (3, 4, 4), (1, 1, 3)])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.float32, np.float64, np.float16])
def test_an_array_goes_and_comes_back(shape, dtype):
    given = values(*shape, dtype=dtype)
    array, as_given = image_array(given)
    assert array.shape == (*shape[:2], shape[2] if len(shape) == 3 else 1)
    assert array.dtype == dtype and np.array_equal(array.reshape(shape), given)
    assert np.array_equal(as_given(array), given) and as_given(array).shape == shape


@pytest.mark.parametrize('channels', [1, 4])
@pytest.mark.parametrize('dtype', [torch.uint8, torch.float32, torch.float16, torch.bfloat16])
def test_a_tensor_goes_and_comes_back(channels, dtype):
    given = (
        torch.arange(channels * 6)
        .reshape(channels, 2, 3)
        .to(dtype)
        .requires_grad_(dtype.is_floating_point)
    )
    array, as_given = image_array(given)
    assert array.shape == (2, 3, channels)
    assert array[1, 2, 0] == 5 and array[0, 1, -1] == (channels - 1) * 6 + 1
    same = torch.float32 if dtype == torch.bfloat16 else dtype
    assert torch.from_numpy(array).dtype == same
    back = as_given(array)
    assert back.dtype == dtype and torch.equal(back, given.detach()) and back.is_contiguous()


@pytest.mark.parametrize('mode', ['L', 'LA', 'RGB', 'RGBA', 'I;16'])
def test_a_pil_image_goes_and_comes_back_with_its_metadata(mode):
    given = Image.new(mode, (4, 3), 7 if mode in ('L', 'I;16') else tuple(range(len(mode))))
    given.info = {'dpi': (72, 72)}
    array, as_given = image_array(given)
    channels = 1 if mode in ('L', 'I;16') else len(mode)
    assert array.shape == (3, 4, channels)
    back = as_given(array)
    assert (back.mode, back.size, back.info) == (mode, (4, 3), given.info)
    assert back.tobytes() == given.tobytes() and back.info is not given.info


@pytest.mark.parametrize(
    ('image', 'message'),
    [
        (np.zeros(3), r'the image has shape \(3,\); expected \(h, w\) or \(h, w, c\), c from 1 to 4'),
        (np.zeros((1, 1, 5)), r'the image has shape \(1, 1, 5\)'),
        (np.zeros((1, 1, 0)), r'the image has shape \(1, 1, 0\)'),
        (np.zeros((0, 4)), r'the image has shape \(0, 4\)'),
        (np.zeros((0, 4, 3)), r'the image has shape \(0, 4, 3\)'),
        (np.zeros((2, 2, 3, 1)), r'the image has shape \(2, 2, 3, 1\)'),
        (np.zeros((2, 2), np.int32), 'the image is of type int32; expected uint8, uint16 or floating point'),
        (np.zeros((2, 2), bool), 'the image is of type bool'),
        (torch.zeros(2, 2), r'the image is a tensor of shape \(2, 2\); expected \(c, h, w\), c from 1 to 4'),
        (torch.zeros(5, 2, 2), r'the image is a tensor of shape \(5, 2, 2\)'),
        (torch.zeros(0, 2, 2), r'the image is a tensor of shape \(0, 2, 2\)'),
        (torch.zeros(3, 0, 2), r'the image is a tensor of shape \(3, 0, 2\)'),
        (torch.zeros(3, 2, 2, dtype=torch.int64), 'the image is of type int64'),
        (Image.new('P', (2, 2)), "the image is of PIL's mode P; expected L, LA, RGB, RGBA, I;16: convert it"),
    ],
)  # fmt: skip
def test_what_is_no_image_is_refused(image, message):
    with pytest.raises(ValueError, match=f'^{message}'):
        image_array(image)


def test_masks_of_every_kind():
    plain = values(2, 3)
    for mask in (
        plain,
        Image.fromarray(plain),
        torch.from_numpy(plain),
        torch.from_numpy(plain)[None],
    ):
        assert np.array_equal(mask_array(mask), plain) and mask_array(mask).dtype == np.uint8
    soft = torch.rand(1, 2, 3, dtype=torch.bfloat16).requires_grad_()
    assert mask_array(soft).dtype == np.float32 and mask_array(soft).shape == (2, 3)
    assert mask_array(torch.zeros(2, 3, 1)).shape == (2, 3, 1), 'as numpy has it'
    assert mask_array(torch.zeros(2, 2, 3, dtype=torch.bool)).shape == (2, 2, 3)
    assert size_of(np.zeros((480, 640, 3))) == '640x480'


@pytest.mark.parametrize(('dtype', 'peak'), [(np.uint8, 255), (np.uint16, 65535)])
def test_depths(dtype, peak):
    pixels = np.array([0, 1, peak // 2, peak], dtype)
    unit = as_unit(pixels)
    assert unit.dtype == np.float32 and unit.tolist() == pytest.approx(
        [0, 1 / peak, (peak // 2) / peak, 1]
    )
    assert np.array_equal(as_type(unit, np.dtype(dtype)), pixels)
    near = np.array([0.4, 0.6, peak - 0.4], np.float64) / peak
    assert as_type(near, np.dtype(dtype)).tolist() == [0, 1, peak]


def test_floating_point_images_keep_their_values():
    given = np.array([-0.5, 0.1, 1.5], np.float64)
    assert as_type(given, np.dtype(np.float16)).tolist() == given.astype(np.float16).tolist()
    assert as_unit(given).tolist() == given.astype(np.float32).tolist()
