"""Use the page in a browser as people do, at the size of a desk and of a phone."""

import io
import threading
import time
import urllib.parse

import numpy as np
import pytest
from browser import find_browser
from PIL import Image
from serving import INSIDE, Page, Served, Visitor, colours, pixels_of, png
from torch import nn

from hmaca_arch.inference import Restorer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not find_browser(), reason='there is no Chromium'),
]
DESK, PHONE = (1440, 900), (390, 844)
WIDTH, HEIGHT = 300, 200


class Inverted(nn.Module):
    """A network that inverts, once it is let go."""

    def __init__(self):
        super().__init__()
        self.go = threading.Event()
        self.go.set()

    def forward(self, x):
        assert self.go.wait(120)
        return 1 - x


@pytest.fixture
def network():
    return Inverted()


@pytest.fixture
def served(tmp_path, network):
    folder = tmp_path / 'pages'
    folder.mkdir()
    with Served(folder, Restorer(network)) as served:
        yield served
        network.go.set()


@pytest.fixture
def photo(tmp_path):
    """An image in which neighbouring pixels differ little."""
    x, y = np.meshgrid(np.linspace(30, 200, WIDTH), np.linspace(20, 160, HEIGHT))
    image = np.dstack([x, y, (x + y) / 2]).astype(np.uint8)
    (tmp_path / 'a photo.png').write_bytes(png(image))
    return tmp_path / 'a photo.png'


@pytest.fixture(params=[DESK, PHONE], ids=['desk', 'phone'])
def page(request, served, tmp_path):
    touch = request.param == PHONE
    with Page(find_browser(), tmp_path, served.url, request.param, touch) as page:
        page.is_phone = touch
        yield page
        asked = {urllib.parse.urlsplit(url).netloc for url in page.requested if url[:4] == 'http'}
        assert asked == {served.address}
        expected = 'Failed to load resource: the server responded with a status of 400'
        assert [error for error in page.errors if not error.startswith(expected)] == []


@pytest.fixture
def desk(served, tmp_path):
    with Page(find_browser(), tmp_path, served.url) as page:
        yield page


def open_photo(page, photo):
    page.choose('image-file', photo)
    page.wait_for_mode('paint')


def draw(page, points):
    """Draw through points of the image, with the mouse or a finger."""
    places = [page.at(*point) for point in points]
    if page.is_phone:
        page.swipe(places)
    else:
        page.drag(places)


def text(page, selector):
    return page.evaluate(f"document.querySelector('{selector}').textContent")


def notice(page):
    return page.evaluate(
        "(one => one.hidden ? '' : one.textContent)(document.querySelector('#notice'))"
    )


def fits(page):
    """Assert that nothing sticks out of the window, or lies under something else."""
    width, height = page.evaluate('[innerWidth, innerHeight]')
    assert page.evaluate('document.documentElement.scrollWidth') <= width
    boxes = page.evaluate(
        "[...document.querySelectorAll('button, input, select, output, summary')]"
        ' .filter(one => one.checkVisibility() && one.type !== "file")'
        ' .map(one => { const box = one.getBoundingClientRect();'
        '   const top = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);'
        '   return [one.id || one.title || one.textContent, box.left, box.top, box.right,'
        '     box.bottom, one === top || one.contains(top) || one.labels?.[0]?.contains(top)]; })'
    )
    assert len(boxes) >= 3
    for name, left, top, right, bottom, reached in boxes:
        assert left >= 0 and top >= 0 and right <= width and bottom <= height, name
        assert reached, f'{name} is covered'


