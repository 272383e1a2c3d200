"""Match masks to images by their names, as people name them.

The mask of `photo.jpg` may be `photo.png`, `photo_mask.png` or `photo_mask001.png`. Upper and lower
case count alike, and so do the two ways in which systems store an accent (NFC, NFD).
"""

import itertools
import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from hmaca_arch.files.formats import BY_ENDING
from hmaca_arch.messages import closest_to, printable
from hmaca_arch.restoring.folders import Found, real_path

CUSTOMARY = r'[_-]mask\d*'  # as LaMa, IOPaint and others name masks
SHOWN = 3  # names in a message


def normal(name: str) -> str:
    """Return a name without what systems and people write in different ways."""
    return unicodedata.normalize('NFC', unicodedata.normalize('NFC', name).casefold())


class Masks:
    """The masks in a folder.

    Args:
        folder: holds them. Its subfolders mirror those of the images, if it has any.
        images: the images that need masks. Some may lie in the same folder.
        suffix: what stands between an image's name and its mask's ending. None: nothing, or what
            is customary.

    Raises:
        ValueError: the folder holds no images.
        OSError: it, or a subfolder, cannot be listed.
    """

    def __init__(self, folder: Path, images: Iterable[Found], suffix: str | None = None) -> None:
        self.folder, self.suffix = folder, suffix
        self.images = {real_path(image.path) for image in images}
        self.by_place: dict[str, dict[str, list[Path]]] = {}
        self.used: dict[Path, Path] = {}  # the image of each mask
        for here, folders, names in os.walk(folder, onerror=_refuse):
            folders.sort()
            place = normal(Path(here).relative_to(folder).as_posix())
            for name in sorted(names):
                stem, ending = os.path.splitext(name)
                if ending.lower() in BY_ENDING and not name.startswith('.'):
                    stems = self.by_place.setdefault(place, {})
                    stems.setdefault(normal(stem), []).append(Path(here, name))
        if not self.by_place:
            raise ValueError(f'--mask: {folder.absolute()} holds no images')

    def of(self, image: Found) -> Path:
        """Return the mask of an image.

        Raises:
            ValueError: there is none, or several could be meant.
        """
        place = normal(image.below.as_posix())
        stems = self.by_place.get(place if place in self.by_place else '.', {})
        found = self._named(stems, normal(image.path.stem))
        # `a.png` and `A.png` may lie in one folder: the exact name goes first.
        exact = [path for path in found if path.stem == image.path.stem + (self.suffix or '')]
        found = exact or found
        if len(found) > 1:
            names = ', '.join(printable(path.name) for path in found)
            raise ValueError(f'several masks could be meant: {names}; --mask-suffix chooses')
        if not found:
            raise ValueError(f'no mask: {self.folder} has no {self._missing(stems, image)}')
        self.used[found[0]] = image.path
        return found[0]

    def _named(self, stems: dict[str, list[Path]], stem: str) -> list[Path]:
        """Return what could be meant: with the suffix; else of the same name, else customary."""
        if self.suffix:
            return stems.get(normal(stem + self.suffix), [])
        same = [path for path in stems.get(stem, []) if real_path(path) not in self.images]
        pattern = re.compile(re.escape(stem) + CUSTOMARY)
        customary = (paths for name, paths in stems.items() if pattern.fullmatch(name))
        return same or list(itertools.chain.from_iterable(customary))

    def _missing(self, stems: dict[str, list[Path]], image: Found) -> str:
        """Say which names were looked for, and which there are."""
        stem = image.path.stem
        wanted = [stem + self.suffix] if self.suffix else [stem, f'{stem}_mask']
        names = {name: paths[0].name for name, paths in stems.items()}
        closest = closest_to(normal(stem), names, SHOWN)
        there = [names[name] for name in closest or list(names)[:SHOWN]]
        more = ', ...' if len(names) > len(there) else ''
        known = f'{", ".join(there)}{more}' if there else 'nothing'
        return f'image named {" or ".join(wanted)}; there is {known}'

    def unused(self) -> list[Path]:
        """Return the masks that belong to no image."""
        every: list[Path] = []
        for stems in self.by_place.values():
            every += itertools.chain.from_iterable(stems.values())
        return [
            path for path in every if path not in self.used and real_path(path) not in self.images
        ]


def _refuse(error: OSError) -> NoReturn:
    raise error
