"""The mean over eight orientations, with the degradation turned as the image is."""

import itertools

import numpy as np
import pytest
import torch

from hmaca_arch import cli
from hmaca_arch.degradation import Degradation, Kernel, degradations_of, find_blocks, pixels
from hmaca_arch.inference import Restorer, load_restorer
from hmaca_arch.networks.ensemble import Ensemble

KERNEL = Kernel.of(np.array([[0, 0, 0, 0, 0], [3, 1, 1, 0, 0], [0, 0, 1, 2, 0]]))


class Recorder(torch.nn.Module):
    """Adds a ramp, which no orientation shares, and keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[tuple] = []

    def forward(self, lq, mask, degradation=None):
        self.given.append((lq, mask, degradations_of(degradation, len(lq))))
        return lq + ramp(*lq.shape[2:])


def ramp(height: int, width: int) -> torch.Tensor:
    return torch.arange(height * width).view(height, width) / 1000


def as_image(batch: torch.Tensor) -> np.ndarray:
    return (batch[0].numpy() * 255).round().astype(np.uint8).transpose(1, 2, 0)


@pytest.mark.parametrize(
    'told',
    [
        Degradation('pix', 5, 'centre', anchor=('offset', 'offset'), offset=(3, 1)),
        Degradation('pix', 4, 'mean'),
        Degradation('blur', sigma=1.3),
        Degradation('kernel', kernel=KERNEL),
    ],
)
def test_each_orientation_is_told_what_was_done_to_it(told):
    rng = np.random.default_rng(0)
    clean = rng.integers(0, 256, (20, 27, 3), dtype=np.uint8)
    mask = np.zeros((20, 27, 1), bool)
    mask[4:15, 6:22] = True
    given = pixels.apply(clean, mask, told)
    lq, region, truth = (
        torch.from_numpy(image.transpose(2, 0, 1).copy())[None].float() / scale
        for image, scale in ((given, 255), (mask, 1), (clean, 255))
    )
    recorder = Recorder()
    output = Ensemble(recorder)(lq, region, torch.from_numpy(told.vector())[None])
    turns = list(itertools.product((False, True), repeat=3))
    expected = torch.zeros(20, 27)
    seen = set()
    for (rows, columns, transposed), (image, place, (turned,)) in zip(turns, recorder.given):
        axes = [axis for axis, flip in ((-2, rows), (-1, columns)) if flip]
        sought = truth.flip(axes).mT if transposed else truth.flip(axes)
        if told.kind == 'pix':  # its anchors cannot always be applied, but they can be solved
            blocks = find_blocks(place, [turned])
            flat = sought.transpose(0, 1).reshape(3, -1)
            colour = image.transpose(0, 1).reshape(3, -1)[:, blocks.colour]
            assert len(blocks.colour) >= 6
            assert (blocks.mean(flat)[0] - colour).abs().max() <= 0.501 / 255
        else:
            made = pixels.apply(as_image(sought), as_image(place)[..., :1] > 0, turned)
            assert np.array_equal(made, as_image(image))
        own = ramp(27, 20).T if transposed else ramp(20, 27)
        expected += own.flip(axes) / 8
        seen.add(image.numpy().tobytes())
    assert len(seen) == 8
    assert torch.allclose(output - lq, expected.expand_as(lq), atol=1e-5)


def test_the_restorer_takes_the_mean_of_what_it_makes_of_each_orientation():
    class Brightener(torch.nn.Module):
        def forward(self, lq, mask):
            return lq + ramp(*lq.shape[2:]) / 10

    image = np.full((40, 44, 3), 0.5, np.float32)
    mask = np.zeros((40, 44), bool)
    mask[10:20, 12:30] = True
    one, mean = (
        Restorer(Brightener(), ensemble=ensemble).restore(image, mask) for ensemble in (False, True)
    )
    assert one[mask].std() > 0.001 and np.ptp(mean[mask] - mean[mask].mean()) < 1e-6
    assert np.array_equal(mean[~mask], image[~mask])
    turned = Restorer(Brightener(), ensemble=True).restore(image.swapaxes(0, 1).copy(), mask.T)
    assert np.abs(turned.swapaxes(0, 1) - mean).max() < 1e-6


def test_the_shipped_weights_and_the_command_take_it(monkeypatch, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (24, 30, 3), dtype=np.uint8)
    mask = np.zeros((24, 30), bool)
    mask[8:16, 9:20] = True
    restorer = load_restorer(device='cpu', ensemble=True)
    restored = restorer.restore(image, mask, 'noise:20')
    for turn in (lambda a: a[::-1], lambda a: a.swapaxes(0, 1)):
        again = restorer.restore(np.ascontiguousarray(turn(image)), turn(mask).copy(), 'noise:20')
        assert np.abs(turn(again).astype(int) - restored).max() <= 1, 'rounding alone differs'
    taken = []
    monkeypatch.setattr(
        'hmaca_arch.commands.restore.load_restorer', lambda *given: taken.append(given[-1])
    )
    from PIL import Image

    Image.fromarray(image).save(tmp_path / 'i.png')
    arguments = ['restore', '-i', str(tmp_path / 'i.png'), '--box', '9,8,11,8']
    for more in ([], ['--ensemble']):
        with pytest.raises(SystemExit):
            monkeypatch.setattr(
                'hmaca_arch.commands.restore.restore_files', lambda request, load, **_: load() or 0
            )
            cli.main([*arguments, '-o', str(tmp_path / 'o.png'), *more])
    assert taken == [False, True]