def test_paint_restore_compare_save(page, photo):
    fits(page)
    open_photo(page, photo)
    fits(page)
    page.click('[data-tool=rectangle]')
    draw(page, [(100.5, 60.5), (120, 70), (159.5, 119.5)])
    wanted = np.zeros((HEIGHT, WIDTH), bool)
    wanted[60:120, 100:160] = True
    np.testing.assert_array_equal(page.mask(), wanted)
    before = page.seen(page.at(110.5, 90.5), page.at(150.5, 90.5), page.at(20.5, 20.5))
    page.click('#restore')
    page.wait_for_mode('compare')
    fits(page)
    assert text(page, '#summary').startswith('1 region restored in ')
    page.wait_for("document.querySelector('#notes ul').children.length > 0")
    assert 'before saving, the largest change outside the mask is 0' in text(page, '#notes')
    # The border stands in the middle of the region: before at its left, after at its right.
    after = page.seen(page.at(110.5, 90.5), page.at(150.5, 90.5), page.at(20.5, 20.5))
    assert after[0] == before[0] and after[2] == before[2]
    np.testing.assert_allclose(after[1][:3], 255 - np.array(before[1][:3]), atol=3)
    x = page.at(130, 90)[0]
    height = page.evaluate(
        "(box => box.y + box.height / 2)(document.querySelector('#compare').getBoundingClientRect())"
    )
    left = page.at(95, 90)[0]
    if page.is_phone:
        page.swipe([(x, height), ((x + left) / 2, height), (left, height)])
    else:
        page.drag([(x, height), ((x + left) / 2, height), (left, height)])
    found = page.seen(page.at(110.5, 90.5))[0]
    np.testing.assert_allclose(found[:3], 255 - np.array(before[0][:3]), atol=3)
    page.click('#save')
    file = page.downloaded()
    assert file.name == 'a photo_restored.png'
    given = pixels_of(photo.read_bytes())
    np.testing.assert_array_equal(
        pixels_of(file.read_bytes()), np.where(wanted[..., None], 255 - given, given)
    )
    file.unlink()
    page.click('#save-mask-too')
    file = page.downloaded()
    assert file.name == 'a photo_mask.png'
    np.testing.assert_array_equal(pixels_of(file.read_bytes()), 255 * wanted)
    file.unlink()
    page.evaluate("document.querySelector('#format').value = 'jpg'")
    page.click('#save')
    file = page.downloaded()
    assert file.name == 'a photo_restored.jpg'
    page.wait_for("!document.querySelector('#notice').hidden")
    assert (
        notice(page) == f'{file.name} is stored with loss: pixels outside the mask change as well.'
    )
    page.click('#back')
    page.wait_for_mode('paint')
    assert notice(page) == ''
    np.testing.assert_array_equal(page.mask(), wanted)


def test_a_file_that_is_no_image_is_told_until_the_next_action(page, photo, tmp_path):
    (tmp_path / 'notes.txt').write_text('no image')
    page.choose('image-file', tmp_path / 'notes.txt')
    page.wait_for("!document.querySelector('#notice').hidden")
    said = notice(page)
    assert said.startswith('notes.txt: cannot be read')
    assert 'its content is none of PNG, JPEG, WEBP, BMP, TIFF, GIF, AVIF' in said
    assert page.evaluate('document.body.dataset.mode') == 'empty'
    fits(page)
    (tmp_path / 'x.pdf').write_bytes(b'%PDF-1.7')
    page.choose('image-file', tmp_path / 'x.pdf')
    said = 'x.pdf: cannot be read as an image: it is a PDF; convert it to PNG or TIFF first.'
    page.wait_for(f"document.querySelector('#notice').textContent === '{said}'")
    page.click('#tab-example')
    assert notice(page) == ''
    page.click('#tab-own')
    open_photo(page, photo)
    page.choose('mask-file', tmp_path / 'notes.txt')
    page.wait_for("!document.querySelector('#notice').hidden")
    assert notice(page).startswith('notes.txt: cannot be read')
    draw(page, [(50, 50), (60, 60)])
    assert notice(page) == '' and page.mask().any()


