import numpy as np
import pytest

from autotl.data import brings_labels, build_task
from autotl.errors import InvalidDataError

TEXTS = [f"text number {i}" for i in range(40)]
LABELS = ["a", "b"] * 20


def others(n=12, labels=("a", "c", "b")):
    return [f"other {i}" for i in range(n)], (list(labels) * n)[:n]


def task(**more):
    return build_task(TEXTS, more.pop("y", LABELS), modality="text", **more)


def test_a_missing_label_is_refused_with_the_way_out():
    with pytest.raises(InvalidDataError, match="unlabeled='use'"):
        task(y=[None, *LABELS[1:]])


@pytest.mark.parametrize("blank", [None, float("nan")])
def test_samples_without_labels_are_set_apart(blank):
    found = task(y=[*LABELS[:30], *[blank] * 10], unlabeled="use")

    assert len(found.y) == 30
    assert [found.samples[int(i)] for i in found.split.unlabeled] == TEXTS[30:]
    known = {int(i) for i in found.split.train_validation} | {int(i) for i in found.split.holdout}
    assert known == set(range(30))


def test_a_marker_stands_for_a_missing_label_and_minus_one_is_a_label():
    numbers = [0, 1] * 15 + [-1] * 10

    plain = task(y=numbers)
    marked = task(y=numbers, unlabeled="use", unlabeled_value=-1)
    written = task(y=numbers, unlabeled="use", unlabeled_value="-1")

    assert plain.classes == [-1, 0, 1]
    assert marked.classes == written.classes == [0, 1]
    assert len(marked.split.unlabeled) == len(written.split.unlabeled) == 10


def test_a_marker_alone_is_refused():
    with pytest.raises(InvalidDataError, match="unlabeled='use'"):
        task(unlabeled_value="?")


def test_no_label_at_all_is_refused():
    with pytest.raises(InvalidDataError, match="None of the 40 samples"):
        task(y=[None] * 40, unlabeled="use")


def test_further_samples_come_after_the_labelled_ones():
    found = task(
        X_unlabeled=["new one", "new two"],
        source=([f"other {i}" for i in range(12)], ["a", "c", "b"] * 4),
    )

    assert [found.samples[int(i)] for i in found.split.unlabeled] == ["new one", "new two"]
    (source,) = found.sources
    assert [found.samples[int(i)] for i in source.rows] == [f"other {i}" for i in range(12)]
    assert source.classes == ["a", "b", "c"]
    assert source.codes.tolist() == [0, -1, 1] * 4
    assert len(source.shared) == 8
    assert len(found.samples) == len(found.fingerprints) == 40 + 2 + 12
    assert any("classes that the data lack: 'c' (4)" in text for text in found.warnings)


def test_labels_of_a_source_fit_by_their_text():
    found = build_task(
        TEXTS, [0, 1] * 20, modality="text", source=(["x", "y"] * 6, ["1", "0"] * 6)
    )

    assert found.sources[0].codes.tolist() == [1, 0] * 6


def test_samples_of_the_holdout_are_in_none_of_the_others():
    held = [f"held {i}" for i in range(6)]
    found = task(
        X_holdout=held, y_holdout=["a", "b"] * 3,
        X_unlabeled=[*held[:2], "free"],
        source=([*held, *[f"other {i}" for i in range(12)]], ["a", "b"] * 9),
    )  # fmt: skip

    assert [found.samples[int(i)] for i in found.split.unlabeled] == ["free"]
    assert len(found.sources[0].rows) == 12
    assert np.intersect1d(found.split.holdout, found.sources[0].rows).size == 0


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (["a", "b", "c"], "Expected a pair"),
        ({"": (TEXTS, LABELS)}, "Expected names"),
        (others(4), "at least 10 samples of two classes"),
        (others(40, "a"), "at least 10 samples of two classes"),
    ],
)
def test_a_source_that_is_no_use_is_refused(source, words):
    with pytest.raises(InvalidDataError, match=words):
        task(source=source)


def test_several_sources_keep_their_names():
    pair = ([f"s {i}" for i in range(12)], ["a", "b"] * 6)
    found = task(source={"one": pair, "two": ([f"t {i}" for i in range(10)], ["x", "y"] * 5)})

    assert [s.name for s in found.sources] == ["one", "two"]
    assert any("'two' shares no class" in text for text in found.warnings)


OTHERS = [f"other {i}" for i in range(40)]


