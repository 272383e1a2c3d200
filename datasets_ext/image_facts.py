"""Facts about each image file of a data set, read in parallel and remembered in a cache.

The cache stores each file's size and time of change, an LMDB's being its database's. A second
reading opens only what changed.
"""

import functools
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from datasets_ext.parallel import Workers
from datasets_ext.sources import Lmdb, pixel_digest, read_sound_mask
from hmaca_arch.files.atomic import write_atomically
from hmaca_arch.files.images import decode_image
from hmaca_arch.files.reading import read_file

VERSION = 1  # of the cache's entries
CHUNK = 32  # images that a process reads at once


class Place(NamedTuple):
    """Where an image is, and what it is read as.

    path: a file, or an LMDB. key: of the LMDB, or None. kind: `image`, `mask` or `soft mask`.
    """

    path: str
    key: str | None
    kind: str

    def __str__(self) -> str:
        return self.path if self.key is None else f'{self.path}: key {self.key}'

    def identity(self) -> list[int]:
        """Return what changes when the file does; an OSError if there is none."""
        status = os.stat(self.path if self.key is None else os.path.join(self.path, 'data.mdb'))
        return [VERSION, status.st_size, status.st_mtime_ns]


class Facts(NamedTuple):
    """Facts about an image.

    error: why it cannot be read, or None. height, width: in pixels. digest: of size and pixels.
    empty: whether it is a mask without a region. full: whether it is a mask that covers everything.
    """

    error: str | None = None
    height: int = 0
    width: int = 0
    digest: str = ''
    empty: bool = False
    full: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.height, self.width


@functools.lru_cache(maxsize=8)
def _open_lmdb(root: str) -> Lmdb:
    return Lmdb(root)


def read_facts(place: Place) -> Facts:
    """Read one image; what is wrong with it stands in `error`."""
    try:
        data = (
            read_file(place.path) if place.key is None else _open_lmdb(place.path).read(place.key)
        )
        if place.kind == 'image':
            pixels = decode_image(data, str(place))
        else:
            pixels = read_sound_mask(data, str(place), soft=place.kind == 'soft mask')
    # A damaged file can make a decoder raise anything, and the other files are still to be read.
    except Exception as error:
        text = str(error)
        if not text.startswith(str(place)):
            text = f'{place}: cannot be read as an image: {type(error).__name__} {text}'
        return Facts(error=text)
    height, width = pixels.shape[:2]
    is_mask = place.kind != 'image'
    empty, full = is_mask and not pixels.any(), is_mask and bool((pixels == 1).all())
    return Facts(None, height, width, pixel_digest(pixels), empty, full)


def _read_chunk(places: Sequence[Place]) -> list[Facts]:
    return [read_facts(place) for place in places]


def _read_cache(cache: Path) -> dict[str, Any]:
    try:
        known = json.loads(cache.read_text(encoding='utf-8'))
    except (FileNotFoundError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def collect_facts(places: Sequence[Place], cache: Path, workers: int) -> dict[Place, Facts]:
    """Return facts about these images, from the cache where nothing changed.

    The cache is brought up to date, also if this is interrupted. Images that could not be read are
    not remembered: the reason may have been a lack of memory or a missing permission.

    Args:
        places: the images.
        cache: a JSON file; it need not exist.
        workers: number of processes.
    """
    known = _read_cache(cache)
    found: dict[Place, Facts] = {}
    identities: dict[Place, list[int]] = {}
    for place in dict.fromkeys(places):
        try:
            identities[place] = place.identity()
        except OSError as error:
            found[place] = Facts(error=f'{place}: cannot be read as an image: {error.strerror}')
            continue
        entry = known.get(f'{place.kind} {place}')
        if entry and entry[0] == identities[place]:
            found[place] = Facts(*entry[1])
    new = [place for place in identities if place not in found]
    try:
        if new:
            _read_new(new, found, workers)
    finally:
        for place in new:
            if place in found and not found[place].error:
                known[f'{place.kind} {place}'] = [identities[place], found[place]]
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(cache, json.dumps(known).encode(), durable=False)
    return found


def _read_new(new: Sequence[Place], found: dict[Place, Facts], workers: int) -> None:
    """Add facts about these images to `found`, chunk by chunk."""
    chunks = [new[i : i + CHUNK] for i in range(0, len(new), CHUNK)]
    bar = tqdm(total=len(new), desc='reading images', unit='image', disable=None)
    with bar, Workers(min(workers, len(chunks))) as pool:
        for chunk, facts in zip(chunks, pool.map(_read_chunk, chunks)):
            found.update(zip(chunk, facts))
            bar.update(len(chunk))
