"""Picture and mask files of every kind, whole and damaged, and what is to become of each: for the
suite and for `scripts/soak_files.py`.

`corpus(count, seed)` gives the same entries for the same arguments. Whole pictures mostly have 40
rows of 56 pixels, masks too, with one white box.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from picture_writers import PNG, chunk, deep, exif_of, opencv, png, saved, tiff, turned, with_chunk
from PIL import Image, PngImagePlugin

HEIGHT, WIDTH = 40, 56
SIDE = 12000  # of the largest picture
BOX = (slice(12, 22), slice(20, 32))  # white in a mask
# ending -> how Pillow saves it without loss, or nearly
FORMATS = {
    'png': ('PNG', {}),
    'jpg': ('JPEG', {'quality': 95, 'subsampling': 0}),
    'webp': ('WEBP', {'lossless': True}),
    'lossy.webp': ('WEBP', {'quality': 95}),
    'tif': ('TIFF', {}),
    'deflate.tif': ('TIFF', {'compression': 'tiff_deflate'}),
    'lzw.tif': ('TIFF', {'compression': 'tiff_lzw'}),
    'bmp': ('BMP', {}),
    'gif': ('GIF', {}),
}
LOSSY = ('jpg', 'lossy.webp')


class Entry(NamedTuple):
    """A file.

    kind: what is the matter with it, as the tables show it. role: `picture` or `mask`. name: the
    file's. content: its bytes; or ('link', target), ('folder',), ('pipe',), ('sparse', size) for
    what is no ordinary file. fate: `opens`, `refused` or `either`. pixels: what it must be read as
    if it opens, (h, w, c) upright; None: what Pillow makes of it. transparent: the data sets refuse
    it, restoring keeps its alpha. large: not for the suite. converted: the data sets refuse it,
    restoring may convert it.
    """

    kind: str
    role: str
    name: str
    content: bytes | tuple
    fate: str
    pixels: np.ndarray | None = None
    transparent: bool = False
    large: bool = False
    converted: bool = False

    def write(self, folder: Path) -> Path:
        """Make the file in a folder; returns its path."""
        path = folder / self.name
        match self.content:
            case bytes():
                path.write_bytes(self.content)
            case ('link', target):
                path.symlink_to(target)
            case ('folder',):
                path.mkdir()
            case ('pipe',):
                os.mkfifo(path)
            case ('sparse', size):
                with open(path, 'wb') as file:
                    file.truncate(size)
        return path


def smooth(
    rng: np.random.Generator, height: int = HEIGHT, width: int = WIDTH, channels: int = 3
) -> np.ndarray:
    """(h, w, c) uint8."""
    seeds = rng.integers(0, 256, (5, 6, channels), np.uint8)
    return cv2.resize(seeds, (width, height), interpolation=cv2.INTER_CUBIC).reshape(
        height, width, channels
    )


def box_mask(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """(h, w, 1) uint8, 255 inside the box; all white where the picture is too small for it."""
    mask = np.zeros((height, width, 1), np.uint8)
    mask[BOX] = 255
    return mask if mask.any() else mask + 255


def whole(pixels: np.ndarray, ending: str) -> tuple[bytes, np.ndarray]:
    """A file without fault, and what is in it."""
    kind, options = FORMATS[ending]
    if kind == 'GIF' and pixels.shape[2] == 3:
        palette = Image.fromarray(pixels).quantize(64)
        return saved(palette, kind), np.asarray(palette.convert('RGB'))
    data = saved(pixels, kind, **options)
    if ending in LOSSY:
        read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        return data, read[..., ::-1] if read.ndim == 3 else read[..., None]
    return data, pixels


def file_name(stem: str, ending: str) -> str:
    """Endings as the commands look for them; what GIF holds goes by the name of a PNG."""
    return f'{stem}.{ending.rsplit(".", 1)[-1].replace("gif", "png")}'


def damaged(role: str, rng: np.random.Generator, rounds: int) -> Iterator[Entry]:
    """Every format, whole and with each kind of damage."""
    for number in range(rounds):
        pixels = smooth(rng) if role == 'picture' else box_mask()
        for ending in FORMATS:
            data, read = whole(pixels, ending)
            stem = f'{role}-{ending.replace(".", "-")}-{number}'
            sure = ending == 'png'  # the only one with checksums
            position = int(rng.integers(len(data)))
            flipped = bytearray(data)
            flipped[position] ^= 1 << int(rng.integers(8))
            start = int(rng.integers(len(data) * 9 // 10))
            zeroed = data[:start] + bytes(min(16, len(data) - start)) + data[start + 16 :]
            header = bytearray(data)
            header[int(rng.integers(8, min(120, len(data))))] = int(rng.integers(256))
            cut = int(rng.integers(1, max(2, int(len(data) * 0.9))))
            other = 'bmp' if ending == 'png' else 'png'
            known = (
                None if role == 'mask' and ending in LOSSY else read
            )  # whether it is gray is the reader's to tolerate
            yield Entry(
                f'{ending}, whole', role, file_name(f'{stem}-whole', ending), data, 'opens', known
            )
            yield Entry(
                f'{ending}, other ending', role, f'{stem}-other.{other}', data, 'opens', known
            )
            yield Entry(
                f'{ending}, cut short',
                role,
                file_name(f'{stem}-cut', ending),
                data[:cut],
                'refused',
            )
            for what, broken in (
                ('bit flipped', flipped),
                ('16 bytes zeroed', zeroed),
                ('header overwritten', header),
            ):
                broken = bytes(broken)
                fate = 'opens' if broken == data else 'refused' if sure else 'either'
                yield Entry(
                    f'{ending}, {what}',
                    role,
                    file_name(f'{stem}-{what[:3].strip()}', ending),
                    broken,
                    fate,
                    known if fate == 'opens' else None,
                )
            yield Entry(
                f'{ending}, junk behind',
                role,
                file_name(f'{stem}-junk', ending),
                data + rng.bytes(50),
                'either',
                known,
            )


def no_pictures(role: str, rng: np.random.Generator) -> Iterator[Entry]:
    """What is no picture of a kind that is read, and what is no file."""
    image = Image.fromarray(smooth(rng))
    contents = {
        'zero bytes': b'', 'web page': b'<!DOCTYPE html><html>', 'one byte': b'\x89', 'signature alone': PNG,
        'text': b'not a picture\n' * 9, 'random bytes': rng.bytes(3000), 'zeros': bytes(3000), 'zip': b'PK\x03\x04' + rng.bytes(200),
        **{kind: saved(image, kind) for kind in ('EPS', 'PPM', 'TGA', 'PCX', 'ICO', 'SGI')},
    }  # fmt: skip
    for number, (kind, content) in enumerate(contents.items()):
        yield Entry(
            f'no picture: {kind}',
            role,
            f'{role}-none-{number}.{("png", "jpg", "webp", "tif", "bmp")[number % 5]}',
            content,
            'refused',
        )
    for kind, content in {
        'link to itself': ('link', f'{role}-special-0.png'), 'link to nothing': ('link', 'nowhere.png'), 'folder': ('folder',),
        'pipe': ('pipe',), 'endless device': ('link', '/dev/zero'), 'sparse, 40 GB': ('sparse', 40 * 10**9),
    }.items():  # fmt: skip
        number = 0 if kind == 'link to itself' else kind.replace(' ', '-').replace(',', '')
        yield Entry(f'no file: {kind}', role, f'{role}-special-{number}.png', content, 'refused')


def sizes(rng: np.random.Generator) -> Iterator[Entry]:
    for height, width in (
        (1, 1),
        (1, 17),
        (17, 1),
        (2, 3),
        (1, 16000),
        (16000, 1),
        (1, 20000),
        (20000, 1),
        (3, 700),
    ):
        for ending in ('png', 'jpg', 'webp', 'tif', 'bmp'):
            if ending != 'webp' or max(height, width) < 16384:
                data, read = whole(smooth(rng, height, width), ending)
                yield Entry(
                    f'{ending}, {width}x{height}',
                    'picture',
                    f'size-{width}x{height}-{ending}.{ending}',
                    data,
                    'opens',
                    read,
                )


def modes(rng: np.random.Generator) -> Iterator[Entry]:
    """Every mode, depth and orientation of pictures."""
    pixels = smooth(rng)
    gray, image, alpha = pixels[..., :1], Image.fromarray(pixels), smooth(rng, channels=1)
    clear, full = np.dstack([pixels, alpha]), np.dstack([pixels, alpha * 0 + 255])
    wide, wide_clear = deep(pixels), deep(clear)

    def entry(
        kind: str,
        name: str,
        data: bytes,
        fate: str = 'opens',
        read: np.ndarray | None = None,
        transparent: bool = False,
        converted: bool = False,
    ) -> Entry:
        return Entry(kind, 'picture', name, data, fate, read, transparent, converted=converted)

    palette = image.quantize(16)
    colours = np.asarray(palette.convert('RGB'))
    holes = np.dstack([colours, np.where(np.asarray(palette) == 3, 0, 255).astype(np.uint8)])
    yield entry('gray', 'mode-gray.png', saved(gray), read=gray)
    yield entry('gray', 'mode-gray.jpg', saved(gray, 'JPEG'))
    yield entry(
        '1 bit',
        'mode-1bit.png',
        saved(Image.fromarray(gray[..., 0] > 99)),
        read=(gray > 99).astype(np.uint8) * 255,
    )
    yield entry('palette', 'mode-palette.png', saved(palette), read=colours)
    yield entry('palette', 'mode-palette.bmp', saved(palette, 'BMP'), read=colours)
    yield entry('palette', 'mode-palette.tif', saved(palette, 'TIFF'), read=colours)
    yield entry(
        'palette with holes',
        'mode-holes.png',
        saved(palette, transparency=3),
        read=holes,
        transparent=True,
    )
    for ending in ('png', 'webp', 'tif'):
        kind, options = FORMATS[ending]
        options = options | ({'exact': True} if ending == 'webp' else {})
        yield entry(
            'alpha',
            f'mode-alpha.{ending}',
            saved(clear, kind, **options),
            read=clear,
            transparent=True,
        )
        yield entry(
            'opaque alpha', f'mode-opaque.{ending}', saved(full, kind, **options), read=full
        )
    yield entry(
        'gray and alpha',
        'mode-la.png',
        saved(Image.fromarray(clear[..., 2:4], 'LA')),
        read=clear[..., 2:4],
        transparent=True,
    )
    for bits in (2, 4):  # gray of few bits: 0 to 3 or 0 to 15 become 0 to 255
        few = gray[:, :, 0] >> (8 - bits)
        packed = np.packbits(
            np.unpackbits(few[..., None], axis=2)[..., 8 - bits :].reshape(HEIGHT, -1), axis=1
        )
        rows = b''.join(b'\0' + row.tobytes() for row in packed)
        read = (few.astype(int) * 255 // (2**bits - 1)).astype(np.uint8)[..., None]
        yield entry(
            f'gray, {bits} bits',
            f'mode-gray{bits}.png',
            png(WIDTH, HEIGHT, bits, 0, rows),
            read=read,
        )
    for ending in ('.png', '.tif'):
        yield entry('16 bits', f'mode-rgb16{ending}', opencv(ending, wide), read=wide)
        yield entry(
            '16 bits, gray',
            f'mode-gray16{ending}',
            opencv(ending, wide[..., :1]),
            read=wide[..., :1],
        )
        yield entry(
            '16 bits, alpha',
            f'mode-rgba16{ending}',
            opencv(ending, wide_clear),
            read=wide_clear,
            transparent=True,
        )
    rows = b''.join(b'\0' + row.astype('>u2').tobytes() for row in wide)
    key = with_chunk(png(WIDTH, HEIGHT, 16, 2, rows), b'tRNS', wide[5, 5].astype('>u2').tobytes())
    hole = np.where((wide == wide[5, 5]).all(axis=2, keepdims=True), 0, 65535).astype(np.uint16)
    yield entry(
        '16 bits, one colour clear',
        'mode-key16.png',
        key,
        'either',
        np.dstack([wide, hole]),
        transparent=True,
    )
    rows = b''.join(b'\0' + row.astype('>u2').tobytes() for row in wide_clear[..., 2:4])
    both = wide_clear[..., [2, 3]]
    yield entry(
        '16 bits, gray and alpha',
        'mode-la16.png',
        png(WIDTH, HEIGHT, 16, 4, rows),
        read=both,
        transparent=True,
    )
    for order, name in (('<', 'little'), ('>', 'big')):
        yield entry(
            '16 bits, plain TIFF', f'mode-plain-{name}.tif', tiff(wide, 2, order), read=wide
        )
        yield entry(
            '16 bits, gray, plain TIFF',
            f'mode-plaingray-{name}.tif',
            tiff(wide[..., :1], 1, order),
            read=wide[..., :1],
        )
    yield entry('16 bits, planes', 'mode-planes16.tif', tiff(wide, 2, planar=True), 'either', wide)
    yield entry(
        '8 bits, planes', 'mode-planes8.tif', tiff(pixels, 2, planar=True), 'either', pixels
    )
    yield entry('white is 0', 'mode-inverted8.tif', tiff(gray, 0), read=255 - gray)
    yield entry(
        '16 bits, white is 0',
        'mode-inverted16.tif',
        tiff(wide[..., :1], 0),
        'either',
        65535 - wide[..., :1],
    )
    other: dict = {'fate': 'refused', 'converted': True}
    yield entry('CMYK', 'mode-cmyk.jpg', saved(image.convert('CMYK'), 'JPEG'), **other)
    yield entry('CMYK', 'mode-cmyk.tif', saved(image.convert('CMYK'), 'TIFF'), **other)
    yield entry('16 bits, CMYK', 'mode-cmyk16.tif', tiff(wide_clear, 5), 'refused')
    yield entry('Lab', 'mode-lab.tif', tiff(pixels, 8), **other)
    yield entry('16 bits, Lab', 'mode-lab16.tif', tiff(wide, 8), 'refused')
    for dtype in (np.float16, np.float32, np.float64, np.int8, np.int16, np.int32, np.uint32):
        numbers = (pixels // 2).astype(dtype)
        for channels, photometric in ((1, 1), (3, 2)):
            kind = f'{np.dtype(dtype).name}, {channels} channels'
            yield entry(
                kind,
                f'mode-{np.dtype(dtype).name}-{channels}.tif',
                tiff(numbers[..., :channels], photometric),
                'refused',
                converted=dtype == np.float32,
            )
    for orientation in (2, 3, 5, 6, 8, 9):
        read = turned(pixels, orientation) if orientation < 9 else pixels
        for ending in ('png', 'webp', 'tif', 'jpg'):
            kind, options = FORMATS[ending]
            data = saved(image, kind, exif=exif_of(orientation), **options)
            yield entry(
                f'{ending}, orientation',
                f'turn-{orientation}-{ending}.{ending}',
                data,
                read=None if ending == 'jpg' else read,
            )
        wide_read = turned(wide, orientation) if orientation < 9 else wide
        yield entry(
            '16 bits, orientation',
            f'turn-{orientation}-16.tif',
            tiff(wide, 2, more={274: orientation}),
            read=wide_read,
        )
        block = exif_of(orientation).tobytes().removeprefix(b'Exif\0\0')
        yield entry(
            '16 bits, orientation',
            f'turn-{orientation}-16.png',
            with_chunk(opencv('.png', wide), b'eXIf', block),
            read=wide_read,
        )
    jpeg = saved(image, 'JPEG', exif=exif_of(6))
    for number in range(6):
        broken = bytearray(jpeg)
        broken[30 + int(rng.integers(26))] = int(rng.integers(256))
        yield entry('damaged EXIF', f'turn-broken-{number}.jpg', bytes(broken), 'either')
    other = smooth(rng)
    yield entry(
        'MPO',
        'mode-mpo.jpg',
        saved(image, 'MPO', save_all=True, append_images=[Image.fromarray(other)]),
    )


def animations(role: str, rng: np.random.Generator) -> Iterator[Entry]:
    frames = [Image.fromarray(smooth(rng)) for _ in range(3)]
    for kind in ('GIF', 'PNG', 'WEBP', 'TIFF'):
        data = saved(frames[0], kind, save_all=True, append_images=frames[1:])
        ending = {'GIF': 'png', 'TIFF': 'tif'}.get(kind, kind.lower())
        yield Entry(f'animated {kind}', role, f'{role}-animated-{kind}.{ending}', data, 'refused')
        yield Entry(
            f'animated {kind}, cut',
            role,
            f'{role}-animcut-{kind}.{ending}',
            data[: len(data) * 2 // 3],
            'refused',
        )
    loop = bytearray(saved(frames[0], 'TIFF'))
    (first,) = struct.unpack_from('<I', loop, 4)
    (count,) = struct.unpack_from('<H', loop, first)
    struct.pack_into('<I', loop, first + 2 + 12 * count, first)  # the next page is this one
    yield Entry(
        'TIFF whose pages go in circles',
        role,
        f'{role}-circle.tif',
        bytes(loop),
        'either',
        np.asarray(frames[0]),
    )


def bombs(rng: np.random.Generator) -> Iterator[Entry]:
    """Small files that claim to be large, and one that is."""
    huge = 60000
    small = smooth(rng)
    data = {ending: bytearray(whole(small, ending)[0]) for ending in ('jpg', 'bmp', 'gif', 'webp')}
    frame = data['jpg'].index(b'\xff\xc0')
    struct.pack_into('>HH', data['jpg'], frame + 5, huge, huge)
    struct.pack_into('<ii', data['bmp'], 18, huge, huge)
    struct.pack_into('<HH', data['gif'], 6, huge, huge)
    struct.pack_into('<I', data['webp'], 21, 16382 | 16382 << 14)
    claims = tiff(small, 2)
    claims = claims.replace(
        struct.pack('<HHII', 256, 4, 1, WIDTH), struct.pack('<HHII', 256, 4, 1, huge)
    )
    claims = claims.replace(
        struct.pack('<HHII', 257, 4, 1, HEIGHT), struct.pack('<HHII', 257, 4, 1, huge)
    )
    rows = b''.join(b'\0' + row.tobytes() for row in small)
    for bits in (8, 16):
        yield Entry(
            'bomb: claims 3.6 gigapixels',
            'picture',
            f'bomb-{bits}.png',
            png(huge, huge, bits, 2, rows),
            'refused',
        )
    for ending, content in (
        ('jpg', data['jpg']),
        ('bmp', data['bmp']),
        ('webp', data['webp']),
        ('tif', claims),
    ):
        yield Entry(
            'bomb: claims 3.6 gigapixels',
            'picture',
            f'bomb-{ending}.{ending}',
            bytes(content),
            'refused',
        )
    yield Entry(
        'bomb: claims 3.6 gigapixels', 'picture', 'bomb-gif.png', bytes(data['gif']), 'refused'
    )
    yield Entry(
        'bomb: claims 3.6 gigapixels',
        'mask',
        'bomb-mask.png',
        png(huge, huge, 1, 0, rows),
        'refused',
    )
    text = zlib.compress(bytes(30_000_000))
    yield Entry(
        'bomb: 30 MB of text',
        'picture',
        'bomb-text.png',
        with_chunk(saved(small), b'zTXt', b'a\0\0' + text),
        'either',
        small,
    )
    yield Entry(
        'bomb: 30 MB of profile',
        'picture',
        'bomb-icc.png',
        with_chunk(saved(small), b'iCCP', b'a\0\0' + text),
        'either',
        small,
    )
    info = PngImagePlugin.PngInfo()
    for i in range(2000):
        info.add_text(f'key {i}', 'x' * 100, zip=True)
    yield Entry(
        '2000 texts',
        'picture',
        'bomb-texts.png',
        saved(Image.fromarray(small), pnginfo=info),
        'opens',
        small,
    )
    frames = [Image.new('1', (8, 8), i % 2) for i in range(500)]
    many = saved(frames[0], 'GIF', save_all=True, append_images=frames[1:])
    yield Entry('500 frames', 'picture', 'bomb-frames.png', many, 'refused')
    rows = zlib.compress(bytes((SIDE + 1) * SIDE), 1)
    header = struct.pack('>IIBBBBB', SIDE, SIDE, 8, 0, 0, 0, 0)
    data = PNG + chunk(b'IHDR', header) + chunk(b'IDAT', rows) + chunk(b'IEND', b'')
    yield Entry(
        'bomb: 144 megapixels, real',
        'picture',
        'bomb-real.png',
        data,
        'either',
        np.zeros((1, 1, 1), np.uint8),
        large=True,
    )


def names(role: str, rng: np.random.Generator) -> Iterator[Entry]:
    """Whole files under names that are not plain."""
    pixels = smooth(rng) if role == 'picture' else box_mask()
    for name in (
        'größe.png', '日本語の名前.png', '😀.png', 'a b  c.png', 'a.b.c.png', '-dash.png', "quo'te\".png", 'new\nline.png', 'UPPER.PNG',
        '%s{0}.png', '~.png', 'x' * 251 + '.png', 'ü' * 125 + '.png', os.fsdecode(b'not-utf8-\xff\xfe.png'),
        'עברית.png', 'tab\there.png', 'a\\b.png', '*.png',
    ):  # fmt: skip
        shown = ascii(name if len(name) < 30 else f'{name[:3]}... ({len(os.fsencode(name))} bytes)')
        yield Entry(f'name: {shown}', role, name, saved(pixels), 'opens', pixels)


def masks(rng: np.random.Generator) -> Iterator[Entry]:
    """Every kind of mask."""
    mask = box_mask()
    thrice, edge = np.repeat(mask, 3, axis=2), smooth(rng, channels=1)
    tinted = thrice.copy()
    tinted[BOX] = (255, 255, 0)

    def entry(
        kind: str, name: str, data: bytes, fate: str = 'opens', read: np.ndarray | None = mask
    ) -> Entry:
        return Entry(f'mask: {kind}', 'mask', name, data, fate, read)

    yield entry('3 channels', 'mask-rgb.png', saved(thrice))
    yield entry('with colours', 'mask-colour.png', saved(tinted), 'refused')
    yield entry('with colours', 'mask-colour.jpg', saved(tinted, 'JPEG'), 'refused')
    yield entry('another size', 'mask-size.png', saved(box_mask(HEIGHT, WIDTH + 1)), 'refused')
    yield entry('turned by 90 degrees', 'mask-turned.png', saved(mask.swapaxes(0, 1)), 'refused')
    yield entry(
        'turned and said so',
        'mask-orientation.png',
        saved(Image.fromarray(mask[..., 0].T[:, ::-1].copy()), exif=exif_of(8)),
    )
    yield entry('opaque alpha', 'mask-opaque.png', saved(np.dstack([thrice, mask * 0 + 255])))
    yield entry('in its alpha', 'mask-alpha.png', saved(np.dstack([thrice, mask])), 'refused')
    yield entry(
        'gray and alpha',
        'mask-la.png',
        saved(Image.fromarray(np.dstack([mask, mask]), 'LA')),
        'refused',
    )
    yield entry('16 bits', 'mask-16.png', opencv('.png', mask.astype(np.uint16) * 257))
    yield entry('16 bits', 'mask-16.tif', opencv('.tif', mask.astype(np.uint16) * 257))
    yield entry(
        '16 bits, 3 channels', 'mask-16-rgb.png', opencv('.png', thrice.astype(np.uint16) * 257)
    )
    yield entry('1 bit', 'mask-1.png', saved(Image.fromarray(mask[..., 0] > 0)))
    yield entry('palette', 'mask-palette.png', saved(Image.fromarray(mask[..., 0]).convert('P')))
    yield entry('empty', 'mask-empty.png', saved(mask * 0), read=mask * 0)
    yield entry('full', 'mask-full.png', saved(mask * 0 + 255), read=mask * 0 + 255)
    yield entry(
        '0 and 1', 'mask-01.png', saved(mask // 255), 'either'
    )  # restoring takes 1 for white
    yield entry(
        'gray values',
        'mask-soft.png',
        saved(edge),
        read=np.where(edge > 127, 255, 0).astype(np.uint8),
    )
    yield entry('JPEG', 'mask-jpeg.jpg', saved(mask, 'JPEG', quality=95), read=None)
    yield entry('JPEG, RGB', 'mask-jpeg-rgb.jpg', saved(thrice, 'JPEG', quality=95), read=None)
    yield entry(
        'CMYK', 'mask-cmyk.tif', saved(Image.fromarray(thrice).convert('CMYK'), 'TIFF'), 'refused'
    )
    yield entry(
        'floating point',
        'mask-float.tif',
        saved(Image.fromarray(mask[..., 0] / np.float32(255)), 'TIFF'),
        'refused',
    )
    yield entry('white is 0', 'mask-inverted.tif', tiff(255 - mask, 0))


def corpus(count: int = 500, seed: int = 0) -> list[Entry]:
    """At least `count` entries, every kind among them; of the damaged ones as many as it takes."""
    rng = np.random.default_rng(seed)
    found = [
        *sizes(rng), *modes(rng), *bombs(rng), *masks(rng),
        *(entry for role in ('picture', 'mask') for part in (no_pictures, animations, names) for entry in part(role, rng)),
    ]  # fmt: skip
    rounds = max(1, -(-(count - len(found)) // (2 * 7 * len(FORMATS))))
    return found + [entry for role in ('picture', 'mask') for entry in damaged(role, rng, rounds)]
