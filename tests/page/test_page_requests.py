"""Test what the page is asked over HTTP: images, masks, restorations, files, and api/restore."""

import gzip
import importlib.util
import io
import re
import threading
import time

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageCms
from serving import INSIDE, Served, Visitor, colours, pixels_of, png
from skimage import data
from torch import nn

from hmaca_arch.degradation import pixels
from hmaca_arch.inference import CONTEXT, Restorer, load_restorer
from hmaca_arch.page import examples, routes
from hmaca_arch.restoring.image_jobs import restore_file
from hmaca_arch.restoring.mask_sources import MaskSource
from hmaca_arch.restoring.planning import Request, make_plan

MASK = png(INSIDE)


class Black(nn.Module):
    """A network that makes everything black, once it is let go."""

    def __init__(self):
        super().__init__()
        self.go = threading.Event()
        self.go.set()

    def forward(self, x):
        assert self.go.wait(60)
        return torch.zeros_like(x)


@pytest.fixture
def network():
    return Black()


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


def expected(restorer, image, mask=INSIDE, **more):
    return restorer.run(image, mask, **more).image


def test_the_page_begins_with_the_default_context():
    page = (routes.STATIC / 'index.html').read_text(encoding='utf-8')
    assert f'<input id="context" type="number" min="0" max="512" value="{CONTEXT}"' in page


def test_an_image_is_opened_painted_restored_and_saved(real):
    visitor, restorer = real
    image = visitor.open(png(colours()), 'my photo.png')
    assert (image['name'], image['width'], image['height']) == ('my photo.png', 48, 40)
    job = visitor.finish(visitor.start(image, MASK, context=8, feather=2))
    assert job['state'] == 'done' and (job['done'], job['total']) == (1, 1)
    assert job['box'] == [10, 8, 22, 30] and job['regions'] == 1
    assert 'before saving, the largest change outside the mask is 0' in job['notes']
    wanted = expected(restorer, colours(), context=8, feather=2)
    file = visitor.ask('GET', f'/api/jobs/{job["id"]}/image')
    np.testing.assert_array_equal(pixels_of(file.body), wanted)
    assert (wanted != colours())[INSIDE].any()
    assert file.headers['content-type'] == 'image/png'
    assert 'filename="my_photo_restored.png"' in file.headers['content-disposition']
    assert "UTF-8''my%20photo_restored.png" in file.headers['content-disposition']
    patch = pixels_of(visitor.ask('GET', f'/api/jobs/{job["id"]}/patch').body)
    np.testing.assert_array_equal(patch[..., 3] > 0, INSIDE[10:22, 8:30])
    np.testing.assert_array_equal(patch[..., :3], wanted[10:22, 8:30])


@pytest.mark.parametrize('kind', ['png', 'tif', 'webp', 'jpg'])
def test_formats_of_the_result(real, kind):
    visitor, restorer = real
    job = visitor.finish(visitor.start(visitor.open(png(colours())), MASK))
    file = visitor.ask('GET', f'/api/jobs/{job["id"]}/image?format={kind}')
    found, wanted = pixels_of(file.body), expected(restorer, colours())
    assert f'photo_restored.{kind}' in file.headers['content-disposition']
    if kind == 'jpg':
        assert np.abs(found.astype(int) - wanted).mean() < 8
    else:
        np.testing.assert_array_equal(found, wanted)


def jpeg(image, mode='RGB', **options):
    buffer = io.BytesIO()
    Image.fromarray(image).convert(mode).save(buffer, 'JPEG', quality=95, **options)
    return buffer.getvalue()


