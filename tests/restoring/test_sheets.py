"""Images side by side."""

import numpy as np
from PIL import ImageFont

from hmaca_arch.restoring import sheets
from hmaca_arch.restoring.sheets import broken, contact_sheet, fitted, strip


def plain(value: int, *shape: int) -> np.ndarray:
    return np.full(shape, value, np.uint8)


def test_a_strip_is_its_images_with_white_between():
    images = [plain(10, 5, 7, 3), plain(255, 5, 7), plain(30, 5, 7, 3), plain(40, 5, 7, 1)]
    found = strip(*images)
    assert found.shape == (5, 4 * 7 + 3 * 4, 3)
    assert found[0, :, 0].tolist() == [10] * 7 + [255] * 15 + [30] * 7 + [255] * 4 + [40] * 7


def test_rows_of_different_lengths_and_sizes_stand_in_columns():
    found = contact_sheet([[plain(1, 2, 3, 3), plain(2, 4, 5, 3)], [plain(3, 1, 6, 3)]])
    assert found.shape == (4 + 4 + 1, 6 + 4 + 5, 3)
    assert (found[:2, :3] == 1).all() and (found[:4, 10:] == 2).all() and (found[8:, :6] == 3).all()
    assert (found == 255).all(axis=2).sum() == 9 * 15 - 6 - 20 - 6


def test_titles_and_captions_are_written_beside_the_images():
    images = [[plain(9, 20, 40, 3)] * 2] * 2
    found = contact_sheet(images, ['left', 'right, broken in two lines'], ['', 'below'], side=80)
    assert found.shape == (30 + 80 + 4 + 80 + 30, 2 * 80 + 4, 3)
    assert (
        (found[:30, :80] < 128).any()
        and (found[:30, 84:] < 128).any()
        and (found[-30:] < 128).any()
    )
    for top in (30, 114):
        assert (found[top : top + 40, :80] == 9).all() and not found[
            top + 40 : top + 80, :80
        ].any(), 'fitted, black below'
    assert (
        broken('right, broken in two lines', 80).count('\n') == 1 and broken('left', 80) == 'left'
    )


def test_where_titles_and_captions_stand(monkeypatch):
    asked = []
    monkeypatch.setattr(sheets, 'written', lambda sheet, labels: asked.append(labels) or sheet)
    contact_sheet([[plain(9, 20, 40, 3)] * 2] * 2, ['left', 'right'], ['above', ''])
    contact_sheet([[plain(9, 20, 40, 3)]] * 2, captions=['', 'below'])
    assert asked == [[(0, 2, 'left'), (44, 2, 'right'), (0, 52, 'above')], [(0, 46, 'below')]]


def test_texts_are_broken_between_words_into_two_lines_at_most():
    width = int(np.ceil(ImageFont.load_default(12).getlength('one two')))
    assert broken('one two', width) == 'one two' and broken('one two', width - 1) == 'one\ntwo'
    assert broken('one two three four five six', width) == 'one two\nthree'
    assert broken('muchlongerthanthat', 1) == 'muchlongerthanthat', 'a word is not broken'


def test_enlarged_pixels_stay_squares():
    image = np.arange(4, dtype=np.uint8).reshape(2, 2)
    np.testing.assert_array_equal(
        fitted(np.dstack([image] * 3), 6)[..., 0], np.kron(image, np.ones((3, 3)))
    )
    assert fitted(plain(7, 30, 10, 3), 6).shape == (6, 6, 3)
