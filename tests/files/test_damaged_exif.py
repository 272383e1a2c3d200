"""EXIF blocks that are damaged, and that no damage is done to sound ones."""

import numpy as np
import pytest
from corpus import smooth
from picture_writers import exif_of, saved
from PIL import Image

from hmaca_arch.files.image_files import read_image, write_image
from hmaca_arch.files.verifying import verify

PIXELS = smooth(np.random.default_rng(0))
# The number of entries; the first one is 1, a text.
TWO_PLACES, MANY_PLACES = b'\0\2\0\1\0\2', b'\0\x46\0\1\0\2'


def test_a_damaged_exif_block_is_left_out_and_the_image_verified(tmp_path):
    """Of a JPEG, Pillow drops such a block; of a PNG that holds it, it opens nothing."""
    block = exif_of(6).tobytes()
    for first in (b'HM\0*', b'MM\xe5*', b'MM\0+'):
        source = tmp_path / 'a.jpg'
        source.write_bytes(saved(PIXELS, 'JPEG', exif=block[:6] + first + block[10:]))
        stored = read_image(source)
        assert stored.exif is None and 'its EXIF block is damaged and left out' in stored.notes
        for name in ('out.png', 'out.tif', 'out.webp'):
            write_image(tmp_path / name, stored)
            nothing = np.zeros(stored.pixels.shape[:2], np.uint8)
            assert verify(tmp_path / name, source, stored, stored.pixels, nothing) == []


@pytest.mark.filterwarnings('ignore::UserWarning')
def test_an_exif_block_that_tiff_cannot_hold_is_one_line(tmp_path):
    """Its directory of places claims more entries than there are."""
    exif = Image.Exif()
    exif.get_ifd(0x8825).update({1: 'N', 2: (1.0, 2.0, 3.0)})
    block = exif.tobytes()
    assert block.count(TWO_PLACES) == 1
    block = block.replace(TWO_PLACES, MANY_PLACES)
    (tmp_path / 'a.png').write_bytes(saved(PIXELS, exif=block))
    stored = read_image(tmp_path / 'a.png')
    with pytest.raises(ValueError, match=r'out\.tif: the EXIF block is damaged .*choose out\.png$'):
        write_image(tmp_path / 'out.tif', stored)
    assert not (tmp_path / 'out.tif').exists()
    write_image(tmp_path / 'out.png', stored)


def test_the_exif_block_of_a_webp_goes_into_a_jpeg(tmp_path):
    exif = Image.Exif()
    exif[0x010E] = 'a horse'
    source = tmp_path / 'a.webp'
    source.write_bytes(saved(PIXELS, 'WEBP', lossless=True, exif=exif.tobytes()))
    write_image(tmp_path / 'out.jpg', read_image(source))
    with Image.open(tmp_path / 'out.jpg') as written:
        assert written.getexif()[0x010E] == 'a horse'
