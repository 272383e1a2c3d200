"""Discs and boxes: kernels that a name describes."""

import numpy as np
import pytest
from skimage.morphology import disk

from hmaca_arch.degradation import Degradation, Kernel, shapes
from hmaca_arch.degradation.kernels import FINEST
from hmaca_arch.restoring.measuring.candidates import ALIKE, GAUSSIANS, OTHERS


def test_a_hard_disc_is_that_of_scikit_image():
    for radius in (1, 2, 3, 6):
        assert ((shapes.disc(radius, hard=True).values > 0) == disk(radius)).all()


@pytest.mark.parametrize('radius', [1.3, 2.5, 3.5, 7.2])
def test_a_smooth_disc_has_the_area_of_a_circle(radius):
    values = shapes.disc(radius).whole / FINEST
    assert values.sum() == pytest.approx(np.pi * radius**2, rel=0.03)
    assert (values == values.T).all() and (values == values[::-1]).all()


@pytest.mark.parametrize('text', ['disc:3.5', 'disc:3:hard', 'box:5', 'box:5+jpeg:75'])
def test_texts_are_read_back(text):
    told = Degradation.parse(text)
    assert told.kind == 'kernel' and str(told) == text
    assert Degradation.from_vector(told.vector()) == told


@pytest.mark.parametrize(
    'text', ['box:4', 'box:129', 'disc:0.2', 'disc:63', 'disc:nan', 'disc:', 'box:5:hard', 'disc']
)
def test_others_are_refused_in_one_line(text):
    with pytest.raises(ValueError, match=r'^(box|disc|degradation): got [^\n]+, expected [^\n]+$'):
        Degradation.parse(text)


def test_a_file_of_that_name_is_no_shape():
    assert str(Degradation('kernel', kernel=Kernel.of(np.eye(3), 'box:4'))) == 'kernel:box:4'
    assert str(Degradation('kernel', kernel=Kernel.of(np.eye(3), 'box:3'))) == 'kernel:box:3'


def test_candidates_keep_brightness_and_place():
    for one in (*GAUSSIANS, *ALIKE, *OTHERS):
        values = one.values()
        assert values.sum() == pytest.approx(1) and (values >= 0).all()
        np.testing.assert_allclose(values, values[::-1, ::-1], atol=1e-4)
        assert one.told is None or abs(one.told.values - values).max() < 1e-4