def test_a_jpeg_that_stays_one_comes_with_the_notes_of_the_command(real, tmp_path):
    visitor, restorer = real
    source = jpeg(colours(), subsampling='4:2:2')
    (tmp_path / 'photo.jpg').write_bytes(source)
    (tmp_path / 'mask.png').write_bytes(MASK)
    output = tmp_path / 'photo_restored.jpg'
    request = Request(
        [tmp_path / 'photo.jpg'],
        output,
        MaskSource(),
        tmp_path / 'mask.png',
        settings={'context': CONTEXT, 'feather': 0},
    )
    by_command = restore_file(make_plan(request).jobs[0], restorer, request, lambda *_: None)
    job = visitor.finish(visitor.start(visitor.open(source, 'photo.jpg'), MASK))
    assert 'before saving, the largest change outside the mask is 0' in job['notes']
    file = visitor.ask('GET', f'/api/jobs/{job["id"]}/image?format=jpg')
    assert file.body == output.read_bytes()
    blocks, loss = file.notes
    assert [blocks, loss] == by_command['notes'][-2:]
    # Rows 10 to 21 are in two rows of blocks. Columns 8 to 29 are in three of four luma blocks'
    # columns, and in two of chroma, which have 16 pixels and reach one further on each side.
    assert blocks == (
        '14 of 60 JPEG blocks were encoded again, all others are as they were; '
        f'pixels may change in 0,8,33,16 (x,y,w,h), {33 * 16 - 22 * 12} of them outside the mask'
    )
    before, after = pixels_of(source), pixels_of(file.body)
    changed = (before != after).any(axis=2)
    assert changed[~INSIDE].any() and not changed[:8].any() and not changed[24:].any()
    assert not changed[:, 33:].any()
    words = r'inside, photo_restored\.jpg is \d\d\.\d dB \(PSNR\) from what was restored'
    assert re.match(words, loss)
    again = visitor.post('/api/restore', image=('photo.jpg', source), mask=MASK, format='jpg')
    assert again.notes == [*job['notes'], blocks, loss]


def test_files_that_are_encoded_as_a_whole_say_so(real):
    visitor, _ = real
    said = 'a_restored.jpg is stored with loss: pixels outside the mask change as well'
    again = 'it is CMYK, so that as JPEG all of it is compressed again'
    for source, notes in ((png(colours()), [said]), (jpeg(colours(), 'CMYK'), [again, said])):
        job = visitor.finish(visitor.start(visitor.open(source, 'a.png'), MASK))
        file = visitor.ask('GET', f'/api/jobs/{job["id"]}/image?format=jpg')
        assert file.notes == notes
        for kind in ('png', 'tif', 'webp'):
            assert visitor.ask('GET', f'/api/jobs/{job["id"]}/image?format={kind}').notes == []
        answer = visitor.post('/api/restore', image=('a.png', source), mask=MASK, format='jpg')
        assert answer.notes == [*job['notes'], *notes]


def test_what_a_format_does_not_keep_is_said(real):
    visitor, _ = real
    buffer = io.BytesIO()
    Image.fromarray(colours()).save(buffer, 'PNG', dpi=(300, 300))
    job = visitor.finish(visitor.start(visitor.open(buffer.getvalue()), MASK))
    file = visitor.ask('GET', f'/api/jobs/{job["id"]}/image?format=webp')
    assert file.notes == ['not kept in photo_restored.webp: resolution']


def test_a_tiff_keeps_its_other_strips_and_tags(real):
    visitor, restorer = real
    buffer = io.BytesIO()
    options = {'compression': 'zlib', 'rowsperstrip': 4, 'metadata': None, 'software': 'a scanner'}
    tifffile.imwrite(buffer, colours(), photometric='rgb', **options)
    job = visitor.finish(visitor.start(visitor.open(buffer.getvalue()), MASK))
    file = visitor.ask('GET', f'/api/jobs/{job["id"]}/image?format=tif')
    with (
        tifffile.TiffFile(io.BytesIO(file.body)) as found,
        tifffile.TiffFile(io.BytesIO(buffer.getvalue())) as source,
    ):
        np.testing.assert_array_equal(found.asarray(), expected(restorer, colours()))
        starts = [one.pages.first.dataoffsets for one in (found, source)]
        same = [a == b for a, b in zip(*starts, strict=True)]
        assert same == [not INSIDE[top : top + 4].any() for top in range(0, len(INSIDE), 4)]
        assert found.pages.first.software == 'a scanner'


def test_a_format_that_cannot_be_written_is_named(real):
    visitor, _ = real
    job = visitor.finish(visitor.start(visitor.open(png(colours())), MASK))
    answer = visitor.ask('GET', f'/api/jobs/{job["id"]}/image?format=exe')
    assert answer.status == 400 and "format is 'exe'; expected png" in answer.detail
    deep = np.repeat(colours().astype(np.uint16)[..., :1], 3, axis=2) * 257
    job = visitor.finish(visitor.start(visitor.open(png(deep)), MASK))
    answer = visitor.ask('GET', f'/api/jobs/{job["id"]}/image?format=jpg')
    assert answer.status == 400 and answer.detail.startswith('photo_restored.jpg: 16 bits')


