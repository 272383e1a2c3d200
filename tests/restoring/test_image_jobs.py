"""What the report says about a file that was written."""

import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hmaca_arch.files import on_disk, verifying
from hmaca_arch.files.image_files import write_image
from hmaca_arch.files.images import StoredImage
from hmaca_arch.restoring import image_jobs
from hmaca_arch.restoring.image_jobs import restore_file
from hmaca_arch.restoring.mask_sources import MaskSource
from hmaca_arch.restoring.patches import Patch
from hmaca_arch.restoring.planning import Job, Request
from hmaca_arch.restoring.regions import Box, Region
from hmaca_arch.restoring.storing import Stored, _said_of_encoding


def request(**options) -> Request:
    masks = options.pop('masks', MaskSource())
    return Request([Path('in')], Path('out'), masks, **options)


def test_the_entry_of_a_file():
    job = Job(Path('in/a.png'), Path('m.png'), Path('out/a.png'))
    regions = [Region(Box(1, 2, 3, 4), Box(0, 0, 9, 9))] * 2
    entry = image_jobs._entry('done', job, regions, 1.23456, Stored(3, []), True, ['a note'])
    assert entry == {
        'file': str(job.image),
        'status': 'done',
        'mask': 'm.png',
        'output': str(job.output),
        'regions': 2,
        'boxes': [[1, 2, 3, 4]] * 2,
        'seconds': 1.235,
        'max_change_outside': 3,
        'verified': True,
        'notes': ['a note'],
    }
    stored = Stored(0, [], [(0, 0, 8, 8)])
    entry = image_jobs._entry('done', job._replace(mask=None), [], 0.0, stored, False, [])
    assert entry['mask'] is None and entry['may_change'] == [(0, 0, 8, 8)]


def test_a_copy_is_the_same_bytes_and_existing_files_stay(tmp_path):
    job = Job(tmp_path / 'a.png', None, tmp_path / 'new' / 'folder' / 'a.png', copied=True)
    job.image.write_bytes(b'no image')
    entry = restore_file(job, None, request(), print)
    assert job.output.read_bytes() == b'no image' and entry['verified'] is True
    assert (entry['status'], entry['regions'], entry['seconds']) == ('copied', 0, 0.0)
    assert entry['notes'] == ['it has no mask', 'copied as it is']
    assert entry['max_change_outside'] == 0 and 'may_change' not in entry
    with pytest.raises(ValueError) as caught:
        restore_file(job, None, request(), print)
    assert str(caught.value) == f'{job.output} exists; --overwrite replaces it'
    assert restore_file(job, None, request(overwrite=True), print)['status'] == 'copied'


@pytest.mark.parametrize('writeable', [True, False])
@pytest.mark.parametrize(
    ('kind', 'boxes', 'opaque'), [('alpha', (), 1), ('gray', (), 0), ('alpha', ((0, 0, 1, 1),), 0)]
)
def test_restored_pixels_take_their_place(writeable, kind, boxes, opaque):
    pixels = np.full((6, 7, 4), 9, np.uint16)
    pixels.flags.writeable = writeable
    mask = np.zeros((6, 7), np.uint8)
    mask[2, 3] = 1
    done = Patch(Box(2, 3, 4, 5), np.full((2, 2, 4), 50, np.uint16), [], [])
    image = StoredImage(pixels, None, None, [])
    job = Job(Path('a.png'), None, Path('b.png'))
    asked = request(masks=MaskSource(kind, boxes))
    found = image_jobs._restored(job, asked, image, done, mask).pixels
    assert (found is pixels) == writeable
    assert found[2, 3].tolist() == [50, 50, 50, 65535 if opaque else 50]
    assert found[3, 4].tolist() == [50] * 4 and (found[:2] == 9).all() and (found[4:] == 9).all()
    with_mask = job._replace(mask=Path('m.png'))
    image = StoredImage(np.full((6, 7, 4), 9, np.uint16), None, None, [])
    assert image_jobs._restored(with_mask, asked, image, done, mask).pixels[2, 3, 3] == 50


