"""Test where the page keeps images, and what it refuses to keep."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from serving import INSIDE, colours, png

from hmaca_arch.page import uploads as module
from hmaca_arch.page.guard import Refused
from hmaca_arch.page.uploads import Uploads, clean_name


@pytest.fixture
def uploads(tmp_path):
    return Uploads(tmp_path)


def files(folder):
    return sorted(file.name for file in folder.rglob('*') if file.is_file())


@pytest.mark.parametrize(
    ('given', 'kept'),
    [
        ('photo.jpg', 'photo.jpg'),
        ('../../etc/passwd', 'passwd'),
        ('C:\\images\\a b.png', 'a b.png'),
        ('a\x1b[31m\nb.png', 'a\\x1b[31m\\nb.png'),
        ('a\u202egnp.exe', 'a\\u202egnp.exe'),
        ('..', '..'),
        ('/', 'image'),
        ('', 'image'),
        (None, 'image'),
        (f'{"a" * 5000}.png', f'{"a" * 90}.png'),
        ('größe.tif', 'größe.tif'),
    ],
)
def test_names(given, kept):
    assert clean_name(given) == kept


@pytest.mark.parametrize(
    ('name', 'download'),
    [
        ('photo.jpg', 'photo_restored.png'),
        ('a.b.tiff', 'a.b_restored.png'),
        ('..', 'image_restored.png'),
        ('.png', 'png_restored.png'),
        ('a:b?.png', 'a_b__restored.png'),
        ('a\nb.png', 'a_nb_restored.png'),
    ],
)
def test_names_of_downloads_follow_the_upload_and_fit_every_system(uploads, name, download):
    assert uploads.add('me', png(colours()), name).file_name('restored', '.png') == download


def test_names_never_become_paths(uploads, tmp_path):
    upload = uploads.add('me', png(colours()), '/etc/../passwd.png')
    assert files(tmp_path) == ['image'] and upload.path.is_relative_to(tmp_path)
    assert upload.name == 'passwd.png' and upload.folder.parent == tmp_path


def test_what_is_told_about_an_image(uploads):
    found = uploads.add('me', png(colours(40, 48, 4)), 'a.png').describe()
    assert (found['width'], found['height'], found['depth']) == (48, 40, 8)
    assert found['transparent'] and found['shown'] and not found['has_mask']
    assert found['names'] == {'restored': 'a_restored', 'mask': 'a_mask'}
    deep = np.zeros((5, 6), np.uint16)
    found = uploads.add('me', png(deep), 'deep.png').describe()
    assert (found['depth'], found['transparent']) == (16, False)


def saved(kind, **more):
    buffer = io.BytesIO()
    Image.fromarray(colours()).save(buffer, kind, **more)
    return buffer.getvalue()


def test_browsers_show_the_file_itself_only_where_they_read_it_as_we_do(uploads):
    exif = Image.Exif()
    exif[0x0112] = 3
    for data, shown in [
        (saved('JPEG'), True),
        (saved('WEBP'), True),
        (saved('TIFF'), False),
        (saved('JPEG', exif=exif), False),
        (saved('PNG', exif=exif), False),
    ]:
        assert uploads.add('me', data, 'a').shown is shown


def test_images_are_their_sessions(uploads):
    upload = uploads.add('me', png(colours()), 'a.png')
    assert uploads.get('me', upload.id) is upload
    for session, name in [('you', upload.id), ('me', 'other'), ('me', ''), ('me', '../a')]:
        with pytest.raises(Refused) as refusal:
            uploads.get(session, name)
        assert refusal.value.status == 404


@pytest.mark.parametrize('data', [b'no image', b'', png(colours())[:200]])
def test_what_is_no_image_is_named_and_not_kept(uploads, tmp_path, data):
    with pytest.raises(ValueError, match=r'^a\\nb\.png: cannot be read'):
        uploads.add('me', data, 'x/a\nb.png')
    assert not list(tmp_path.iterdir()) and not uploads.known


def test_a_raw_file_of_a_camera_is_told_by_its_name(uploads):
    with pytest.raises(ValueError, match=r'^DSC_1\.NEF: .* it is a raw file of a camera; develop'):
        uploads.add('me', b'II*\0' + bytes(64), 'DSC_1.NEF')


def claiming(width, height):
    """A PNG of a few bytes that claims to be large."""
    header = struct.pack('>IIBBBBB', width, height, 8, 0, 0, 0, 0)
    content = [(b'IHDR', header), (b'IDAT', zlib.compress(bytes(1000))), (b'IEND', b'')]
    chunks = [
        struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
        for kind, data in content
    ]
    return b'\x89PNG\r\n\x1a\n' + b''.join(chunks)


@pytest.mark.parametrize(
    'size', [(8_001, 10_000), (10_000, 10_000), (20_000, 20_000), (60_000, 60_000)]
)
@pytest.mark.filterwarnings('error')
def test_too_many_pixels_are_refused_before_they_are_decoded(uploads, size, monkeypatch):
    monkeypatch.setattr(module, 'image_of', lambda *given: pytest.fail('it was decoded'))
    with pytest.raises(ValueError, match=r'^a\.png: .* too many pixels; the page takes 80 mill'):
        uploads.add('me', claiming(*size), 'a.png')


def test_a_session_keeps_its_latest_images(uploads, tmp_path, monkeypatch):
    monkeypatch.setattr(module, 'MOST_BY_SESSION', 3)
    other = uploads.add('you', png(colours()), 'other.png')
    mine = [uploads.add('me', png(colours()), f'{number}.png') for number in range(5)]
    assert list(uploads.known.values()) == [other, *mine[2:]]
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize('limit', ['LARGEST_FOLDER', 'MOST_UPLOADS'])
def test_the_oldest_images_make_room_unless_a_job_needs_them(uploads, monkeypatch, limit):
    size = len(png(colours()))
    monkeypatch.setattr(module, limit, 2 if limit == 'MOST_UPLOADS' else 2 * size)
    first, second = (uploads.add(name, png(colours()), name) for name in 'ab')
    first.users = 1
    third = uploads.add('c', png(colours()), 'c')
    assert list(uploads.known.values()) == [first, third]
    assert first.path.exists() and not second.folder.exists()
    if limit == 'LARGEST_FOLDER':
        first.users = 0
        uploads.grow(third, 1)
        assert list(uploads.known.values()) == [third]


def test_further_files_lie_beside_the_image(uploads, tmp_path):
    upload = uploads.add('me', png(colours()), 'a.png', truth=b'truth', mask=png(INSIDE))
    assert files(tmp_path) == ['image', 'mask.png', 'truth.png']
    assert upload.describe()['has_mask']
    uploads.discard(upload)
    uploads.discard(upload)
    assert not files(tmp_path) and not uploads.known