def test_depth_profile_and_metadata_are_kept(real):
    visitor, restorer = real
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
    exif = Image.Exif()
    exif[0x0112], exif[0x013B] = 6, 'someone'
    buffer = io.BytesIO()
    stored = np.rot90(colours())
    Image.fromarray(stored).save(buffer, 'PNG', exif=exif, icc_profile=profile, dpi=(300, 300))
    image = visitor.open(buffer.getvalue())
    assert (image['width'], image['height'], image['shown']) == (48, 40, False)
    preview = visitor.ask('GET', f'/api/images/{image["id"]}/preview')
    np.testing.assert_array_equal(pixels_of(preview.body), colours())
    job = visitor.finish(visitor.start(image, MASK))
    with Image.open(io.BytesIO(visitor.ask('GET', f'/api/jobs/{job["id"]}/image').body)) as found:
        np.testing.assert_array_equal(np.asarray(found), expected(restorer, colours()))
        assert found.info['icc_profile'] == profile
        assert round(found.info['dpi'][0]) == 300
        assert (found.getexif()[0x0112], found.getexif()[0x013B]) == (1, 'someone')
    deep = np.random.default_rng(0).integers(0, 65536, INSIDE.shape, dtype=np.uint16)
    image = visitor.open(png(deep))
    assert image['depth'] == 16
    preview = pixels_of(visitor.ask('GET', f'/api/images/{image["id"]}/preview').body)
    np.testing.assert_array_equal(preview, np.rint(deep / 257).astype(np.uint8))
    job = visitor.finish(visitor.start(image, MASK))
    found = pixels_of(visitor.ask('GET', f'/api/jobs/{job["id"]}/image').body)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, expected(restorer, deep))


def test_transparent_images_keep_their_alpha(real):
    visitor, restorer = real
    given = colours(40, 48, 4)
    job = visitor.finish(visitor.start(visitor.open(png(given)), MASK))
    found = pixels_of(visitor.ask('GET', f'/api/jobs/{job["id"]}/image').body)
    np.testing.assert_array_equal(found, expected(restorer, given))
    np.testing.assert_array_equal(found[..., 3], given[..., 3])
    patch = pixels_of(visitor.ask('GET', f'/api/jobs/{job["id"]}/patch').body)
    np.testing.assert_array_equal(patch[..., 3], np.where(INSIDE, given[..., 3], 0)[10:22, 8:30])


def test_masks_are_read_as_the_command_reads_them(visitor):
    image = visitor.open(png(colours()))
    path = f'/api/images/{image["id"]}/mask'
    answer = visitor.post(path, mask=('a.png', png(INSIDE.astype(np.uint8))))
    assert answer.status == 200 and '1 is taken for white' in answer.notes[0]
    found = np.frombuffer(gzip.decompress(answer.body), np.uint8)
    np.testing.assert_array_equal(found.reshape(INSIDE.shape), INSIDE)
    mostly = np.ones(INSIDE.shape, bool)
    mostly[:2] = False
    answer = visitor.post(path, mask=('a.png', png(mostly)))
    assert answer.notes == ['95% of the mask is white, which is restored; if black is, invert it']
    white = np.full((*INSIDE.shape, 4), 255, np.uint8)
    white[..., 3] *= INSIDE
    for mask, said in [
        (png(white), 'cut.png: has transparent pixels'),
        (png(colours()), 'cut.png: a mask must be black and white'),
        (png(INSIDE[:-1]), 'the mask has 48x39 pixels, the image 48x40; expected equal sizes'),
        (b'text', 'cut.png: cannot be read'),
    ]:
        answer = visitor.post(path, mask=('cut.png', mask))
        assert answer.status == 400 and said in answer.detail
        answer = visitor.post(f'/api/images/{image["id"]}/jobs', mask=mask)
        assert answer.status == 400 and said.removeprefix('cut.png: ') in answer.detail


