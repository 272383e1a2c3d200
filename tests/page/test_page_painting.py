"""Test what the page paints with, in a browser, against other ways to compute the same."""

import base64
import json

import cv2
import numpy as np
import pytest
from browser import find_browser
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from serving import Page, Served
from torch import nn

from hmaca_arch.files.masks import read_mask
from hmaca_arch.inference import Restorer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not find_browser(), reason='there is no Chromium'),
]
WIDTH, HEIGHT = 37, 29
grid_x, grid_y = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
PLACES = st.tuples(st.floats(-8, 45), st.floats(-8, 37))
FEW = settings(max_examples=40)


@pytest.fixture(scope='module')
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp('painting')
    with (
        Served(tmp_path_factory.mktemp('pages'), Restorer(nn.Identity())) as served,
        Page(find_browser(), folder, served.url) as page,
    ):
        page.evaluate("import('/static/mask.js').then(module => { window.Mask = module.Mask })")
        page.evaluate("import('/static/png.js').then(module => { window.png = module })")
        page.evaluate("import('/static/view.js').then(module => { window.View = module.View })")
        yield page


def painted(page, script, start=None):
    """Return the mask after a script, (h, w) bool; in the script it is called mask."""
    data = '' if start is None else ''.join(map(str, start.astype(int).ravel()))
    text = page.evaluate(
        f'(() => {{ const mask = new Mask({WIDTH}, {HEIGHT});'
        f" [...'{data}'].forEach((value, i) => {{ mask.data[i] = Number(value); }});"
        f' mask.measure(); {script}; return mask.data.join(""); }})()'
    )
    return as_mask(text)


def as_mask(text):
    return (np.frombuffer(text.encode(), np.uint8) == ord('1')).reshape(HEIGHT, WIDTH)


def masks(seed, share=0.1):
    return np.random.default_rng(seed).random((HEIGHT, WIDTH)) < share


@FEW
@given(a=PLACES, b=PLACES, radius=st.floats(0.5, 12))
def test_a_stroke_is_all_that_is_near_its_line(page, a, b, radius):
    found = painted(page, f'mask.stroke({a[0]}, {a[1]}, {b[0]}, {b[1]}, {radius}, 1)')
    steps = np.linspace(0, 1, 4001)[:, None, None]
    line = [a[axis] + steps * (b[axis] - a[axis]) for axis in (0, 1)]
    distance = np.hypot(grid_x - line[0], grid_y - line[1]).min(axis=0)
    for x, y in (a, b):  # the pixels under the ends always belong to it
        if 0 <= x < WIDTH and 0 <= y < HEIGHT:
            distance[int(y), int(x)] = 0
    near = np.abs(distance - radius) < 0.02  # as exact as the steps are
    np.testing.assert_array_equal(found[~near], (distance <= radius)[~near])


@FEW
@given(a=PLACES, b=PLACES)
def test_a_rectangle_is_every_pixel_that_it_touches(page, a, b):
    found = painted(page, f'mask.rectangle({a[0]}, {a[1]}, {b[0]}, {b[1]}, 1)')
    (left, right), (top, bottom) = (sorted(pair) for pair in zip(a, b))
    inside = (
        (grid_x + 0.5 > left)
        & (grid_x - 0.5 < right)
        & (grid_y + 0.5 > top)
        & (grid_y - 0.5 < bottom)
    )
    if left < right and top < bottom:
        np.testing.assert_array_equal(found, inside)


@FEW
@given(
    angles=st.lists(st.floats(0, 6.28), min_size=3, max_size=12, unique=True),
    lengths=st.lists(st.floats(2, 25), min_size=12, max_size=12),
)
def test_a_polygon_is_what_has_its_centre_inside(page, angles, lengths):
    # Points around a middle, in order of their angle, cross nowhere.
    points = [
        (18 + length * np.cos(angle), 14 + length * np.sin(angle))
        for angle, length in zip(sorted(angles), lengths)
    ]
    found = painted(page, f'mask.polygon({json.dumps(points)}, 1)')
    contour = np.array(points, np.float32)
    for row, column in np.ndindex(HEIGHT, WIDTH):
        distance = cv2.pointPolygonTest(contour, (column + 0.5, row + 0.5), True)
        if abs(distance) > 0.01:
            assert found[row, column] == (distance > 0), (row, column, distance)


def test_a_polygon_that_crosses_itself_has_a_hole(page):
    star = [
        (18 + 13 * np.sin(4 * np.pi * n / 5), 14 - 13 * np.cos(4 * np.pi * n / 5)) for n in range(5)
    ]
    found = painted(page, f'mask.polygon({json.dumps(star)}, 1)')
    assert not found[14, 18] and found[4, 17:19].all() and 100 < found.sum() < 250


