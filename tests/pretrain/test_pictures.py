import contours
import fractals
import numpy as np
import pytest
import textures
from pictures import Palette, Texture, backgrounds, invent_classes, shade


def _random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


FIELDS = {
    "noise": lambda n, random: textures.noise(n, 32, random, 1.5, 0.4, 2.0),
    "band": lambda n, random: textures.band(n, 32, random, 6.0, 0.2),
    "streaks": lambda n, random: textures.band(n, 32, random, 6.0, 0.2, 0.7),
    "waves": lambda n, random: textures.waves(n, 32, random, 4.0, 0.3, 0.2),
    "cells": lambda n, random: textures.cells(n, 32, random, 16, 0.8)[0],
    "walls": lambda n, random: textures.cells(n, 32, random, 16, 0.8)[1],
    "patches": lambda n, random: textures.patches(n, 32, random, 10),
}


@pytest.mark.parametrize("name", FIELDS)
def test_fields_are_seeded_and_lie_between_0_and_1(name: str):
    field = FIELDS[name](3, _random(1))
    assert field.shape == (3, 32, 32)
    assert field.min() >= 0.0
    assert field.max() <= 1.0
    assert field.std() > 0.05
    np.testing.assert_array_equal(field, FIELDS[name](3, _random(1)))
    assert (field != FIELDS[name](3, _random(2))).any()


@pytest.mark.parametrize("frequency", [4.0, 10.0])
def test_a_band_has_the_wavelength_that_was_asked_for(frequency: float):
    field = textures.band(8, 64, _random(), frequency, 0.1)
    power = (np.abs(np.fft.rfft2(field - field.mean((1, 2), keepdims=True))) ** 2).mean(0)
    fy, fx = textures.frequencies(64)
    assert np.hypot(*np.broadcast_arrays(fx, fy)).ravel()[power.argmax()] == pytest.approx(
        frequency, abs=1.5
    )


def test_streaks_run_across_their_angle():
    field = textures.band(8, 64, _random(), 6.0, 0.2, angle=0.0)
    down, across = np.abs(np.diff(field, axis=1)).mean(), np.abs(np.diff(field, axis=2)).mean()
    assert across > 2 * down


def test_fractal_systems_fill_some_of_their_frame():
    found = fractals.systems(6, _random())
    assert found.shape == (6, 4, 7)
    np.testing.assert_allclose(found[..., 6].sum(1), 1.0)
    hits, colours = fractals.play(found, np.full((6, 4, 3), 0.25), 32, _random(1))
    assert hits.shape == (6, 32, 32)
    assert ((hits > 0).mean((1, 2)) > 0.08).all()
    # Every map has the same colour, which the particles have taken on.
    np.testing.assert_allclose(colours[hits > 0], 0.25, atol=1e-3)


def test_relatives_of_a_system_look_alike():
    one, other = fractals.systems(2, _random(3))
    chosen = np.stack([one, one, other])
    hits, _ = fractals.play(
        fractals.relatives(chosen, _random(4)), np.zeros((3, 4, 3)), 16, _random(5)
    )
    a, b, c = (np.sqrt(h).ravel() / np.linalg.norm(np.sqrt(h)) for h in hits)
    assert a @ b > a @ c


def test_a_figure_without_waves_covers_the_area_of_its_polygon():
    outline = contours.Outline(
        n_corners=4, waves=(2, 2), depths=(0.0, 0.0), aspect=1.0, sharp=False, n_rings=1
    )
    cover = contours.draw(outline, 4, 96, _random(), size=(0.8, 0.8))
    # A square whose half diagonal is 0.64 in a frame from -1 to 1.
    np.testing.assert_allclose(cover.mean((1, 2)) * 4.0, 2 * 0.64**2, rtol=0.06)


def test_rings_cover_less_than_the_filled_figure():
    shape = {"n_corners": 0, "waves": (5, 2), "depths": (0.2, 0.0), "aspect": 1.0, "sharp": False}
    filled = contours.draw(contours.Outline(**shape, n_rings=1), 4, 48, _random())
    ringed = contours.draw(contours.Outline(**shape, n_rings=4), 4, 48, _random())
    assert 0.1 < ringed.mean() / filled.mean() < 0.9


def test_shading_meets_the_colours_at_its_ends_and_between():
    field = np.array([[[0.0, 0.5], [1.0, 0.25]]])
    colours = np.array([[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 1.0]]])
    expected = [[[0, 0, 0], [1, 0, 0]], [[1, 1, 1], [0.5, 0, 0]]]
    np.testing.assert_allclose(shade(field, colours)[0], expected)


def test_a_loyal_palette_varies_less():
    base = _random().random((3, 3))
    loyal = Palette(base, 0.85).vary(50, _random(1))
    free = Palette(base, 0.0).vary(50, _random(1))
    assert loyal.std(0).mean() < 0.5 * free.std(0).mean()


def test_classes_differ_and_equal_seeds_draw_equal_pictures():
    classes = invent_classes((2, 3, 2), _random())
    assert len(classes) == 7
    for made in classes:
        first = made.draw(2, 24, _random(1))
        assert first.shape == (2, 24, 24, 3)
        assert first.min() >= 0.0
        assert first.max() <= 1.0
        np.testing.assert_array_equal(first, made.draw(2, 24, _random(1)))
    pictures = [made.draw(1, 24, _random(1)) for made in classes]
    differences = [np.abs(a - b).mean() for i, a in enumerate(pictures) for b in pictures[i + 1 :]]
    assert min(differences) > 0.02


def test_every_texture_can_be_drawn_in_any_number():
    random = _random(7)
    for _ in range(30):
        assert Texture.invent(random).draw(1, 16, random).shape == (1, 16, 16, 3)


def test_backgrounds_are_of_several_kinds():
    spread = backgrounds(40, 24, _random(3)).std((1, 2)).max(-1)
    assert (spread < 1e-4).any()
    assert (spread > 0.02).any()