@pytest.mark.parametrize(
    ('fields', 'said'),
    [
        ({}, "the request has no file 'mask'"),
        ({'mask': 'text'}, "the request has no file 'mask'"),
        ({'mask': png(0 * INSIDE)}, 'nothing is painted'),
        ({'mask': MASK, 'degradation': 'fog'}, "degradation: got 'fog', expected"),
        (
            {'mask': MASK, 'degradation': 'kernel:k.png'},
            "degradation: got 'kernel:k.png', expected",
        ),
        ({'mask': MASK, 'context': '-1'}, "context is '-1'; expected a whole number from 0 to"),
        ({'mask': MASK, 'feather': '1.5'}, "feather is '1.5'"),
        ({'mask': MASK, 'context': '9' * 1000}, "context is '99999999999999999999'; expected"),
    ],
)
def test_mistakes_are_told_in_a_line(visitor, fields, said):
    image = visitor.open(png(colours()))
    answer = visitor.post(f'/api/images/{image["id"]}/jobs', **fields)
    assert answer.status == 400 and said in answer.detail and '\n' not in answer.detail


def test_a_file_that_is_no_image(visitor, tmp_path):
    for name, said in [('a.txt', 'a.txt: cannot be read'), ('a\x1b[2J.txt', 'a\\x1b[2J.txt: ')]:
        answer = visitor.post('/api/images', image=(name, b'no image'))
        assert answer.status == 400 and answer.detail.startswith(said)
        assert str(tmp_path) not in answer.detail
    read = ', '.join(visitor.ask('GET', '/api/about').json['formats'])
    assert 'AVIF' in read
    answer = visitor.post('/api/images', image=('a.txt', b'no image'))
    assert answer.detail == f'a.txt: cannot be read as an image: its content is none of {read}'
    answer = visitor.post('/api/images')
    assert answer.status == 400 and "no file 'image'" in answer.detail
    answer = visitor.ask('POST', '/api/images', b'{}', Content_Type='application/json')
    assert answer.status == 400 and "no file 'image'" in answer.detail
    answer = visitor.ask('POST', '/api/images', b'--', Content_Type='multipart/form-data')
    assert answer.status == 400


def test_progress_place_in_the_queue_and_cancelling(served, network):
    network.go.clear()
    first, second = Visitor(served.address), Visitor(served.address)
    image = first.open(png(colours(400, 48, 3)))
    mask = np.zeros((400, 48), bool)
    mask[10:20, 10:20] = mask[200:210, 10:20] = mask[350:360, 10:20] = True
    running = first.start(image, png(mask), context=4)
    waiting = second.start(second.open(png(colours())), MASK)
    while running['total'] == 0:
        time.sleep(0.02)
        running = first.ask('GET', f'/api/jobs/{running["id"]}').json
    assert (running['state'], running['done'], running['total']) == ('running', 0, 3)
    assert waiting['state'] == 'waiting' and waiting['before'] == 1
    assert second.ask('GET', '/api/about').status == 200  # nothing else waits
    path = f'/api/jobs/{running["id"]}'
    assert first.ask('GET', f'{path}/image').status == 409
    assert first.ask('DELETE', path).status == 200
    network.go.set()
    assert first.finish(running)['state'] == 'cancelled'
    answer = first.ask('GET', f'{path}/patch')
    assert answer.status == 409 and 'is cancelled; it has no result' in answer.detail
    assert second.finish(waiting)['state'] == 'done'
    assert first.finish(first.start(image, png(mask), context=4))['state'] == 'done'


def test_a_session_sees_only_what_is_its_own(visitor, served):
    image = visitor.open(png(colours()))
    job = visitor.finish(visitor.start(image, MASK))
    other, nobody = Visitor(served.address), Visitor(served.address)
    nobody.cookie = ''
    own, done = f'/api/images/{image["id"]}', f'/api/jobs/{job["id"]}'
    asked = [
        ('GET', f'{own}/file', 200),
        ('GET', f'{own}/preview', 200),
        ('POST', f'{own}/mask', 400),
        ('POST', f'{own}/jobs', 400),
        ('GET', done, 200),
        ('GET', f'{done}/patch', 200),
        ('GET', f'{done}/image', 200),
        ('POST', f'{done}/keep', 201),
        ('DELETE', done, 200),
    ]
    for method, path, status in asked:
        more = {'Content_Type': 'multipart/form-data; boundary=x'} if status == 400 else {}
        body = b'--x--\r\n' if status == 400 else None
        assert other.ask(method, path, body, **more).status == 404, path
        assert nobody.ask(method, path, body, **more).status == 403, path
        assert visitor.ask(method, path, body, **more).status == status, path
    for path in ('/api/images', '/api/examples'):
        assert nobody.post(path, image=png(colours())).status == 403
    forged = Visitor(served.address)
    forged.cookie = f'basicsr_demo_{served.port}={"0" * 64}'
    assert forged.ask('GET', done).status == 403