def test_without_any_label_the_sources_bring_them():
    found = task(y=None, source=(OTHERS, ["x", "y"] * 20))

    assert found.unsupervised
    assert found.classes == ["x", "y"]
    assert [found.samples[i] for i in range(40)] == OTHERS
    assert [found.samples[int(i)] for i in found.split.unlabeled] == TEXTS
    assert found.sources == ()


def test_several_sources_are_learnt_from_together_where_no_label_is_there():
    more = [f"more {i}" for i in range(20)]
    found = task(
        y=[None] * 40, unlabeled="use",
        source={"one": (OTHERS, ["x", "y"] * 20), "two": (more, ["y", "x"] * 10)},
    )  # fmt: skip

    assert found.unsupervised
    assert len(found.y) == 60
    assert len(set(found.groups.tolist())) == 60
    assert found.classes == ["x", "y"]


def test_a_holdout_of_the_users_own_tests_what_a_source_taught():
    found = task(
        y=None, source=(OTHERS, ["x", "y"] * 20),
        X_holdout=["held one", "held two"], y_holdout=["x", "y"],
    )  # fmt: skip

    assert [found.samples[int(i)] for i in found.split.holdout] == ["held one", "held two"]


def test_a_source_brings_no_label_of_the_users_own_samples():
    own = [f"text number {i}" for i in range(20)]
    found = task(source=([*own, *OTHERS], ["a", "b"] * 30))

    (source,) = found.sources
    assert {found.samples[int(i)] for i in source.rows} == set(OTHERS)
    assert any("20 samples of X of source left out" in text for text in found.warnings)


def test_what_two_sources_share_is_kept_from_no_method_in_vain():
    many = [f"other {i}" for i in range(150)]
    found = task(source={"one": (many, ["a", "b"] * 75), "two": (many, ["a", "b"] * 75)})

    assert not any(len(source.held) for source in found.sources)


def test_the_test_itself_may_be_learnt_from_where_no_label_is_used():
    found = task(
        y=None, source=(OTHERS, ["a", "b"] * 20), X_holdout=TEXTS, y_holdout=LABELS
    )  # fmt: skip

    assert len(found.split.unlabeled) == 40
    assert [found.samples[int(i)] for i in found.split.holdout] == TEXTS


def test_a_marker_may_be_a_numpy_number_or_stand_for_floats():
    numbers = [0, 1] * 15 + [-1] * 10

    for labels, marker in ((numbers, np.int64(-1)), ([float(n) for n in numbers], -1)):
        found = task(y=labels, unlabeled="use", unlabeled_value=marker)
        assert len(found.split.unlabeled) == 10


def test_a_data_set_without_labels_does_not_bring_them():
    datasets = pytest.importorskip("datasets")
    texts = datasets.Dataset.from_dict({"text": TEXTS})
    labelled = datasets.Dataset.from_dict({"text": TEXTS, "label": LABELS})

    assert brings_labels(labelled)
    assert not brings_labels(texts)
    assert not brings_labels(TEXTS)


def test_samples_of_a_source_without_a_label_are_left_out_and_counted():
    X, y = others(20)
    found = task(source=(X, [None, float("nan"), *y[2:]]))

    assert len(found.sources[0].rows) == 18
    assert any("2 of 20 samples of source have no label" in w for w in found.warnings)


def test_labels_that_missing_ones_made_floats_of_are_those_of_the_source():
    numbers = [float(i % 2) for i in range(40)]
    found = task(y=[float("nan"), *numbers[1:]], unlabeled="use", source=others(labels="01"))

    assert (found.sources[0].codes >= 0).all()


def test_a_source_says_which_classes_it_lacks():
    found = task(source=others(labels="ac"))

    assert any("has no sample of 1 of the 2 classes of the data: 'b'" in w for w in found.warnings)


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ((TEXTS, LABELS), "All 40 samples of source are in the data too"),
        ([others(), others()], "is a list of 2. Expected a pair"),
        ([*others(), 1], "is a list of 3. Expected a pair"),
        (others(labels="a"), "of 1 class. Expected"),
    ],
)
def test_sources_that_cannot_be_used_say_why(source, problem):
    with pytest.raises(InvalidDataError, match=problem):
        task(source=source)


def test_without_labels_there_are_none_to_keep_a_few_of():
    with pytest.raises(InvalidDataError, match="Leave it out"):
        task(y=None, source=others(), labels_per_class=3)


def test_without_labels_the_warnings_name_the_source():
    found = task(y=None, source={"there": others(labels="ab")})

    assert any("those of 'there' (12 samples)" in w for w in found.warnings)


def test_a_marker_that_is_no_label_is_said():
    assert any("No label is '?'" in w for w in task(unlabeled="use", unlabeled_value="?").warnings)