def test_progress_queue_and_cancel(page, photo, served, network):
    network.go.clear()
    other = Visitor(served.address)
    job = other.start(other.open(png(colours())), png(INSIDE))
    open_photo(page, photo)
    draw(page, [(20, 20), (60, 60)])
    page.click('#restore')
    page.wait_for(
        "document.querySelector('#progress-text').textContent === 'Waiting: 1 before yours'"
    )
    fits(page)
    other.ask('DELETE', f'/api/jobs/{job["id"]}')
    network.go.set()
    page.wait_for_mode('compare')
    network.go.clear()
    page.click('#back')
    page.click('#restore')
    page.wait_for("document.querySelector('#progress-text').textContent.includes('of 1 tile')")
    painted = page.mask()
    page.click('#cancel')
    page.wait_for("document.querySelector('#progress-text').textContent === 'Cancelling'")
    (job,) = (one for one in served.routes.queue.known.values() if one.state == 'running')
    assert job.stop.wait(60)  # the request has arrived
    network.go.set()
    page.wait_for_mode('paint')
    np.testing.assert_array_equal(page.mask(), painted)
    assert notice(page) == ''


def test_a_failure_is_told_and_the_mask_stays(page, photo, served, monkeypatch):
    open_photo(page, photo)
    draw(page, [(20, 20), (60, 60)])
    painted = page.mask()
    monkeypatch.setattr(
        served.routes.restorer,
        'patch',
        lambda *_, **__: (_ for _ in ()).throw(ValueError('so it is')),
    )
    page.click('#restore')
    page.wait_for("!document.querySelector('#notice').hidden")
    assert notice(page) == 'So it is.' and page.evaluate('document.body.dataset.mode') == 'paint'
    np.testing.assert_array_equal(page.mask(), painted)


def test_the_canvas_fills_the_window_and_zooms_about_the_pointer(desk, photo):
    open_photo(desk, photo)
    stage, canvas = desk.evaluate(
        "['#stage', '#image-canvas'].map(one => document.querySelector(one).getBoundingClientRect())"
        '.map(box => [box.width, box.height])'
    )
    assert stage == canvas and stage[0] == 1440 and stage[1] > 840
    x, y = map(round, desk.at(200.25, 50.75))  # browsers round the wheel's place

    def under():
        return desk.evaluate(
            "import('/static/stage.js').then(({ stage, view }) => {"
            f' const box = stage.getBoundingClientRect(); return view.toImage({x} - box.x, {y} - box.y); }})'
        )

    before = under()
    for _ in range(30):
        desk.call('Input.dispatchMouseEvent', type='mouseWheel', x=x, y=y, deltaX=0, deltaY=-200)
    desk.wait_for("document.querySelector('#zoom-value').textContent === '800 %'")
    np.testing.assert_allclose(under(), before, atol=1e-6)
    first = desk.at(200, 50)
    np.testing.assert_allclose(np.subtract(desk.at(201, 50), first), (8, 0), atol=1e-6)
    # The smallest brush paints one pixel, wherever in it the pointer is.
    desk.evaluate("import('/static/painting.js').then(({ setSize }) => setSize(1))")
    for shift in (0.05, 0.95):
        desk.drag([desk.at(200 + shift, 50 + shift)])
    mask = desk.mask()
    assert mask[50, 200] and mask.sum() == 1
    colour = desk.seen(desk.at(200.1, 50.1), desk.at(200.9, 50.9))
    given = pixels_of(photo.read_bytes())
    assert [one[:3] for one in colour] == [given[50, 200].tolist()] * 2  # no smoothing
    desk.key('0')
    desk.wait_for("document.querySelector('#zoom-value').textContent !== '800 %'")
    assert desk.at(0, 0)[0] > 80 and desk.at(300, 200)[1] < 900


