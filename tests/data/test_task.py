import numpy as np
import pandas as pd
import pytest
from PIL import Image

from autotl.data import build_task
from autotl.errors import AmbiguousModalityError, InvalidDataError, UnknownNameError

TEXTS = [f"text number {i}" for i in range(60)]
LABELS = [i % 2 for i in range(60)]


def labels_of(task, rows):
    return [task.classes[c] for c in task.y[rows]]


def contents(task, rows):
    return sorted((task.samples[i], task.classes[task.y[i]]) for i in rows)


@pytest.mark.parametrize(
    ("given", "classes"),
    [
        ([-1, 1], [-1, 1]),
        (["no", "yes"], ["no", "yes"]),
        ([0.0, 1.0], [0.0, 1.0]),
        ([False, True], [False, True]),
        ([(1, 2), (0, 5)], [(0, 5), (1, 2)]),
        ([2, "b"], [2, "b"]),
    ],
)
def test_labels_are_kept_as_given(given, classes):
    task = build_task(TEXTS, given * 30)

    assert task.classes == classes
    assert [type(c) for c in task.classes] == [type(c) for c in classes]
    assert [task.classes[c] for c in task.y[:2]] == given


@pytest.mark.parametrize(
    "y",
    [
        np.array(LABELS),
        np.array(LABELS)[:, None],
        pd.Series(LABELS, index=range(100, 160)),
        pd.Series(LABELS).astype("Int64"),
        pd.Series(LABELS).astype("category"),
    ],
)
def test_labels_come_in_many_containers(y):
    task = build_task(pd.Series(TEXTS), y)

    assert task.classes == [0, 1]
    assert [type(c) for c in task.classes] == [int, int]
    assert task.y.dtype == np.int64
    assert task.y.tolist() == LABELS


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (LABELS[:50], r"^y has 50 labels but X has 60 samples\."),
        ([None, *LABELS[1:-1], float("nan")], "2 of 60 labels.*indices 0, 59"),
        (pd.array([pd.NA, *LABELS[1:]]), "1 of 60 labels.*index 0"),
        (np.linspace(0, 1, 60), "regression comes later"),
        ([1] * 60, "only one class, 1 \\(60\\)"),
        (list(range(60)), "60 of 60 classes have fewer than 3 samples.*regression comes later"),
        (np.eye(60), "argmax"),
        ([[1]] * 60, "not hashable"),
        ("labels", "one label for each sample"),
        (None, "y is None"),
    ],
)
def test_labels_that_make_no_task_are_refused(y, message):
    with pytest.raises(InvalidDataError, match=message):
        build_task(TEXTS, y)


def test_a_class_with_one_sample_is_left_out():
    task = build_task(TEXTS, ["rare", *("ab" * 30)[1:]])

    assert task.classes == ["a", "b"]
    assert len(task.samples) == 59
    assert [s.sample for s in task.skipped] == ["X[0]"]
    assert "'rare' (1)" in task.warnings[0]


def test_unusable_samples_are_counted_and_listed():
    task = build_task(
        ["", None, float("nan"), *TEXTS[3:]], LABELS, ids=[f"row {i}" for i in range(60)]
    )

    assert [s.sample for s in task.skipped] == ["row 0", "row 1", "row 2"]
    assert len(task.samples) == len(task.y) == len(task.fingerprints) == 57
    assert any("3 samples of X left out" in w for w in task.warnings)


def test_nothing_usable_is_an_error():
    with pytest.raises(InvalidDataError, match="None of the 4 samples"):
        build_task(["", " ", "", ""], [0, 1, 0, 1])
    with pytest.raises(InvalidDataError, match="no samples"):
        build_task([], [])


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros((60, 64)), "Rows come later; images need \\(N, H, W\\)"),
        (pd.DataFrame({"text": TEXTS}), "pass one column"),
        ("one text", "Give a list"),
        (LABELS, "a list of 60 int"),
    ],
)
def test_unknown_samples_say_what_is_expected(X, message):
    with pytest.raises(InvalidDataError, match=message):
        build_task(X, LABELS)


def test_ambiguous_strings_name_the_flag(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "a.png")

    with pytest.raises(AmbiguousModalityError, match="modality='image' or modality='text'"):
        build_task([str(tmp_path / "a.png"), "a text"] * 30, LABELS)
    with pytest.raises(UnknownNameError, match="'image'"):
        build_task(TEXTS, LABELS, modality="images")


