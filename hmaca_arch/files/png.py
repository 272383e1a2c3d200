"""PNG files, chunk by chunk: what is damaged, what is kept, and a writer for every depth."""

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, NamedTuple

import numpy as np

from hmaca_arch.files.depth import peak_of
from hmaca_arch.messages import printable

PNG = b'\x89PNG\r\n\x1a\n'
HEADER = 33  # bytes of the signature and IHDR
# No pixel depends on these, and nothing of how it looks.
HARMLESS = (b'tEXt', b'zTXt', b'iTXt', b'tIME', b'pHYs', b'bKGD', b'hIST', b'sPLT')
CRITICAL = (b'IHDR', b'PLTE', b'IDAT', b'IEND')
NEEDED = (b'tRNS', b'acTL', b'fcTL', b'fdAT')  # pixels and frames depend on these
ANCILLARY = 0x20  # bit of a chunk's first letter: a small one
COLOUR_SPACE = (b'gAMA', b'cHRM', b'sRGB', b'cICP', b'mDCV', b'cLLI')
TEXTS = (b'tEXt', b'zTXt', b'iTXt', b'tIME')
# What a copy of the pixels keeps as it is. The profile, EXIF, XMP and resolution are kept apart.
KEPT = (*COLOUR_SPACE, *TEXTS)
XMP = b'XML:com.adobe.xmp\0'
MOST_CHUNKS = 30_000  # without those of pixels; each takes time
STRIP = 1 << 20  # bytes that are filtered at once
PACKED = (4, zlib.DEFLATED, 15, 9, zlib.Z_FILTERED)  # level, method, window, memory, strategy
COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # by number of channels
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a pixel, by colour type
# Of an interlaced image: first column and row of each pass, and the steps.
PASSES = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)


class Chunk(NamedTuple):
    """A part of a PNG file."""

    kind: bytes
    content: bytes

    def packed(self) -> bytes:
        """Return it as it stands in a file."""
        return (
            struct.pack('>I', len(self.content))
            + self.kind
            + self.content
            + struct.pack('>I', zlib.crc32(self.kind + self.content))
        )


def check_png(
    data: bytes, lenient: bool, can_read: Callable[[bytes], bool] | None = None
) -> tuple[bytes, list[str]]:
    """Return a PNG without damaged texts and the like, and a note for each.

    Pillow refuses files that have any, and does not check the last chunk that matters.

    Args:
        data: the file's content.
        lenient: leave out what tells orientation and colour space too, if it is damaged.
        can_read: is asked about a PNG of one pixel with each chunk whose checksum is right; None:
            all can be read.

    Raises:
        OSError: it is cut short, or another chunk does not match its checksum.
        ValueError: it is built in an unusual way, or has too many chunks.
    """
    position, kind, kept, notes = len(PNG), b'', [memoryview(PNG)], []
    view, others = memoryview(data), 0
    while kind != b'IEND':
        length = int.from_bytes(view[position : position + 4], 'big')
        kind, end = bytes(view[position + 4 : position + 8]), position + 8 + length
        if end + 4 > len(data):
            raise OSError('the file is cut short')
        sound = zlib.crc32(view[position + 4 : end]) == int.from_bytes(view[end : end + 4], 'big')
        if sound and (kind == b'IHDR') != (position == len(PNG)):
            raise ValueError('it does not begin with its only IHDR chunk, the file is damaged')
        if sound and not kind[0] & ANCILLARY and kind not in CRITICAL:
            name = printable(kind.decode('latin-1'))
            raise ValueError(f'its pixels depend on an unknown chunk, {name}; convert it first')
        may_miss = kind in HARMLESS or (lenient and kind[0] & ANCILLARY and kind not in NEEDED)
        others += kind != b'IDAT'
        if others > MOST_CHUNKS:
            raise ValueError(f'it has more than {MOST_CHUNKS} chunks besides its pixels')
        chunk = view[position : end + 4]
        if sound and not (may_miss and can_read and not can_read(_pixel_with(chunk))):
            kept.append(chunk)
        elif may_miss:
            notes.append(f'its {printable(kind.decode("latin-1"))} chunk is damaged and left out')
        else:
            raise OSError('a checksum does not match, the file is damaged')
        position = end + 4
    return (b''.join(kept) if notes else data), notes