@FEW
@given(seed=st.integers(0, 999), by=st.integers(1, 9))
def test_growing_and_shrinking_follow_the_distance(page, seed, by):
    start = masks(seed, 0.02)
    grown = ndimage.distance_transform_edt(~start) <= by if start.any() else start
    np.testing.assert_array_equal(painted(page, f'mask.grow({by})', start), grown)
    start = ~start
    shrunk = ndimage.distance_transform_edt(start) > by if not start.all() else start
    np.testing.assert_array_equal(painted(page, f'mask.grow({-by})', start), shrunk)


@FEW
@given(seed=st.integers(0, 999))
def test_the_box_and_the_number_of_pixels(page, seed):
    start = masks(seed, 0.005)
    bounds, count = page.evaluate(
        f'(() => {{ const mask = new Mask({WIDTH}, {HEIGHT});'
        f" [...'{''.join(map(str, start.astype(int).ravel()))}']"
        '.forEach((value, i) => { mask.data[i] = Number(value); });'
        ' mask.measure(); return [mask.bounds.map(String), mask.count]; })()'
    )
    assert count == start.sum()
    if count:
        rows, columns = np.nonzero(start)
        wanted = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert list(map(int, bounds)) == wanted


CHANGES = [
    'mask.stroke(5, 5, 20, 9, 4, 1)',
    'mask.rectangle(3, 3, 30, 20, 1)',
    'mask.stroke(0, 0, 30, 25, 3, 0)',
    'mask.polygon([[2, 2], [33, 8], [9, 27]], 1)',
    'mask.grow(2)',
    'mask.grow(-1)',
    'mask.invert()',
    'mask.clear()',
    'mask.rectangle(-9, -9, 2, 2, 1)',
]


@FEW
@given(steps=st.lists(st.sampled_from([*CHANGES, 'undo', 'redo', 'cancel']), max_size=25))
def test_undo_and_redo_bring_back_every_state(page, steps):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    past, future, script, wanted = [], [], [], []
    for step in steps:
        if step in ('undo', 'redo'):
            script.append(f'mask.{step}()')
            source, other = (past, future) if step == 'undo' else (future, past)
            if source:
                other.append(mask)
                mask = source.pop()
        elif step == 'cancel':
            script.append('mask.begin(); mask.rectangle(1, 1, 9, 9, 1); mask.cancel()')
        else:
            script.append(f'mask.begin(); {step}; mask.finish()')
            changed = painted(page, step, mask)
            if (changed != mask).any():
                past.append(mask)
                future.clear()
            mask = changed
        wanted.append(mask)
    found = page.evaluate(
        f'(() => {{ const mask = new Mask({WIDTH}, {HEIGHT}); const states = [];'
        + ''.join(f'{line}; states.push(mask.data.join(""));' for line in script)
        + ' return states; })()'
    )
    for state, text in zip(wanted, found, strict=True):
        np.testing.assert_array_equal(as_mask(text), state)


def test_old_changes_are_forgotten_where_they_take_too_much(page):
    left, empty = page.evaluate(
        '(() => { const mask = new Mask(8192, 8192);'
        ' for (let n = 0; n < 6; n++) { mask.begin(); mask.invert(); mask.finish(); }'
        ' const left = mask.done.length; for (let n = 0; n < 6; n++) mask.undo();'
        ' return [left, mask.isEmpty]; })()'
    )
    assert left == 4 and empty  # 64 MiB each, 256 MiB in all


@FEW
@given(seed=st.integers(0, 999))
def test_the_png_is_read_as_it_was_painted(page, seed):
    start = masks(seed, 0.4)
    text = ''.join(map(str, start.astype(int).ravel()))
    data = base64.b64decode(
        page.evaluate(
            f"png.encodeMask(Uint8Array.from('{text}', Number), {WIDTH}, {HEIGHT})"
            '.then(blob => blob.arrayBuffer())'
            '.then(buffer => btoa(String.fromCharCode(...new Uint8Array(buffer))))'
        )
    )
    mask, notes = read_mask(data)
    np.testing.assert_array_equal(mask, start)
    other = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(other, 255 * start)
    assert other.dtype == np.uint8 and not notes


@FEW
@given(
    steps=st.lists(
        st.tuples(st.floats(0.2, 4), st.floats(0, 800), st.floats(0, 600)), min_size=1, max_size=8
    )
)
def test_zooming_keeps_the_point_under_the_pointer(page, steps):
    for factor, x, y in steps:
        before, after, scale, smallest = page.evaluate(
            '(() => { const view = new View(); view.image = { width: 900, height: 700 };'
            ' view.resize(800, 600, { left: 80, top: 16, right: 16, bottom: 90 });'
            f' view.zoom(2, 400, 300); const before = view.toImage({x}, {y});'
            f' view.zoom({factor}, {x}, {y});'
            f' return [before, view.toImage({x}, {y}), view.scale, view.smallest]; }})()'
        )
        assert smallest <= scale <= 8
        inside = 0 <= before[0] <= 900 and 0 <= before[1] <= 700
        if inside:  # what is beside the image may have to move, to keep the image in sight
            np.testing.assert_allclose(after, before, atol=1e-6)
