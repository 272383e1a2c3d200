"""The one reader of masks, from arrays and from files."""

import io

import numpy as np
import pytest
from PIL import Image

from datasets_ext.sources import read_sound_mask
from hmaca_arch.files import masks
from hmaca_arch.files.images import StoredImage, encode_png
from hmaca_arch.files.masks import Doubt, check_mask, note_mostly_white, percent_white, read_mask


def saved(pixels: np.ndarray | Image.Image, kind: str = 'PNG', **settings) -> bytes:
    buffer = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(
        buffer, kind, **settings
    )
    return buffer.getvalue()


def region(peak: int = 255, dtype: type = np.uint8) -> np.ndarray:
    """(20, 20), `peak` in 4x4 pixels."""
    mask = np.zeros((20, 20), dtype)
    mask[5:9, 5:9] = peak
    return mask


@pytest.mark.parametrize(
    ('given', 'restored'),
    [
        (np.array([[0, 127, 128, 255]], np.uint8), [0, 0, 1, 1]),
        (np.array([[0, 32767, 32768, 65535]], np.uint16), [0, 0, 1, 1]),
        (np.array([[0, 0.5, 0.51, 1]]), [0, 0, 1, 1]),
        (np.array([[False, True]]), [0, 1]),
    ],
)
def test_thresholds(given, restored):
    mask, doubts = read_mask(given)
    assert mask.tolist() == [restored] and mask.dtype == np.uint8 and doubts == []


@pytest.mark.parametrize(
    'given',
    [
        np.array([[0, 51, 255]], np.uint8),
        np.array([[0, 0.2, 1]]),
        np.array([[0, 13107, 65535]], np.uint16),
    ],
)
def test_soft_masks_keep_their_values(given):
    mask, doubts = read_mask(given, soft=True)
    np.testing.assert_allclose(mask, [[0, 0.2, 1]], rtol=1e-6)
    assert mask.dtype == np.float32 and doubts == []


@pytest.mark.parametrize('kind', [bool, np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize('shape', [(3, 4), (3, 4, 1), (0, 4)])
def test_an_empty_mask_and_a_last_axis_of_one(kind, shape):
    mask, doubts = read_mask(np.zeros(shape, kind))
    assert mask.shape == shape[:2] and not mask.any() and doubts == []
    full = np.ones((3, 4, 1), kind)
    full[1, 2] = 0
    np.testing.assert_array_equal(check_mask(full), full[..., 0])
    assert check_mask(np.ones((2, 2), kind)).all(), 'one value throughout'


def test_zero_and_one_instead_of_white_is_understood_and_said():
    mask, (doubt,) = read_mask(np.array([[0, 1]], np.uint8))
    assert (
        mask.tolist() == [[0, 1]]
        and doubt.doubt is Doubt.ZERO_ONE
        and '1 is taken for white' in doubt.text
    )


def test_a_mask_below_the_threshold_is_said():
    for faint, brightest in (
        (np.array([[0, 90]], np.uint8), '90 of 255'),
        (np.array([[0, 127]], np.uint8), '127 of 255'),
        (np.array([[0, 0.5]]), '0.5 of 1'),
        (np.array([[0, 0.25]]), '0.25 of 1'),
    ):
        mask, (doubt,) = read_mask(faint)
        assert not mask.any() and doubt.doubt is Doubt.FAINT
        assert (
            doubt.text
            == f'the mask is nowhere above the threshold, its brightest value is {brightest}'
        )


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        (np.zeros((4, 4, 3), np.uint8), r'shape \(4, 4, 3\)'),
        (np.array([[0.0, 255.0]]), 'values from 0.0 to 255.0'),
        (np.array([[0.0, 1.5]]), 'values from 0.0 to 1.5'),
        (np.array([[-0.5, 1.0]]), 'values from -0.5 to 1.0'),
        (np.zeros((4, 4, 1, 1)), r'shape \(4, 4, 1, 1\)'),
        (np.array([[0.0, np.nan]]), 'values from nan'),
        (np.zeros((4, 4), np.int64), 'type int64'),
    ],
)
def test_what_is_no_mask(given, message):
    with pytest.raises(ValueError, match=message):
        read_mask(given)


def doubts_of(data: bytes, soft: bool = False) -> list[Doubt]:
    return [note.doubt for note in read_mask(data, soft)[1]]


