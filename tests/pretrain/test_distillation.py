"""What a student starts from, and whether it learns."""

import numpy as np
import pytest
import torch

from autotl_embedded.quantised import quantise
from autotl_embedded.sentences import Encoder, from_folder
from autotl_embedded.tokens import padded

distil = pytest.importorskip("distil")
passages = pytest.importorskip("passages")
students = pytest.importorskip("students")
teacher = pytest.importorskip("teacher")


def encoder(seed=0):
    torch.manual_seed(seed)
    return Encoder(n_tokens=40, width=24, n_layers=2, n_hidden=32, n_heads=12)


def random_rows(n_rows, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(1, 40, rng.integers(2, 9)).tolist() for _ in range(n_rows)]


def test_units_that_never_change_are_dropped_without_a_trace():
    model = encoder().eval()
    batch = padded(random_rows(12))
    with torch.no_grad():
        for layer in model.layers:
            layer.up.weight[::4] = 0.0
            layer.up.bias[::4] = 0.7
        expected = model(batch)

        students.keep_hidden_units(model, batch, 24)
        found = model(batch)

    assert model.layers[0].up.weight.shape == (24, 24)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_factors_of_full_rank_are_the_table():
    table = torch.randn(40, 24, generator=torch.Generator().manual_seed(0))

    found = students.Factors(table, 24)(torch.arange(40))

    torch.testing.assert_close(found, table, atol=1e-5, rtol=1e-4)


def test_stored_student_embeds_as_it_did(tmp_path):
    from safetensors.torch import save_file

    model = encoder().eval()
    model.words = students.Factors(model.words.weight.detach(), 20)
    save_file(quantise(model.state_dict()), tmp_path / "model.safetensors")
    batch = padded(random_rows(5))

    with torch.inference_mode():
        expected, found = model(batch), from_folder(tmp_path)(batch)

    assert torch.nn.functional.cosine_similarity(found, expected).min() > 0.999


def test_batches_hold_every_text_once_and_few_tokens():
    lengths = np.random.default_rng(0).integers(1, 60, 500)

    groups = teacher.batches_by_length(lengths, 256)

    assert sorted(np.concatenate(groups).tolist()) == list(range(500))
    assert all(len(group) * lengths[group].max() <= 256 for group in groups)


def distillation(n_epochs, seed=1):
    rows = random_rows(300)
    with torch.inference_mode():
        targets = torch.nn.functional.normalize(encoder(0)(padded(rows)), dim=1)
    recipe = distil.Recipe(
        n_epochs=n_epochs, limit_seconds=1e6, batch_tokens=128, peak_rate=3e-3, ema=0.9
    )
    return distil.Distillation(encoder(seed), rows, targets.clone(), 50, recipe, 0)


def test_student_comes_closer_to_its_teacher(tmp_path):
    run = distillation(n_epochs=4)
    before = run.report()

    run.run(tmp_path / "student.pt")

    assert run.report() > before + 0.2


def test_resumed_run_goes_on_where_it_stopped(tmp_path):
    path = tmp_path / "student.pt"
    unbroken = distillation(n_epochs=2)
    unbroken.run(tmp_path / "other.pt")

    first = distillation(n_epochs=2)
    groups = first._groups(0)
    for _ in range(5):
        first._step(groups)
    first._save(path)
    second = distillation(n_epochs=2, seed=9)
    second.run(path)

    assert second.report() == pytest.approx(unbroken.report(), abs=1e-3)


def test_passages_are_texts_of_every_kind_and_equal_for_equal_seeds(tmp_path):
    import gzip

    lines = [
        "the lake froze over twice in that winter",
        "Where did you leave the boat? She asked us. Nobody knew!" + " It rained for days." * 12,
    ]
    path = tmp_path / "corpus.txt.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode()))

    drawn = [
        passages.Passages(path, ["modem", "emoji"], np.random.default_rng(3)).draw(200)
        for _ in range(2)
    ]

    assert drawn[0] == drawn[1]
    assert all(text.split() for text in drawn[0])
    assert any("modem" in text for text in drawn[0])
    assert any(len(text.split()) > passages.MOST_WORDS for text in drawn[0])
