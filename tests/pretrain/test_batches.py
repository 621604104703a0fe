import numpy as np
import pytest
import torch

pytest.importorskip("fontTools", reason="fonttools is not installed")
glyphs = pytest.importorskip("glyphs")
shapes = pytest.importorskip("shapes")


@pytest.fixture(scope="module")
def bank() -> glyphs.Bank:
    """Bars, whose place tells the class: 10 digits, then 10 classes of each other kind."""
    images = np.zeros((40 * 24, 48, 48), np.uint8)
    labels = np.repeat(np.arange(40), 24)
    for row, label in enumerate(labels):
        images[row, 8:40, 4 + label : 8 + label] = 255
    return glyphs.Bank(
        images=images,
        labels=labels,
        sources=np.tile([0, 1], len(labels) // 2),
        kinds=np.repeat(np.arange(4), 10),
        names=np.arange(40).astype(str),
    )


def _draw(sampler: glyphs.Sampler, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    return sampler.draw(torch.Generator().manual_seed(seed))


def test_batches_of_characters_are_seeded_and_standardised(bank):
    sampler = glyphs.Sampler(bank, n_grounds=40)
    x, labels = _draw(sampler, 1)
    assert x.shape == (256, 1, 32, 32)
    assert torch.isfinite(x).all()
    torch.testing.assert_close(x.mean((1, 2, 3)), torch.zeros(256), atol=1e-4, rtol=0)
    again, same_labels = _draw(sampler, 1)
    torch.testing.assert_close(x, again)
    assert torch.equal(labels, same_labels)
    assert not torch.equal(labels, _draw(sampler, 2)[1])


def test_digits_are_drawn_more_often_than_other_characters(bank):
    _, labels = _draw(glyphs.Sampler(bank, n_grounds=40), 0)
    counts = np.bincount(labels.numpy() // 10, minlength=4)
    assert counts.tolist() == [40, 64, 100, 52]


def test_held_out_characters_are_never_drawn(bank):
    held = glyphs.held_rows(bank)
    assert len(held) == 400
    assert np.bincount(bank.labels[held]).tolist() == [10] * 40
    sampler = glyphs.Sampler(bank, n_grounds=40)
    # A weight of zero leaves no room between a row's edge and the one before.
    for rows, edges in zip(sampler.rows, sampler.edges, strict=True):
        widths = np.diff(edges.numpy(), prepend=0.0)
        assert (widths[np.isin(rows.numpy(), held)] < 1e-12).all()
        assert (widths[~np.isin(rows.numpy(), held)] > 1e-6).all()


def test_strokes_are_spread_to_the_largest_neighbour():
    x = torch.rand(3, 1, 9, 9, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.max_pool2d(x, 3, 1, 1)
    assert torch.equal(glyphs._spread(x), expected)


@pytest.mark.parametrize("size", [32, 48])
def test_pictures_are_cropped_and_recoloured_by_seed(size: int):
    x = torch.rand(6, 3, 72, 72, generator=torch.Generator().manual_seed(0))
    first = shapes.augment(x, size, torch.Generator().manual_seed(1))
    assert first.shape == (6, 3, size, size)
    assert torch.isfinite(first).all()
    torch.testing.assert_close(first, shapes.augment(x, size, torch.Generator().manual_seed(1)))
    assert (first != shapes.augment(x, size, torch.Generator().manual_seed(2))).any()


def test_other_seeds_draw_other_pictures_of_the_same_classes(monkeypatch):
    monkeypatch.setattr(shapes, "_COUNTS", (1, 2, 1))
    one, labels = shapes.draw_pictures(3, seed=1)
    two, _ = shapes.draw_pictures(3, seed=2)
    assert one.shape == two.shape == (12, 72, 72, 3)
    assert labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert (one != two).any((1, 2, 3)).all()