def test_files_of_every_kind_hold_the_same_mask():
    white = region()
    files = {
        'gray': saved(white),
        'rgb': saved(np.repeat(white[..., None], 3, axis=2)),
        'opaque': saved(Image.fromarray(white).convert('RGBA')),
        'bits': saved(Image.fromarray(white).convert('1')),
        'palette': saved(Image.fromarray(white).convert('P')),
        'bmp': saved(white, 'BMP'),
        'webp': saved(white, 'WEBP', lossless=True),
        '16 bits': encode_png(region(65535, np.uint16)),
    }
    for name, data in files.items():
        mask, notes = read_mask(data)
        assert mask.dtype == np.uint8 and notes == [], name
        np.testing.assert_array_equal(mask, white // 255, name)
        np.testing.assert_array_equal(read_sound_mask(data, name, False)[..., 0], mask, name)


def test_a_file_is_thresholded_as_an_array_is():
    values = np.array([[0, 1, 127, 128, 254, 255]], np.uint8)
    for soft in (False, True):
        of_file, of_array = read_mask(saved(values), soft), read_mask(values, soft)
        np.testing.assert_array_equal(of_file[0], of_array[0])
        assert of_file[1] == of_array[1] == []


def test_a_mask_stored_with_loss_may_be_tinted_a_little_and_others_may_not():
    tinted = np.repeat(region()[..., None], 3, axis=2)
    tinted[..., 0] = np.maximum(tinted[..., 0], 9)
    for kind in ('JPEG', 'WEBP'):
        data = saved(tinted, kind, quality=95)
        assert np.ptp(np.asarray(Image.open(io.BytesIO(data))), axis=2).max() > 0
        mask, notes = read_mask(data)
        np.testing.assert_array_equal(mask, region() > 0)
        assert [note.doubt for note in notes] == [Doubt.LOSSY] and kind in notes[0].text
        np.testing.assert_array_equal(read_sound_mask(data, 'a', False)[..., 0], mask)
    for soft in (False, True):
        with pytest.raises(ValueError, match=r'^a\.png: a mask must be black and white'):
            read_mask(saved(tinted), soft, 'a.png')
    tinted[..., 0] = np.maximum(tinted[..., 0], 90)
    with pytest.raises(ValueError, match='has colours'):
        read_mask(saved(tinted, 'JPEG', quality=95))


@pytest.mark.parametrize(
    ('pixels', 'soft', 'doubt', 'brightest'),
    [
        (region(1), False, Doubt.ZERO_ONE, 1),
        (region(1), True, Doubt.ZERO_ONE, 1),
        (region(1, np.uint16), False, Doubt.ZERO_ONE, 1),
        (region(90), False, Doubt.FAINT, 0),
        (region(255, np.uint16), False, Doubt.FAINT, 0),
        (region(257, np.uint16), True, Doubt.FAINT, 257 / 65535),
    ],
)
def test_what_would_train_wrongly_is_a_note_that_data_sets_refuse(pixels, soft, doubt, brightest):
    data = encode_png(pixels)
    mask, (note,) = read_mask(data, soft)
    assert note.doubt is doubt and mask.max() == pytest.approx(brightest)
    with pytest.raises(ValueError, match=rf'^m\.png: {note.text}; save it'):
        read_sound_mask(data, 'm.png', soft)


def test_white_under_transparent_pixels_is_refused():
    alpha = region()
    white = np.dstack([np.full((20, 20, 3), 255, np.uint8), alpha])
    gray = np.dstack([np.full((20, 20), 255, np.uint8), alpha])
    for data in (
        saved(white),
        saved(Image.fromarray(gray, 'LA')),
        saved(white, 'WEBP', lossless=True, exact=True),
    ):
        with pytest.raises(ValueError, match=r'^m\.png: has transparent pixels'):
            read_mask(data, name='m.png')


def test_a_mask_that_is_nearly_all_white_gets_a_hint():
    inverted = 255 - region()  # 96 % white
    mask, (note,) = read_mask(saved(inverted))
    assert mask.mean() == 0.96 and note.doubt is Doubt.MOSTLY_WHITE
    assert '96% of the mask is white' in note.text and '--invert-mask' in note.text
    inverted[:] = 255
    inverted[0, 0] = 0
    assert read_mask(saved(inverted))[1][0].text.startswith('99% of the mask is white')
    for rows, found in ((18, [Doubt.MOSTLY_WHITE]), (17, []), (0, [])):
        half = np.zeros((20, 20), np.uint8)
        half[:rows] = 255
        assert doubts_of(saved(half)) == doubts_of(saved(half), soft=True) == found


def stored_as(monkeypatch, pixels: np.ndarray, kind: str) -> None:
    """Let every file hold these pixels (h, w, c) in a format."""
    found = StoredImage(pixels, None, None, [], format=kind)
    monkeypatch.setattr(masks, 'decode', lambda data, name: found)


@pytest.mark.parametrize(
    ('kind', 'data', 'lossy'),
    [
        ('JPEG', b'', True),
        ('MPO', b'', True),
        ('WEBP', b'RIFF....WEBP' + b'VP8 \2\0\0\0..', True),
        ('WEBP', b'RIFF....WEBP' + b'ICCP\x65\0\0\0' + bytes(102) + b'VP8 \2\0\0\0..', True),
        ('WEBP', b'RIFF....WEBP' + b'ICCP\x64\0\0\0' + b'VP8 ' * 25 + b'VP8L\0\0\0\0', False),
        ('WEBP', b'RIFF....WEBPVP8L', False),
        ('PNG', b'VP8 ', False),
        ('TIFF', b'', False),
    ],
)
def test_formats_with_loss_may_tint_a_mask_and_are_named(monkeypatch, kind, data, lossy):
    """The middle channel counts: 120 is below the threshold."""
    for apart, allowed in ((0, True), (1, lossy), (16, lossy), (17, False)):
        pixels = np.array([[[120, 120, 120], [120 + apart, 120, 121 if apart else 120]]], np.uint8)
        pixels = np.concatenate([pixels, np.full((1, 2, 3), 255, np.uint8)])
        stored_as(monkeypatch, pixels, kind)
        if not allowed:
            with pytest.raises(ValueError) as caught:
                read_mask(data, name='m')
            assert str(caught.value) == 'm: a mask must be black and white, this image has colours'
            continue
        mask, notes = read_mask(data)
        assert mask.tolist() == [[0, 0], [1, 1]] and mask.flags.c_contiguous
        text = f'the mask is stored with loss ({kind}): its border is not as drawn; use PNG'
        assert notes == [(Doubt.LOSSY, text)] * lossy


def test_the_middle_channel_of_a_tinted_mask_counts(monkeypatch):
    stored_as(monkeypatch, np.array([[[130, 126, 130], [126, 130, 126]]], np.uint8), 'JPEG')
    assert read_mask(b'')[0].tolist() == [[0, 1]]
    assert read_mask(b'', soft=True)[0].tolist() == [[np.float32(126 / 255), np.float32(130 / 255)]]
    stored_as(monkeypatch, np.array([[[255], [0]]], np.uint8), 'PNG')
    assert read_mask(b'')[0].tolist() == [[1, 0]]


@pytest.mark.parametrize(
    ('given', 'soft', 'text'),
    [
        (np.array([[0, 1]], np.uint8), False, '0 and 1 instead of 0 and 255; 1 is taken for white'),
        (np.array([[1, 1]], np.uint16), True, '0 and 1 instead of 0 and 65535; 1 is taken for'),
        (np.array([[0, 2]], np.uint8), True, None),
        (np.array([[0, 258]], np.uint16), True, None),
        (np.array([[0, 257]], np.uint16), True, 'its brightest value is 257 of 65535'),
        (np.array([[0, 2]], np.uint16), True, 'its brightest value is 2 of 65535'),
        (np.array([[0, 32767]], np.uint16), False, 'its brightest value is 32767 of 65535'),
        (np.array([[0, 1.0]]), False, None),
        (np.array([[0, 0.001]]), True, None),
        (np.array([[True, True]]), True, None),
        (np.array([[True, False]]), False, None),
        (np.array([[0, 0]], np.uint8), True, None),
    ],
)
def test_each_doubt_about_an_array(given, soft, text):
    mask, notes = read_mask(given, soft)
    assert len(notes) == (text is not None) and all(text in note.text for note in notes)
    peak = 1 if given.max() == 1 or given.dtype.kind == 'f' else np.iinfo(given.dtype).max
    if soft:
        np.testing.assert_allclose(mask, given / peak, rtol=1e-6)
    assert mask.dtype == (np.float32 if soft else np.uint8)


def test_arrays_get_no_hint_about_white_and_shares_are_rounded_down():
    assert read_mask(np.ones((4, 4), bool))[1] == []
    mask = np.zeros((10, 100), np.uint8)
    assert percent_white(mask) == 0 == percent_white(np.zeros((0, 3)))
    for white, percent in ((9, 0), (10, 1), (899, 89), (900, 90), (999, 99), (1000, 100)):
        mask[:] = 0
        mask.reshape(-1)[:white] = 1
        assert percent_white(mask) == percent
        text = f'{percent}% of the mask is white, which is restored; if black is, use --invert-mask'
        assert note_mostly_white(mask) == [(Doubt.MOSTLY_WHITE, text)] * (percent >= 90)


@pytest.mark.parametrize(
    ('mask', 'message'),
    [
        (np.zeros((4, 4, 3), bool), 'the mask has shape (4, 4, 3); expected (h, w), as the image'),
        (np.zeros(4, bool), 'the mask has shape (4,); expected (h, w), as the image'),
        (
            np.zeros((1, 1), np.int8),
            'the mask is of type int8; expected bool, uint8, uint16 or floating point in [0, 1]',
        ),
        (
            np.zeros((1, 1), np.uint32),
            'the mask is of type uint32; expected bool, uint8, uint16 or ',
        ),
        (np.array([[0, 1.25]]), 'the mask has values from 0.0 to 1.25; expected 0 (keep) to 1 ('),
        (np.array([[-0.25, 1]]), 'the mask has values from -0.25 to 1.0; expected 0 (keep) to 1 ('),
    ],
)
def test_what_an_array_that_is_no_mask_has(mask, message):
    with pytest.raises(ValueError) as caught:
        check_mask(mask)
    assert str(caught.value).startswith(message)
