"""Test api/restore, with which programs restore an image in one request."""

import http.client
import io
import threading
import time

import cv2
import jpeglib
import numpy as np
import pytest
import torch
from PIL import Image
from serving import INSIDE, Served, Visitor, colours, form, pixels_of, png
from torch import nn

from hmaca_arch.inference import Restorer, load_restorer
from hmaca_arch.page import jobs

MASK = png(INSIDE)


class Waiting(nn.Module):
    """A network that waits until it is let go."""

    def __init__(self):
        super().__init__()
        self.go = threading.Event()

    def forward(self, x):
        assert self.go.wait(60)
        return torch.zeros_like(x)


@pytest.fixture
def network():
    return Waiting()


@pytest.fixture
def served(tmp_path, network):
    with Served(tmp_path, Restorer(network)) as page:
        yield page
        network.go.set()


@pytest.fixture
def visitor(served):
    return Visitor(served.address)


@pytest.fixture(scope='module')
def real(tmp_path_factory, tiny_checkpoint):
    """The page with a small network of random weights; and a restorer for what to expect."""
    restorer = load_restorer(tiny_checkpoint, 'cpu')
    with Served(tmp_path_factory.mktemp('real'), restorer) as page:
        yield Visitor(page.address), restorer


def expected(restorer, image, **more):
    return restorer.run(image, INSIDE, **more).image


def test_api_restores_an_image_in_one_request(real):
    visitor, restorer = real
    visitor = Visitor(visitor.address)
    visitor.cookie = ''
    answer = visitor.post(
        '/api/restore', image=('scan.png', png(colours())), mask=MASK, context=8, feather=1
    )
    assert answer.status == 200 and answer.headers['content-type'] == 'image/png'
    np.testing.assert_array_equal(
        pixels_of(answer.body), expected(restorer, colours(), context=8, feather=1)
    )
    assert 'scan_restored.png' in answer.headers['content-disposition']
    assert 'before saving, the largest change outside the mask is 0' in answer.notes


def test_api_reads_files_as_the_command_does(real):
    visitor, restorer = real
    exif = Image.Exif()
    for orientation, turns in ((3, 2), (6, 1), (8, 3)):
        exif[0x0112] = orientation
        buffer = io.BytesIO()
        Image.fromarray(np.rot90(colours(), turns)).save(buffer, 'TIFF', exif=exif)
        answer = visitor.post('/api/restore', image=buffer.getvalue(), mask=MASK)
        np.testing.assert_array_equal(pixels_of(answer.body), expected(restorer, colours()))
    deep = np.random.default_rng(0).integers(0, 65536, INSIDE.shape, dtype=np.uint16)
    answer = visitor.post('/api/restore', image=png(deep), mask=MASK, format='png')
    found = pixels_of(answer.body)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, expected(restorer, deep))


@pytest.mark.parametrize('orientation', [3, 6])
def test_api_restores_a_turned_jpeg_upright(real, orientation):
    visitor, _ = real
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    stored = np.rot90(colours(), 2 if orientation == 3 else 1)
    Image.fromarray(stored).save(buffer, 'JPEG', exif=exif, quality=95)
    answer = visitor.post('/api/restore', image=('photo.jpg', buffer.getvalue()), mask=MASK)
    turned = cv2.imdecode(np.frombuffer(buffer.getvalue(), np.uint8), 1)[..., ::-1]
    changed = (pixels_of(answer.body) != turned).any(axis=2)
    assert changed[INSIDE].any() and not changed[~INSIDE].any()