def test_keys_of_painting_programs(desk, photo):
    open_photo(desk, photo)

    def tool():
        return desk.evaluate(
            "document.querySelector('[data-tool][aria-pressed=true]').dataset.tool"
        )

    def size():
        return float(text(desk, '#size-value').removesuffix(' px'))

    for key, name in [('e', 'eraser'), ('r', 'rectangle'), ('l', 'lasso'), ('b', 'brush')]:
        desk.key(key)
        assert tool() == name
    first = size()
    desk.key(']')
    assert size() > first
    desk.key('[')
    desk.key('[')
    assert size() < first
    desk.drag([desk.at(50, 50), desk.at(90, 50)])
    stroke = desk.mask()
    desk.key('e')
    desk.drag([desk.at(70, 30), desk.at(70, 80)])
    erased = desk.mask()
    assert stroke[50, 70] and not erased[50, 70] and erased[50, 50] and (erased <= stroke).all()
    desk.key('z', 2)
    np.testing.assert_array_equal(desk.mask(), stroke)
    desk.key('z', 2)
    assert not desk.mask().any()
    desk.key('Z', 2 | 8)
    desk.key('y', 2)
    np.testing.assert_array_equal(desk.mask(), erased)
    desk.key('Delete')
    assert not desk.mask().any()
    desk.key('r')
    desk.drag([desk.at(10.5, 10.5), desk.at(39.5, 29.5)])
    desk.key('g')  # by four pixels
    grown = desk.mask()
    assert grown[6:34, 10:40].all() and not grown[5].any() and not grown[6, 6]
    desk.key('G', 8)
    assert desk.mask().sum() == 30 * 20
    desk.key('i')
    assert desk.mask().sum() == WIDTH * HEIGHT - 30 * 20
    desk.key('?')
    assert desk.evaluate("document.querySelector('#keys').open")
    desk.key('Escape')
    desk.wait_for("!document.querySelector('#keys').open")


def test_alt_erases_a_shape_and_space_moves_the_image(desk, photo):
    open_photo(desk, photo)
    desk.key('r')
    desk.drag([desk.at(10.5, 10.5), desk.at(99.5, 99.5)])
    places = [desk.at(*point) for point in [(30, 30), (70, 30), (50, 70)]]
    desk.key('l')
    for kind, place in zip(
        ['mousePressed', 'mouseMoved', 'mouseMoved', 'mouseReleased'], [*places, places[-1]]
    ):
        desk.call(
            'Input.dispatchMouseEvent',
            type=kind,
            x=place[0],
            y=place[1],
            button='left',
            buttons=1,
            clickCount=1,
            modifiers=1,
        )
    mask = desk.mask()
    assert not mask[45, 50] and mask[65, 35] and 7200 < mask.sum() < 7400
    before = desk.at(0, 0)
    desk.call('Input.dispatchKeyEvent', type='keyDown', key=' ')
    desk.drag([(600, 400), (630, 420)])
    desk.call('Input.dispatchKeyEvent', type='keyUp', key=' ')
    np.testing.assert_allclose(np.subtract(desk.at(0, 0), before), (30, 20))
    np.testing.assert_array_equal(desk.mask(), mask)


def test_the_pointer_shows_the_size_of_the_brush(desk, photo):
    open_photo(desk, photo)
    desk.evaluate("import('/static/painting.js').then(({ setSize }) => setSize(20))")
    x, y = desk.at(150, 100)
    desk.mouse('mouseMoved', x, y)
    box = desk.wait_for(
        "(one => !one.hidden && one.getBoundingClientRect().toJSON())(document.querySelector('#cursor'))"
    )
    desk.drag([(x, y)])
    columns = np.flatnonzero(desk.mask().any(axis=0))
    assert len(columns) == 20
    left, right = desk.at(columns[0], 0)[0], desk.at(columns[-1] + 1, 0)[0]
    np.testing.assert_allclose((box['left'], box['right']), (left, right), atol=2)
    np.testing.assert_allclose(box['top'] + box['height'] / 2, y, atol=1)
    # What is painted stays visible: translucent, with an outline.
    shades = desk.evaluate(
        "(canvas => { const context = canvas.getContext('2d');"
        ' const box = canvas.getBoundingClientRect();'
        f' const row = context.getImageData(0, {y} - box.y, canvas.width, 1).data;'
        ' return [...new Set([...Array(canvas.width).keys()].map(i => row[4 * i + 3]))]; })'
        "(document.querySelector('#mask-canvas'))"
    )
    assert sorted(shades) == [0, 96, 190, 235]


