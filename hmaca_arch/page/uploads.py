"""The images that sessions of the page upload, kept in a folder; each is its session's alone."""

import contextlib
import os
import re
import secrets
import shutil
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

from hmaca_arch.files.image_files import image_of
from hmaca_arch.files.images import StoredImage
from hmaca_arch.files.opening import UNLIMITED, open_image
from hmaca_arch.files.reading import read_file
from hmaca_arch.messages import one_line, printable
from hmaca_arch.page.guard import Refused

LARGEST_UPLOAD = 64 << 20  # bytes of one request
MOST_PIXELS = 80_000_000  # of one image; Pillow warns from 89 million on
LARGEST_FOLDER = 1 << 30  # bytes of all sessions' files; the oldest images are deleted
MOST_UPLOADS = 500
MOST_BY_SESSION = 12  # images
SHOWN_BY_BROWSERS = ('JPEG', 'MPO', 'PNG', 'WEBP', 'GIF', 'BMP', 'AVIF')


@dataclass(eq=False)
class Upload:
    """An image of a session.

    Attributes:
        session: whose image it is.
        name: the file's name as the client gave it, in one printable line.
        folder: holds all files of this image.
        size: bytes of these files.
        height: in pixels, upright.
        width: in pixels, upright.
        depth: 8 or 16 bits.
        transparent: whether it has an alpha channel.
        shown: whether browsers show the file itself as we read it. Otherwise they need a preview.
        notes: what is not as in the file, a sentence each.
        id: its name in requests, which cannot be guessed.
        users: jobs that still need the files.
    """

    session: str
    name: str
    folder: Path
    size: int = 0
    height: int = 0
    width: int = 0
    depth: int = 8
    transparent: bool = False
    shown: bool = False
    notes: list[str] = field(default_factory=list)
    id: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    users: int = 0

    @property
    def path(self) -> Path:
        """The file as it was uploaded."""
        return self.folder / 'image'

    @property
    def truth(self) -> Path:
        """Of an example: the image before it was degraded."""
        return self.folder / 'truth.png'

    @property
    def mask(self) -> Path:
        """Of an example: the mask of the degraded region."""
        return self.folder / 'mask.png'

    def file_name(self, what: str, ending: str) -> str:
        """Return a name for a download that follows the upload's, such as photo_restored.png."""
        stem = re.sub(r'[\\/:*?"<>|]', '_', Path(self.name).stem).strip('. ')
        return f'{stem or "image"}_{what}{ending}'

    def read(self) -> StoredImage:
        """Read the image as `basicsr restore` does.

        Raises:
            ValueError: it cannot be read; in one line that starts with its name.
        """
        try:
            # With the upload's name: its ending tells raw files of cameras from TIFF.
            return image_of(read_file(self.path), self.name, MOST_PIXELS)
        except ValueError as error:
            raise ValueError(one_line(error).replace(str(self.path), self.name)) from None

    def describe(self) -> dict:
        """Describe the image for the page."""
        return {
            'id': self.id,
            'name': self.name,
            'width': self.width,
            'height': self.height,
            'depth': self.depth,
            'transparent': self.transparent,
            'shown': self.shown,
            'has_mask': self.mask.exists(),
            'names': {what: self.file_name(what, '') for what in ('restored', 'mask')},
            'notes': self.notes,
        }


def clean_name(name: str | None) -> str:
    """Return a file's name, without folders, as one printable line of at most 100 characters."""
    last = re.split(r'[\\/]', name or '')[-1].strip()
    stem, ending = os.path.splitext(printable(last))
    return f'{stem[:90]}{ending[:10]}' or 'image'


def check_pixels(data: bytes, name: str) -> None:
    """Compare the size that a file claims with MOST_PIXELS, before anything is decoded.

    Raises:
        ValueError: the image is too large, in one line that starts with its name.
    """
    try:
        with open_image(data, name, max_pixels=UNLIMITED) as image:
            width, height = image.size
    except Exception:  # decoders raise almost anything; reading it in earnest says what is wrong
        return
    if width * height > MOST_PIXELS:
        raise ValueError(
            f'{name}: {width}x{height} has too many pixels; '
            f'the page takes {MOST_PIXELS // 10**6} million at most. Use `basicsr restore`'
        )


class Uploads:
    """All images of all sessions.

    Args:
        folder: where they are kept. Whoever makes it removes it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.lock = folder, threading.Lock()
        self.known: OrderedDict[str, Upload] = OrderedDict()

    def add(self, session: str, data: bytes, name: str | None, **more: bytes) -> Upload:
        """Keep an image, and delete the oldest ones if there are too many.

        Args:
            session: whose image it is.
            data: the file's content.
            name: the file's name as the client gave it. It names no file here.
            more: contents of further files of the image: truth, mask.

        Raises:
            ValueError: it cannot be read, or is too large; in one line that starts with its name.
        """
        name = clean_name(name)
        check_pixels(data, name)
        upload = Upload(session, name, Path(self.folder, secrets.token_hex(12)))
        upload.folder.mkdir()
        try:
            upload.path.write_bytes(data)
            for what, content in more.items():
                getattr(upload, what).write_bytes(content)
            image = upload.read()
        except BaseException:
            shutil.rmtree(upload.folder, ignore_errors=True)
            raise
        upload.size = len(data) + sum(map(len, more.values()))
        upload.height, upload.width, channels = image.pixels.shape
        upload.depth = 8 * image.pixels.itemsize
        upload.transparent = channels in (2, 4)
        upload.shown = image.format in SHOWN_BY_BROWSERS and not image.turned
        upload.notes = image.notes
        with self.lock:
            self.known[upload.id] = upload
            self._make_room(session)
        return upload

    def get(self, session: str, name: str) -> Upload:
        """Return a session's image.

        Raises:
            Refused: there is no such image, or it is another session's.
        """
        upload = self.known.get(name)
        if upload is None or upload.session != session:
            raise Refused(404, 'this session has no such image; it may have been deleted: open it')
        return upload

    def grow(self, upload: Upload, by: int) -> None:
        """Note that an image's folder got so many more bytes."""
        with self.lock:
            upload.size += by
            self._make_room(upload.session)

    def discard(self, upload: Upload) -> None:
        """Delete an image and its files."""
        with self.lock:
            self._delete(upload)

    def _delete(self, upload: Upload) -> None:
        if self.known.pop(upload.id, None) is not None:
            with contextlib.suppress(OSError):
                shutil.rmtree(upload.folder)

    def _make_room(self, session: str) -> None:
        """Delete the oldest images that no job needs, first of this session, then of all."""
        own = [upload for upload in self.known.values() if upload.session == session]
        idle = [upload for upload in own if not upload.users]
        for upload in idle[: max(0, len(own) - MOST_BY_SESSION)]:
            self._delete(upload)
        for upload in [upload for upload in self.known.values() if not upload.users]:
            total = sum(other.size for other in self.known.values())
            if total <= LARGEST_FOLDER and len(self.known) <= MOST_UPLOADS:
                break
            if len(self.known) > 1:
                self._delete(upload)