def test_splits_do_not_depend_on_the_order_of_files_or_names():
    texts = [f"text {i // 2}" for i in range(90)]
    y = np.array([i // 2 % 3 for i in range(90)])
    order = np.random.default_rng(0).permutation(90)

    one = build_task(texts, y, seed=4)
    other = build_task([texts[i] for i in order], y[order], seed=4)
    renamed = build_task(texts, 2 - y, seed=4)

    assert contents(one, one.split.holdout) == contents(other, other.split.holdout)
    assert np.array_equal(one.split.holdout, renamed.split.holdout)
    for a, b, c in zip(one.split.folds, other.split.folds, renamed.split.folds, strict=True):
        assert contents(one, a.train) == contents(other, b.train)
        assert np.array_equal(a.train, c.train)


def test_groups_and_duplicates_stay_together():
    texts = TEXTS[:40] + TEXTS[:20]
    groups = [i // 4 for i in range(60)]

    task = build_task(texts, [i // 4 % 2 for i in range(60)], groups=groups)

    for fold in task.split.folds:
        for part in (fold.train, fold.validation, task.split.holdout):
            inside = set(part.tolist())
            ties = [
                {g for i, g in enumerate(groups) if (i in inside) is side}
                for side in (True, False)
            ]
            prints = [
                {p for i, p in enumerate(task.fingerprints) if (i in inside) is s}
                for s in (True, False)
            ]
            assert not ties[0] & ties[1]
            assert not prints[0] & prints[1]
    assert len(set(task.groups.tolist())) == 10


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([1], "groups has 1 values but X has 60"),
        ([1] * 60, "only one value, 1"),
        ([None] * 60, "60 of 60 values in groups are missing"),
        (LABELS, "fewer than 3 groups"),
    ],
)
def test_groups_that_cannot_be_split_are_refused(groups, message):
    with pytest.raises(InvalidDataError, match=message):
        build_task(TEXTS, LABELS, groups=groups)


def test_duplicates_with_different_labels_are_reported():
    task = build_task([*TEXTS, TEXTS[0]], [*LABELS, 1])

    assert "2 samples have the same content" in task.warnings[0]


def test_labels_per_class_holds_out_the_rest():
    task = build_task(TEXTS, LABELS, labels_per_class=10, seed=1)

    kept = task.split.train_validation
    assert np.bincount(task.y[kept]).tolist() == [10, 10]
    assert len(task.split.holdout) == 40
    assert len(task.split.folds) == 5


@pytest.mark.parametrize(
    ("n", "message"),
    [
        (30, "0 \\(30\\), 1 \\(30\\).*labels_per_class=29"),
        (1, "labels_per_class is 1"),
        (2.5, "2.5"),
    ],
)
def test_labels_per_class_that_does_not_fit(n, message):
    with pytest.raises(InvalidDataError, match=message):
        build_task(TEXTS, LABELS, labels_per_class=n)


def test_a_given_holdout_is_kept_whole():
    held = [*TEXTS[:5], "new"]

    task = build_task(TEXTS, LABELS, X_holdout=held, y_holdout=[*LABELS[:5], 1])

    assert task.holdout_given
    assert [task.samples[i] for i in task.split.holdout] == held
    assert len(task.samples) == 55 + 6
    assert not set(task.fingerprints[:55]) & set(task.fingerprints[55:])
    assert "5 samples of X left out" in task.warnings[0]
    assert len(task.groups) == len(task.y) == 61


def test_a_given_holdout_takes_few_labels_too():
    task = build_task(TEXTS, LABELS, labels_per_class=5, X_holdout=["q", "r"], y_holdout=[0, 1])

    assert len(task.samples) == 12
    assert "50 of 60" in task.warnings[0]


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (TEXTS, LABELS, "All 60 samples of X are in X_holdout"),
        (["q", "r"], [0, 7], "classes that y lacks: 7 \\(1\\)"),
        (["q", "r"], None, "y_holdout is None"),
        (None, [1], "X_holdout is None"),
        (["q"], [1, 0], "y_holdout has 2 labels but X_holdout has 1 samples"),
    ],
)
def test_a_given_holdout_that_does_not_fit(X, y, message):
    with pytest.raises(InvalidDataError, match=message):
        build_task(TEXTS, LABELS, X_holdout=X, y_holdout=y)


def test_the_metric_is_chosen_from_all_labels():
    y = ["many"] * 52 + ["few"] * 8

    task = build_task(TEXTS, y, labels_per_class=5)

    assert task.metric.name == "balanced_accuracy"
    assert build_task(TEXTS, y, metric="f1").metric.reason.startswith("f1, as asked.")


def test_notes_and_skipped_of_reading_come_along():
    task = build_task(TEXTS, LABELS, notes=["A note."])

    assert task.warnings == ["A note."]
    assert task.skipped == []


def test_corrupt_image_among_good_ones_is_skipped(tmp_path):
    paths = []
    for i in range(12):
        paths.append(tmp_path / f"{i}.png")
        Image.new("L", (9, 9), 20 * i).save(paths[-1])
    paths[3].write_bytes(paths[3].read_bytes()[:40])

    task = build_task(paths, [i % 2 for i in range(12)])

    assert [s.sample for s in task.skipped] == [str(paths[3])]
    assert len(task.samples) == 11