def test_fingers(served, photo, tmp_path):
    with Page(find_browser(), tmp_path, served.url, PHONE, touch=True) as page:
        page.is_phone = True
        open_photo(page, photo)
        x, y = page.at(150, 100)
        scale = page.at(1, 0)[0] - page.at(0, 0)[0]
        page.touch('touchStart', (x - 40, y))
        page.touch('touchMove', (x - 45, y))  # the first finger draws, until the second comes
        page.touch('touchStart', (x - 45, y), (x + 45, y))
        for step in range(1, 10):
            page.touch('touchMove', (x - 45 - 5 * step, y), (x + 45 + 5 * step, y))
        page.touch('touchEnd', (x - 90, y))
        page.touch('touchMove', (x - 120, y + 60))  # the finger that stays does not draw
        page.touch('touchEnd')
        grown = page.at(1, 0)[0] - page.at(0, 0)[0]
        np.testing.assert_allclose(grown / scale, 2, rtol=0.02)
        np.testing.assert_allclose(page.at(150, 100), (x, y), atol=2)
        assert not page.mask().any()
        page.touch('touchStart', (x - 40, y))
        page.touch('touchStart', (x - 40, y), (x + 40, y))
        for step in range(1, 6):
            page.touch('touchMove', (x - 40, y + 10 * step), (x + 40, y + 10 * step))
        page.touch('touchEnd')
        np.testing.assert_allclose(page.at(150, 100), (x, y + 50), atol=2)
        assert not page.mask().any()
        draw(page, [(140, 90), (150, 100)])
        assert page.mask()[95, 145]


def test_images_that_browsers_do_not_show(desk, tmp_path):
    image = colours(60, 80, 3)
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.fromarray(np.rot90(image))
    stored.save(tmp_path / 'scan.tif', exif=exif)
    stored.save(tmp_path / 'phone.png', exif=exif)
    for name in ('scan.tif', 'phone.png'):
        desk.choose('image-file', tmp_path / name)
        desk.wait_for(f"document.querySelector('#facts').textContent === '{name} · 80 × 60'")
        desk.key('0')
        desk.wait_for(
            'new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))'
            '.then(() => true)'
        )
        points = [(5, 7), (70, 50)]
        found = desk.seen(*(desk.at(x + 0.5, y + 0.5) for x, y in points))
        assert [one[:3] for one in found] == [image[y, x].tolist() for x, y in points]


def test_a_mask_from_a_file(desk, photo, tmp_path):
    open_photo(desk, photo)
    wanted = np.zeros((HEIGHT, WIDTH), bool)
    wanted[20:40, 30:90] = True
    (tmp_path / 'mask.png').write_bytes(png(wanted))
    desk.choose('mask-file', tmp_path / 'mask.png')
    desk.wait_for("!document.querySelector('#restore').disabled")
    np.testing.assert_array_equal(desk.mask(), wanted)
    white = np.full((HEIGHT, WIDTH, 4), 255, np.uint8)
    white[..., 3] *= wanted
    (tmp_path / 'cut.png').write_bytes(png(white))
    desk.choose('mask-file', tmp_path / 'cut.png')
    desk.wait_for("!document.querySelector('#notice').hidden")
    assert 'has transparent pixels' in notice(desk)
    np.testing.assert_array_equal(desk.mask(), wanted)


def test_an_example_and_going_on_from_its_result(desk, photo):
    desk.click('#tab-example')
    desk.wait_for("[...document.querySelectorAll('#photographs img')].every(one => one.complete)")
    desk.click('#photographs button:nth-child(2)')
    assert desk.evaluate("document.querySelector('#example-degradation').value") == 'blur'
    desk.click('#open-example')
    desk.wait_for_mode('paint')
    assert desk.mask()[100:164, 280:360].all() and desk.mask().sum() == 64 * 80
    desk.key('Enter')
    desk.wait_for_mode('compare')
    assert 'PSNR of the region' in text(desk, '#notes')
    desk.click('#keep')
    desk.wait_for("document.querySelector('#facts').textContent.startsWith('coffee_restored.png')")
    assert desk.evaluate('document.body.dataset.mode') == 'paint' and not desk.mask().any()
    desk.choose('image-file', photo)
    desk.wait_for("document.querySelector('#facts').textContent.startsWith('a photo.png')")
    assert text(desk, '[aria-selected=true]') == 'Your image'