def test_large_pixels_are_not_in_memory_while_others_are_read_back(tmp_path, monkeypatch):
    pixels, mask = np.full((6, 7, 3), 9, np.uint16), np.zeros((6, 7), np.uint8)
    mask[2, 3] = 255
    job = Job(*(tmp_path / f'{name}.png' for name in ('in', 'mask', 'out')))
    write_image(job.image, StoredImage(pixels, None, None, []))
    Image.fromarray(mask).save(job.mask)
    seen, reads, proves = [], image_jobs.read_image, image_jobs.verify

    def read(*arguments):
        image = reads(*arguments)
        seen.append(weakref.ref(image.pixels))
        return image

    def verify(*arguments):
        seen.append(seen[0]() is None)
        return proves(*arguments)

    class Restorer:
        """Makes one pixel darker."""

        def patch(self, given, *_, **settings):
            done = given[2:3, 3:4] // 2
            return Patch(Box(2, 3, 3, 4), done, [Region(Box(2, 3, 3, 4), Box(0, 0, 6, 7))], [])

    for module in (verifying, on_disk):
        monkeypatch.setattr(module, 'LARGE', 1)
    monkeypatch.setattr(image_jobs, 'read_image', read)
    monkeypatch.setattr(image_jobs, 'verify', verify)
    settings = {'context': 2}
    asked = request(verify=True, settings=settings)
    assert restore_file(job, Restorer(), asked, print)['verified'] is True
    assert seen[1:] == [True]
    pixels[2, 3] = 4
    assert np.array_equal(reads(job.output, 99).pixels, pixels)


def test_a_gif_gets_colours_that_fit(monkeypatch):
    asked = []
    monkeypatch.setattr(image_jobs, 'fit_colours', lambda *given: asked.append(given) or 'fitted')
    image = StoredImage(np.zeros((6, 7, 3), np.uint8), None, None, [])
    done = Patch(Box(2, 3, 4, 5), np.full((2, 2, 3), 50, np.uint8), [], [])
    mask = np.zeros((6, 7), np.uint8)
    for name, fitted in (('b.GIF', True), ('b.png', False)):
        job = Job(Path('a.gif'), Path('m.png'), Path(name))
        found = image_jobs._restored(job, request(), image, done, mask).pixels
        assert (isinstance(found, str), len(asked)) == (fitted, 1)
    assert asked[0][0] is image.pixels and asked[0][1] is mask


@pytest.mark.parametrize(('kind', 'quality'), [('JPEG', 80), ('PNG', None)])
def test_what_is_measured_is_told_the_quality_of_the_file(tmp_path, kind, quality):
    job = Job(tmp_path / 'a.x', tmp_path / 'm.png', tmp_path / 'out' / 'a.png')
    Image.new('RGB', (16, 24), (90, 90, 90)).save(job.image, kind, quality=80)
    Image.new('L', (16, 24), 255).save(job.mask)
    asked = []

    class Restorer:
        def patch(self, pixels, mask, degradation, progress, jpeg, **settings):
            asked.append((mask.dtype, degradation, progress, jpeg, settings))
            return Patch(
                Box(0, 0, 24, 16), pixels + 1, [Region(Box(0, 0, 24, 16), Box(0, 0, 24, 16))], []
            )

    given = request(degradation='blur:2', settings={'context': 7})
    entry = restore_file(job, Restorer(), given, print)
    assert asked == [(np.dtype(bool), 'blur:2', print, quality, {'context': 7})]
    assert (entry['status'], entry['regions'], entry['max_change_outside']) == ('done', 1, 0)


def test_the_cost_of_an_encoding():
    pixels = np.full((4, 3), 100, np.uint8)
    assert 'is infinitely many dB (PSNR)' in _said_of_encoding('a.jpg', pixels, pixels)
    said = _said_of_encoding('a.jpg', pixels + np.uint8(1), pixels)
    assert said.startswith('inside, a.jpg is 48.1 dB (PSNR) from what was restored')
