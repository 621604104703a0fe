import numpy as np
import pytest
from digits import manners
from strokes import fit, ink, invent, rewrite, through, trace


def _random(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def _bitmap(shape: str) -> np.ndarray:
    bitmap = np.zeros((72, 72), np.uint8)
    if shape == "cross":
        bitmap[8:64, 33:39] = 255
        bitmap[33:39, 8:64] = 255
    else:
        y, x = np.mgrid[:72, :72] - 36
        bitmap[np.abs(np.hypot(x, y) - 24) < 4] = 255
    return bitmap


def _extent(stroke: np.ndarray) -> np.ndarray:
    return np.ptp(stroke, axis=0)


def test_a_cross_is_traced_as_two_straight_strokes():
    strokes = trace(_bitmap("cross"))
    assert len(strokes) == 2
    tall, wide = sorted(strokes, key=lambda s: _extent(s)[0])
    assert _extent(tall)[1] > 0.6
    assert _extent(tall)[0] < 0.1
    assert _extent(wide)[0] > 0.6
    assert _extent(wide)[1] < 0.1


def test_a_ring_is_traced_as_one_closed_stroke():
    (ring,) = trace(_bitmap("ring"))
    assert np.hypot(*(ring[0] - ring[-1])) < 0.05
    radius = np.hypot(*(ring - 0.5).T)
    np.testing.assert_allclose(radius, 24 / 72, atol=0.03)


def test_an_empty_bitmap_has_no_strokes():
    assert trace(np.zeros((72, 72), np.uint8)) == []


def test_a_curve_goes_through_its_knots():
    knots = np.array([[0.0, 0.0], [0.5, 1.0], [1.0, 0.0]])
    curve = through(knots, 21)
    np.testing.assert_allclose(curve[[0, 10, 20]], knots, atol=1e-9)


def test_fitting_fills_the_square_and_keeps_proportions():
    (fitted,) = fit([np.array([[3.0, 5.0], [7.0, 7.0]])], margin=0.1)
    np.testing.assert_allclose(fitted, [[0.1, 0.3], [0.9, 0.7]])


def test_equal_seeds_write_equal_pictures_and_others_do_not():
    drawing = invent(_random(3))

    def write(seed: int) -> np.ndarray:
        return ink(rewrite(drawing, _random(seed)), _random(seed), 48, 32)

    np.testing.assert_array_equal(write(1), write(1))
    assert (write(1) != write(2)).any()


def test_written_characters_stay_in_the_middle_of_their_canvas():
    image = ink(rewrite(invent(_random(0)), _random(1)), _random(2), 48, 32)
    assert image.shape == (48, 48)
    assert image.dtype == np.uint8
    assert image.max() > 60
    assert image[:4].max() == image[-4:].max() == image[:, :4].max() == image[:, -4:].max() == 0


def test_pictures_of_one_invented_character_are_closer_than_those_of_two():
    random = _random(0)
    pictures = []
    for _ in range(12):
        drawing = invent(random)
        pictures.append([ink(rewrite(drawing, random), random, 48, 32) for _ in range(8)])
    flat = np.array(pictures, float).reshape(12, 8, -1)
    means = flat[:, :4].mean(1)
    distances = np.linalg.norm(flat[:, 4:, None] - means, axis=-1)
    nearest = distances.argmin(-1)
    assert (nearest == np.arange(12)[:, None]).mean() > 0.6


@pytest.mark.parametrize("digit", range(10))
def test_each_digit_is_written_in_several_manners(digit: int):
    ways = manners(digit)
    assert len(ways) >= 3
    for way in ways:
        points = np.concatenate(way)
        assert points.min() >= 0.0
        assert points.max() <= 1.0
        assert np.ptp(points, axis=0).max() == pytest.approx(0.88)