def test_the_degradation_is_told_as_written(desk, photo, served, monkeypatch):
    seen = []
    patch = served.routes.restorer.patch

    def spy(image, mask, degradation, progress, **settings):
        seen.append((degradation, settings['context'], settings['feather']))
        return patch(image, mask, degradation, progress, **settings)

    monkeypatch.setattr(served.routes.restorer, 'patch', spy)
    open_photo(desk, photo)
    desk.drag([desk.at(20, 20), desk.at(60, 60)])

    def choose(field, value):
        desk.evaluate(
            f"(one => {{ one.value = '{value}'; one.dispatchEvent(new Event('change')); }})"
            f"(document.querySelector('#{field}'))"
        )

    for values, wanted in [
        ({}, ('auto', 24, 0)),
        (
            {'kind': 'pix', 'block': 6, 'pool': 'centre', 'jpeg': 80},
            ('pix:6:centre+jpeg:80', 24, 0),
        ),
        ({'kind': 'blur', 'jpeg': ''}, ('blur:1.5', 24, 0)),
        ({'kind': 'noise', 'noise': '7.5', 'context': 8}, ('noise:7.5', 8, 0)),
        ({'kind': 'text', 'text': 'pix:4:mean@1,2', 'feather': 3}, ('pix:4:mean@1,2', 8, 3)),
    ]:
        for field, value in values.items():
            choose(field, value)
        desk.click('#restore')
        desk.wait_for_mode('compare')
        assert seen[-1] == wanted
        desk.key('Escape')
    choose('text', 'fog')
    desk.click('#restore')
    desk.wait_for("!document.querySelector('#notice').hidden")
    assert "got 'fog'" in notice(desk)


def test_closing_the_page_ends_its_restoration(served, photo, network, tmp_path):
    network.go.clear()
    with Page(find_browser(), tmp_path, served.url) as page:
        page.is_phone = False
        open_photo(page, photo)
        draw(page, [(20, 20), (60, 60)])
        page.click('#restore')
        page.wait_for("document.querySelector('#progress-text').textContent.includes('of 1 tile')")
        page.call('Page.navigate', url='about:blank')
        (job,) = served.routes.queue.known.values()
        until = time.monotonic() + 600
        while not job.stop.is_set():
            assert time.monotonic() < until
            time.sleep(0.05)


def test_dark_and_light(desk):
    found = []
    for scheme in ('dark', 'light'):
        features = [{'name': 'prefers-color-scheme', 'value': scheme}]
        desk.call('Emulation.setEmulatedMedia', features=features)
        found.append(desk.evaluate('getComputedStyle(document.body).backgroundColor'))
    dark, light = (int(one.split('(')[1].split(',')[0]) for one in found)
    assert dark < 60 and light > 200


def test_twelve_megapixels(desk, served, tmp_path):
    """A photo of that size opens, is painted without delay, and its region alone is restored."""
    image = np.asarray(Image.fromarray(colours(30, 40, 3)).resize((4000, 3000), Image.BICUBIC))
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, 'JPEG', quality=90)
    (tmp_path / 'large.jpg').write_bytes(buffer.getvalue())
    open_photo(desk, tmp_path / 'large.jpg')
    assert desk.at(4000, 3000)[0] < 1440 and desk.at(4000, 3000)[1] < 900
    desk.key('r')
    desk.drag([desk.at(2000.5, 1000.5), desk.at(2300, 1250)])
    desk.key('Enter')
    desk.wait_for_mode('compare')
    desk.key('s', 2)
    found = pixels_of(desk.downloaded().read_bytes())
    given = np.asarray(Image.open(tmp_path / 'large.jpg'))
    changed = (found != given).any(axis=2)
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    assert found.shape == given.shape and 900 < rows[0] < rows[-1] < 1300
    assert 1900 < columns[0] < columns[-1] < 2400