@pytest.mark.parametrize(
    'path',
    [
        '/etc/passwd',
        '/static/../../guard.py',
        '/static/%2e%2e/guard.py',
        '/static/..%2fguard.py',
        '/static//etc/passwd',
        '/static/',
        '/static',
        '/api/images/..%2f..%2fetc%2fpasswd/file',
        '/api/images/%2fetc%2fpasswd/file',
        '/api/jobs/../../etc/passwd',
        '/api/images//file',
        '/docs',
        '/openapi.json',
        '/api/examples/..%2fa.jpg',
    ],
)
def test_there_is_nothing_else(visitor, path):
    assert visitor.ask('GET', path).status in (400, 404)
    assert visitor.ask('POST', path, b'').status in (404, 405)


def test_what_is_served_is_named_in_the_page(visitor):
    page = visitor.ask('GET', '/').body.decode()
    for name, kind in [('app.js', 'javascript'), ('style.css', 'css'), ('icon.svg', 'svg')]:
        answer = visitor.ask('GET', f'/static/{name}')
        assert answer.status == 200 and kind in answer.headers['content-type']
        assert f'static/{name}' in page
    assert 'http://' not in page.replace('http://www.w3.org/', '') and 'https://' not in page


def test_a_result_becomes_the_image(visitor):
    image = visitor.open(png(colours()))
    job = visitor.finish(visitor.start(image, MASK))
    kept = visitor.ask('POST', f'/api/jobs/{job["id"]}/keep').json
    assert kept['name'] == 'photo_restored.png' and kept['id'] != image['id']
    found = pixels_of(visitor.ask('GET', f'/api/images/{kept["id"]}/file').body)
    np.testing.assert_array_equal(found, np.where(INSIDE[..., None], 0, colours()))


def test_examples_are_degraded_and_compared(real):
    visitor, _ = real
    about = visitor.ask('GET', '/api/about').json
    heic = importlib.util.find_spec('pillow_heif') is not None
    assert about['formats'][:2] == ['PNG', 'JPEG'] and ('HEIC' in about['formats']) == heic
    assert [one['name'] for one in about['examples']] == ['chelsea', 'coffee', 'rocket']
    image = visitor.post('/api/examples', name='chelsea', degradation='noise', strength=6).json
    assert image['has_mask'] and image['name'] == 'chelsea.png'
    shown = pixels_of(visitor.ask('GET', f'/api/images/{image["id"]}/file').body)
    region = np.zeros(shown.shape[:2], bool)
    answer = visitor.ask('GET', f'/api/images/{image["id"]}/mask')
    region = np.frombuffer(gzip.decompress(answer.body), np.uint8).reshape(region.shape)
    assert (shown == data.chelsea())[region == 0].all()
    assert (shown != data.chelsea())[region > 0].mean() > 0.5
    job = visitor.finish(visitor.start(image, png(region > 0), context=4))
    notes = ' '.join(job['notes'])
    assert 'PSNR of the region: ' in notes and 'measured: Gaussian noise' in notes
    for one in about['examples']:
        small = visitor.ask('GET', f'/api/examples/{one["name"]}.jpg')
        assert small.status == 200 and pixels_of(small.body).shape[1] == 320
    for fields, said in [
        ({'name': 'a'}, "example is 'a'; expected chelsea"),
        ({'name': 'coffee', 'degradation': 'fog'}, "degradation is 'fog'; expected pixelize"),
        ({'name': 'coffee', 'degradation': 'blur', 'strength': 11}, "strength is '11'"),
        ({'name': 'coffee', 'degradation': 'blur', 'strength': 0}, 'strength is 0; expected 1'),
    ]:
        answer = visitor.post('/api/examples', **fields)
        assert answer.status == 400 and said in answer.detail
    assert (
        visitor.ask('GET', f'/api/images/{visitor.open(png(colours()))["id"]}/mask').status == 404
    )


