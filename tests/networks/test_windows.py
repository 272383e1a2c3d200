"""Windows, bands, padding and position biases against loops and hand values."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hmaca_arch.networks.biased_attention import expand_at_once, expand_offsets
from hmaca_arch.networks.windows import bands, offsets, pad_to_multiple, runs_as_windows


def test_bands_by_hand():
    assert bands(12, 4, 0) == [(slice(0, 12), 4)]
    assert bands(12, 4, 2) == [
        (slice(0, 8), 4),
        (slice(8, 12), 2),
    ]  # both halves of the last window in one band of half windows
    assert bands(15, 5, 2) == [(slice(0, 10), 5), (slice(10, 13), 3), (slice(13, 15), 2)]
    assert bands(5, 5, 2) == [
        (slice(0, 3), 3),
        (slice(3, 5), 2),
    ]  # shifted although one window fills the side


@settings(max_examples=60)
@given(windows=st.integers(1, 5), size=st.integers(2, 9), data=st.data())
def test_bands_are_the_regions_of_the_usual_mask(windows, size, data):
    shift = data.draw(st.integers(0, size - 1))
    length = windows * size
    # who sees whom, as the usual mask has it: same window, and the same of [0, H - w), [H - w, H -
    # s), [H - s, H)
    region = [
        0 if shift == 0 or i < length - size else 1 if i < length - shift else 2
        for i in range(length)
    ]
    usual = [(i // size, region[i]) for i in range(length)]
    ours = []
    for number, (pixels, part) in enumerate(bands(length, size, shift)):
        assert (pixels.stop - pixels.start) % part == 0
        ours += [(number, (i - pixels.start) // part) for i in range(pixels.start, pixels.stop)]
    assert len(ours) == length
    assert [[a == b for b in usual] for a in usual] == [[a == b for b in ours] for a in ours]


def test_offsets_by_hand():
    assert offsets(1, 2, torch.empty(0)).tolist() == [[[0.0, -1.0], [0.0, 0.0], [0.0, 1.0]]]


@pytest.mark.parametrize(
    ('size', 'rows', 'cols'),
    [((3, 3), 3, 3), ((4, 5), 2, 5), ((4, 4), 1, 3), ((1, 1), 1, 1), ((2, 6), 2, 1)],
)
def test_expand_offsets_is_the_table_at_query_minus_key(size, rows, cols):
    table = torch.randn(2 * size[0] - 1, 2 * size[1] - 1, 3)
    [(queries, bias)] = expand_offsets(table, rows, cols, step=rows)
    assert queries == slice(0, rows * cols)
    assert bias.shape == (3, rows * cols, rows * cols)
    pixels = list(itertools.product(range(rows), range(cols)))
    for (i, (qy, qx)), (j, (ky, kx)) in itertools.product(enumerate(pixels), enumerate(pixels)):
        assert torch.equal(bias[:, i, j], table[qy - ky + size[0] - 1, qx - kx + size[1] - 1])


def test_all_offsets_at_once_are_the_same_bits_in_a_quarter_of_the_autograd_nodes():
    table = torch.randn(17, 15, 3, requires_grad=True)
    [(_, expected)] = expand_offsets(table, 8, 6, step=8)
    bias = expand_at_once(table, 8, 6)
    assert torch.equal(bias, expected)
    weight = torch.randn_like(bias)
    ours, theirs = (torch.autograd.grad((b * weight).sum(), table)[0] for b in (bias, expected))
    torch.testing.assert_close(ours, theirs)
    assert nodes(bias.grad_fn) <= 10 and nodes(expected.grad_fn) > 16


def nodes(*functions) -> int:
    found, left = set(), list(functions)
    while left:
        function = left.pop()
        if function is not None and function not in found:
            found.add(function)
            left += [before for before, _ in function.next_functions]
    return len(found)


def test_expand_offsets_in_parts():
    table = torch.randn(9, 7, 2)
    [(_, whole)] = expand_offsets(table, 5, 4, step=9)
    queries, parts = zip(*expand_offsets(table, 5, 4, step=2))
    assert queries == (slice(0, 8), slice(8, 16), slice(16, 20))
    assert torch.equal(torch.cat(parts, dim=1), whole)


def test_expand_offsets_passes_gradients_to_every_offset():
    table = torch.randn(5, 5, 2, dtype=torch.float64, requires_grad=True)
    sum(bias.sum() for _, bias in expand_offsets(table, 3, 3, step=2)).backward()
    pairs = torch.tensor(
        [1, 2, 3, 2, 1], dtype=torch.float64
    )  # pairs of three places on a line with the offset -2 ... 2
    assert torch.equal(table.grad, (pairs[:, None] * pairs)[..., None].expand(5, 5, 2))


def test_runs_as_windows_by_hand():
    image = torch.arange(16).view(1, 4, 4, 1)
    expected = [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    assert runs_as_windows(image, 2)[0, ..., 0].tolist() == expected


def test_padding_mirrors_each_axis_by_itself():
    image = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])[None, None]
    # 2 rows to 4: the padding, 2, is not smaller than the side: edge. 3 columns to 4: mirrored.
    expected = [[1, 2, 3, 2], [4, 5, 6, 5], [4, 5, 6, 5], [4, 5, 6, 5]]
    assert pad_to_multiple(image, 4, 'image')[0, 0].tolist() == expected
    assert pad_to_multiple(image, 5, 'image')[0, 0, 0].tolist() == [
        1,
        2,
        3,
        2,
        1,
    ]  # 2 of 3 columns can be mirrored
    assert pad_to_multiple(image, 4, 'mask')[0, 0].tolist() == [
        [1, 2, 3, 0],
        [4, 5, 6, 0],
        [0] * 4,
        [0] * 4,
    ]


def test_no_padding_where_none_is_needed():
    image = torch.rand(1, 3, 8, 4)
    assert torch.equal(pad_to_multiple(image, 4, 'image'), image)