def _pixel_with(chunk: memoryview) -> bytes:
    """Return a PNG of one black pixel, with one chunk of another file."""
    header = Chunk(b'IHDR', struct.pack('>IIBBBBB', 1, 1, 8, 2, 0, 0, 0)).packed()
    pixel = Chunk(b'IDAT', zlib.compress(bytes(4))).packed()
    return b''.join([PNG, header, chunk, pixel, Chunk(b'IEND', b'').packed()])


def check_rows(data: bytes) -> None:
    """Raise an OSError if the compressed pixels of a sound PNG end before its last row.

    Pillow takes a stream that ends with a row for a whole one, and the rest is black.
    """
    unpacker, left, view = zlib.decompressobj(), _bytes_of_rows(data), memoryview(data)
    for kind, start, end in places(data):
        rest = view[start:end] if kind == b'IDAT' else b''
        while left > 0 and (part := unpacker.decompress(rest, min(left, STRIP))):
            rest, left = unpacker.unconsumed_tail, left - len(part)
    if left > 0:
        raise OSError('the file is cut short: it holds fewer rows than it claims')


def _bytes_of_rows(data: bytes) -> int:
    """Return the size of a PNG's rows, each with the number of its filter."""
    width, height = struct.unpack_from('>II', data, 16)
    size = 0
    for left, top, across, down in PASSES if data[28] else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            size += rows * (1 + -(-columns * SAMPLES[data[25]] * data[24] // 8))
    return size


def chunks(data: bytes) -> Iterator[Chunk]:
    """Yield the chunks of a sound PNG up to its end, but for those of the pixels."""
    for kind, start, end in places(data):
        if kind != b'IDAT':
            yield Chunk(kind, data[start:end])


def places(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the kind of each chunk of a sound PNG, and where its content starts and ends."""
    position, kind = len(PNG), b''
    while kind != b'IEND' and position + 8 <= len(data):
        length, kind = struct.unpack_from('>I4s', data, position)
        yield kind, position + 8, position + 8 + length
        position += 12 + length


def only_pixels(data: bytes) -> bytes:
    """Return a sound PNG without what no pixel depends on. libpng prints warnings about that."""
    view = memoryview(data)
    kept = [
        view[start - 8 : end + 4]
        for kind, start, end in places(data)
        if kind in NEEDED or not kind[0] & ANCILLARY
    ]
    return b''.join([PNG, *kept])


def kept_chunks(data: bytes) -> list[Chunk]:
    """Return what a copy of a sound PNG keeps: colour space, texts, time; but not XMP."""
    return [
        chunk for chunk in chunks(data) if chunk.kind in KEPT and not chunk.content.startswith(XMP)
    ]


def xmp_of(data: bytes) -> bytes | None:
    """Return a sound PNG's XMP packet, or None."""
    for kind, content in chunks(data):
        if kind == b'iTXt' and content.startswith(XMP):
            compressed, rest = content[len(XMP)], content[len(XMP) + 2 :]
            text = rest.split(b'\0', 2)[2]
            return zlib.decompress(text) if compressed else text
    return None


def chunks_of_metadata(
    icc: bytes | None, exif: bytes | None, xmp: bytes | None, dpi: tuple[float, float] | None
) -> list[Chunk]:
    """Return the chunks that hold a profile, EXIF, XMP and a resolution, where given."""
    made = []
    if dpi:
        by_metre = (round(value / 0.0254) for value in dpi)
        made.append(Chunk(b'pHYs', struct.pack('>IIB', *by_metre, 1)))
    if icc:
        made.append(Chunk(b'iCCP', b'ICC Profile\0\0' + zlib.compress(icc)))
    if exif:
        made.append(Chunk(b'eXIf', exif.removeprefix(b'Exif\0\0')))
    if xmp:
        made.append(Chunk(b'iTXt', XMP + b'\0\0\0\0' + xmp))
    return made


def transparent_colour(data: bytes) -> np.ndarray | None:
    """Return the colour of a gray or RGB PNG that is transparent (tRNS), in 8 or 16 bits, or None.

    Pillow forgets to scale one of few bits.
    """
    depth, colour = data[24], data[25]
    content = next((content for kind, content in chunks(data) if kind == b'tRNS'), b'')
    if colour not in (0, 2) or len(content) != 2 * SAMPLES[colour]:
        return None
    return np.frombuffer(content, '>u2') * (255 // (2**depth - 1) if depth < 8 else 1)


def with_alpha_of(pixels: np.ndarray, transparent: np.ndarray) -> np.ndarray:
    """Add an alpha channel to pixels (h, w, c) of which one colour (tRNS) is transparent."""
    alpha = np.full((*pixels.shape[:2], 1), peak_of(pixels.dtype), pixels.dtype)
    # of a number with more bits than the pixels have, the low ones count
    alpha[(pixels == transparent.astype(pixels.dtype)).all(axis=2)] = 0
    return np.concatenate([pixels, alpha], axis=2)


def write_png(file: BinaryIO, pixels: np.ndarray, before: Iterable[Chunk]) -> None:
    """Write a PNG, strip by strip.

    Args:
        file: open for writing.
        pixels: (h, w, 1 to 4) uint8 or uint16: gray, gray and alpha, RGB or RGBA.
        before: chunks that stand before the pixels.
    """
    row = max(1, pixels[:1].nbytes)
    rows = max(1, STRIP // row)
    strips = (pixels[top : top + rows] for top in range(0, len(pixels), rows))
    write_png_strips(file, pixels.shape, pixels.dtype, strips, before)


def write_png_strips(
    file: BinaryIO,
    shape: tuple[int, ...],
    dtype: np.dtype,
    strips: Iterable[np.ndarray],
    before: Iterable[Chunk],
) -> None:
    """Write a PNG whose pixels come some rows at a time.

    Args:
        file: open for writing.
        shape: (h, w, c) of all pixels.
        dtype: uint8 or uint16.
        strips: (rows, w, c), from the top.
        before: see `write_png`.
    """
    height, width, channels = shape
    header = struct.pack(
        '>IIBBBBB', width, height, 8 * dtype.itemsize, COLOUR_TYPES[channels], 0, 0, 0
    )
    file.write(PNG + Chunk(b'IHDR', header).packed())
    for chunk in before:
        file.write(chunk.packed())
    packer = zlib.compressobj(*PACKED)
    above = np.zeros((1, width * channels * dtype.itemsize), np.uint8)
    for strip in strips:
        flat = np.ascontiguousarray(strip).reshape(-1, width * channels)
        raw = flat.astype(flat.dtype.newbyteorder('>')).view(np.uint8)
        filtered = _filtered(np.concatenate([above, raw]), channels * dtype.itemsize)
        above = raw[-1:]
        if packed := packer.compress(filtered.tobytes()):
            file.write(Chunk(b'IDAT', packed).packed())
    file.write(Chunk(b'IDAT', packer.flush()).packed() + Chunk(b'IEND', b'').packed())


def _filtered(raw: np.ndarray, step: int) -> np.ndarray:
    """Filter rows of bytes, each by the way that leaves the smallest sum of differences.

    Args:
        raw: (1 + rows, bytes) uint8; the first row is the one above.
        step: bytes of a pixel.

    Returns:
        (rows, 1 + bytes), each row behind the number of its filter.
    """
    row, up = raw[1:], raw[:-1]
    left, corner = np.zeros_like(row), np.zeros_like(row)
    left[:, step:], corner[:, step:] = row[:, :-step], up[:, :-step]
    best = np.empty((len(row), row.shape[1] + 1), np.uint8)
    least = np.full(len(row), np.iinfo(np.int64).max)
    mean = ((left.astype(np.uint16) + up) // 2).astype(np.uint8)
    guesses = (None, left, up, mean, _paeth(left, up, corner))
    for number, guess in enumerate(guesses):
        values = row if guess is None else row - guess
        cost = np.abs(values.view(np.int8).astype(np.int16)).sum(axis=1, dtype=np.int64)
        better = cost < least
        least[better] = cost[better]
        best[better, 0] = number
        best[better, 1:] = values[better]
    return best


def _paeth(left: np.ndarray, up: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """Return PNG's fourth guess: of the three neighbours the one nearest to left + up - corner."""
    a, b, c = (values.astype(np.int16) for values in (left, up, corner))
    far_a, far_b, far_c = np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)
    nearest_b = np.where(far_b <= far_c, up, corner)
    return np.where((far_a <= far_b) & (far_a <= far_c), left, nearest_b)