@pytest.mark.parametrize(
    ('degradation', 'strength', 'wanted'),
    [
        ('pixelize', 1, lambda *given: pixels.pixelate(*given, 3, 'mean')),
        ('pixelize', 10, lambda *given: pixels.pixelate(*given, 12, 'mean')),
        ('blur', 4, lambda *given: pixels.blur(*given, 1.4)),
        ('noise', 10, lambda *given: pixels.noise(*given, np.random.default_rng(0), 25)),
    ],
)
def test_strengths_of_the_examples(degradation, strength, wanted):
    np.testing.assert_array_equal(
        examples.degrade(colours(), INSIDE, degradation, strength),
        wanted(colours(), INSIDE[..., None]),
    )


# Limits


def test_large_requests(visitor, monkeypatch):
    monkeypatch.setattr(routes, 'LARGEST_UPLOAD', 2 << 20)
    answer = visitor.post('/api/images', image=bytes(3 << 20))
    assert answer.status == 413 and 'has 3.0 MiB; expected at most 2 MiB' in answer.detail
    assert visitor.post('/api/images', image=bytes(1 << 20)).status == 400  # read, and no image
    kind = 'multipart/form-data; boundary=x'
    answer = visitor.ask('POST', '/api/images', Content_Type=kind, Transfer_Encoding='chunked')
    assert answer.status == 411
    many = {f'field{number}': 'a' for number in range(20)}
    assert visitor.post('/api/images', image=png(colours()), **many).status == 400
    assert visitor.post('/api/images', image=png(colours()), field='a' * 10_000).status == 400
    three = {f'file{number}': png(colours()) for number in range(3)}
    assert visitor.post('/api/images', **three).status == 400
    monkeypatch.setattr(routes, 'LARGEST_FOLDER', 100)
    assert visitor.post('/api/images', image=png(colours())).status == 503


def test_under_a_root_path(tmp_path):
    with Served(tmp_path, Restorer(Black()), '/some/page') as page:
        visitor = Visitor(page.address)  # behind a proxy that cuts the path off
        assert visitor.ask('GET', '/some/page').headers['location'] == '/some/page/'
        start = visitor.ask('GET', '/some/page/')
        assert start.status == 200 and b'src="static/app.js"' in start.body
        visitor.cookie = ''
        cookie = visitor.ask('GET', '/some/page/').headers['set-cookie']
        assert '; Path=/some/page;' in cookie
        visitor.cookie = cookie.split(';')[0]
        answer = visitor.post('/some/page/api/images', image=png(colours()))
        assert answer.status == 201
        assert visitor.ask('GET', f'/some/page/api/images/{answer.json["id"]}/file').status == 200


def test_other_sites(visitor):
    port = visitor.address.split(':')[1]
    for name in ('127.0.0.1', 'localhost', '[::1]'):
        host = f'{name}:{port}'
        assert visitor.ask('GET', '/', Host=host, Origin=f'http://{host}').status == 200
    for headers in (
        {'Host': f'other.example:{port}'},
        {'Host': f'other.example:{port}', 'Origin': f'http://other.example:{port}'},
        {'Origin': 'http://other.example'},
        {'Origin': 'null'},
        {'Referer': 'http://other.example/'},
        {'Sec_Fetch_Site': 'cross-site'},
    ):
        for method in ('GET', 'POST', 'OPTIONS'):
            for path in ('/', '/api/about', '/api/restore', '/static/app.js'):
                answer = visitor.ask(method, path, Access_Control_Request_Method='POST', **headers)
                assert answer.status == 403
                assert not any(name.startswith('access-control') for name in answer.headers)


def test_the_page_goes_on_after_a_failure(visitor, monkeypatch, caplog):
    image = visitor.open(png(colours()))
    monkeypatch.setattr(routes.work, 'restore', lambda *_: 1 / 0)
    job = visitor.finish(visitor.start(image, MASK))
    assert job['state'] == 'failed' and 'ZeroDivisionError' in job['error']
    monkeypatch.undo()
    assert visitor.finish(visitor.start(image, MASK))['state'] == 'done'
