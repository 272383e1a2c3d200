"""Which image formats are read and written, how files of them are named, and hints for others."""

from pathlib import PurePath
from typing import NamedTuple


class Format(NamedTuple):
    """A format that can be written.

    Attributes:
        pillow: Pillow's name of it.
        endings: of its files; the first is what this project gives them.
        keeps: what its files hold besides pixels.
    """

    pillow: str
    endings: tuple[str, ...]
    keeps: tuple[str, ...] = ()


EVERYTHING = ('EXIF', 'ICC profile', 'XMP', 'dpi')
FORMATS = {
    'png': Format('PNG', ('.png',), EVERYTHING),
    'tif': Format('TIFF', ('.tif', '.tiff'), EVERYTHING),
    'webp': Format('WEBP', ('.webp',), EVERYTHING[:3]),
    'jpg': Format('JPEG', ('.jpg', '.jpeg', '.jpe', '.jfif', '.mpo'), EVERYTHING),
    'bmp': Format('BMP', ('.bmp', '.dib'), ('dpi',)),
    'gif': Format('GIF', ('.gif',)),
    'avif': Format('AVIF', ('.avif',), EVERYTHING[:3]),
    'heic': Format('HEIF', ('.heic', '.heif'), EVERYTHING[:3]),
}
BY_PILLOW = {one.pillow: name for name, one in FORMATS.items()} | {'MPO': 'jpg'}
LOSSY = ('JPEG', 'MPO', 'WEBP', 'AVIF', 'HEIF')  # Pillow's names of what may be stored with loss
BY_ENDING = {ending: name for name, one in FORMATS.items() for ending in one.endings}

RAW = (
    *('.3fr', '.arw', '.cr2', '.cr3', '.crw', '.dcr', '.dng', '.erf', '.iiq', '.kdc', '.mef'),
    *('.mos', '.mrw', '.nef', '.nrw', '.orf', '.pef', '.raf', '.raw', '.rw2', '.rwl', '.sr2'),
    *('.srf', '.srw', '.x3f'),
)
OTHERS = {
    '.jxl': 'JPEG XL',
    **dict.fromkeys(('.jp2', '.j2k', '.jpf', '.jpx'), 'JPEG 2000'),
    **dict.fromkeys(('.psd', '.psb'), 'a Photoshop file'),
    '.xcf': 'a GIMP file',
    '.exr': 'OpenEXR',
    '.hdr': 'Radiance HDR',
    '.svg': 'a drawing, not pixels',
    '.tga': 'Targa',
}
IMAGE_ENDINGS = frozenset((*BY_ENDING, *RAW, *OTHERS))  # of what people call images

DEVELOP = "develop it first (darktable, RawTherapee or the camera's own program) and save as TIFF"
CONVERT = 'convert it to PNG or TIFF first'
TIFF_MARKS = (b'II*\0', b'MM\0*')
BIG_TIFF_MARKS = (b'II+\0', b'MM\0+')
# What a file begins with, at which byte, what it then is, and what to do.
KNOWN = (
    (0, b'\xff\x0a', 'JPEG XL', CONVERT),
    (4, b'JXL \r\n', 'JPEG XL', CONVERT),
    (4, b'jP  \r\n', 'JPEG 2000', CONVERT),
    (0, b'8BPS', 'a Photoshop file', CONVERT),
    (0, b'gimp xcf', 'a GIMP file', 'export it as PNG or TIFF'),
    (0, b'%PDF', 'a PDF', CONVERT),
    (0, b'\x76\x2f\x31\x01', 'OpenEXR', CONVERT),
    (0, b'#?RADIANCE', 'Radiance HDR', CONVERT),
    (8, b'CR\x02', 'a raw file of a camera', DEVELOP),
    (4, b'ftypcrx ', 'a raw file of a camera', DEVELOP),
    (0, b'FUJIFILMCCD-RAW', 'a raw file of a camera', DEVELOP),
    (0, b'IIU\0', 'a raw file of a camera', DEVELOP),
    (0, b'IIRO', 'a raw file of a camera', DEVELOP),
    (0, b'IIRS', 'a raw file of a camera', DEVELOP),
    (0, b'MMOR', 'a raw file of a camera', DEVELOP),
    (0, b'\0MRM', 'a raw file of a camera', DEVELOP),
    (0, b'FOVb', 'a raw file of a camera', DEVELOP),
)


def hint_for_ending(ending: str) -> str | None:
    """Say of which kind files with an ending are that are not read; None for all others."""
    if ending in RAW:
        return f'it is a raw file of a camera; {DEVELOP}'
    return f'it is {OTHERS[ending]}; {CONVERT}' if ending in OTHERS else None


def hint_for(data: bytes, name: str) -> str | None:
    """Say what a file is that is not read, and what to do; None if that is not known.

    Raw files of many cameras begin as TIFF files do, so that their names count as well.
    """
    for start, mark, what, todo in KNOWN:
        if data[start : start + len(mark)] == mark:
            return f'it is {what}; {todo}'
    ending = PurePath(name).suffix.lower()
    return hint_for_ending(ending) if ending in RAW and data[:4] in TIFF_MARKS else None


def is_jpeg_to_jpeg(source: str, ending: str) -> bool:
    """Tell whether a JPEG, by Pillow's name of the format, goes to a file that ends as one."""
    return BY_PILLOW.get(source) == BY_ENDING[ending.lower()] == 'jpg'