@pytest.mark.parametrize('orientation', [1, 6])
def test_a_jpeg_keeps_the_blocks_that_do_not_touch_the_region(real, orientation, tmp_path):
    visitor, restorer = real
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    stored = np.rot90(colours(), 1) if orientation == 6 else colours()
    Image.fromarray(stored).save(buffer, 'JPEG', exif=exif, quality=95, subsampling=0)
    data = buffer.getvalue()
    fields = {'mask': MASK, 'format': 'jpg', 'degradation': 'unknown'}
    answer = visitor.post('/api/restore', image=('photo.jpg', data), **fields)
    assert answer.headers['content-type'] == 'image/jpeg'
    files = tmp_path / 'before.jpg', tmp_path / 'after.jpg'
    for path, content in zip(files, (data, answer.body)):
        path.write_bytes(content)
    before, after = (jpeglib.read_dct(path) for path in files)
    inside = np.rot90(INSIDE, 1) if orientation == 6 else INSIDE
    rows, columns = (side // 8 for side in inside.shape)
    touched = inside.reshape(rows, 8, columns, 8).any(axis=(1, 3))
    for channel in ('Y', 'Cb', 'Cr'):
        same = (getattr(before, channel) == getattr(after, channel)).all(axis=(2, 3))
        assert same[~touched].all() and not same[touched].all()
    old, new = (cv2.imread(str(path))[..., ::-1] for path in files)  # turned by OpenCV
    meant = expected(restorer, old, degradation='unknown')
    apart = [np.abs(one[INSIDE] - meant[INSIDE].astype(float)).mean() for one in (old, new)]
    assert apart[1] < apart[0] / 3


def test_cmyk_and_other_formats_become_a_jpeg_as_a_whole(real):
    visitor, _ = real
    buffer = io.BytesIO()
    Image.fromarray(colours()).convert('CMYK').save(buffer, 'JPEG')
    for data in (buffer.getvalue(), png(colours())):
        answer = visitor.post('/api/restore', image=data, mask=MASK, format='jpg')
        assert answer.status == 200 and pixels_of(answer.body).shape == (40, 48, 3)


def test_api_refuses_a_mask_with_white_under_transparent_pixels(visitor):
    white = np.full((*INSIDE.shape, 4), 255, np.uint8)
    white[..., 3] *= INSIDE
    answer = visitor.post('/api/restore', image=png(colours()), mask=png(white))
    assert answer.status == 400 and 'has transparent pixels' in answer.detail


@pytest.mark.parametrize(
    ('fields', 'said'),
    [
        ({'mask': MASK}, "no file 'image'"),
        ({'image': png(colours())}, "no file 'mask'"),
        ({'image': b'text', 'mask': MASK}, 'image.png: cannot be read'),
        ({'image': png(colours()), 'mask': png(0 * INSIDE)}, 'nothing is painted'),
        ({'image': png(colours()), 'mask': MASK, 'format': 'bmp'}, "format is 'bmp'"),
        ({'image': png(colours()), 'mask': MASK, 'degradation': 'x'}, "got 'x'"),
    ],
)
def test_api_names_mistakes(visitor, served, fields, said):
    answer = visitor.post('/api/restore', **fields)
    assert answer.status == 400 and said in answer.detail
    assert not served.routes.uploads.known


def test_api_leaves_nothing_and_a_client_that_goes_ends_its_job(served, network, tmp_path):
    body, kind = form({'image': png(colours()), 'mask': MASK})
    connection = http.client.HTTPConnection(served.address, timeout=600)
    connection.request('POST', '/api/restore', body, {'Content-Type': kind})
    known = served.routes.queue.known
    until = time.monotonic() + 600
    while not any(job.state == 'running' for job in known.values()):
        assert time.monotonic() < until
        time.sleep(0.02)
    connection.close()
    (job,) = known.values()
    while not job.stop.is_set():
        assert time.monotonic() < until
        time.sleep(0.02)
    network.go.set()
    while not job.ended or list(tmp_path.iterdir()):
        assert time.monotonic() < until
        time.sleep(0.02)
    assert job.state == 'cancelled' and not served.routes.uploads.known


def test_api_when_the_queue_is_full(served, network, monkeypatch):
    monkeypatch.setattr(jobs, 'MOST_WAITING', 1)
    visitor = Visitor(served.address)
    image = visitor.open(png(colours()))
    first = visitor.start(image, MASK)
    while visitor.ask('GET', f'/api/jobs/{first["id"]}').json['state'] != 'running':
        time.sleep(0.02)
    visitor.start(image, MASK)
    answer = visitor.post('/api/restore', image=png(colours()), mask=MASK)
    assert answer.status == 503 and 'too many restorations are waiting' in answer.detail
    assert len(served.routes.uploads.known) == 1
