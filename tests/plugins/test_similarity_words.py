"""Values of the similarity measures of texts, and the words that they find."""

import numpy as np
import pytest

from autotl.specs import DomainSample
from autotl_similarity.words import vocabulary_overlap, word_js


def texts(*lines):
    return DomainSample(mean=np.zeros(1), covariance=np.eye(1), n=len(lines), samples=lines)


def test_word_js_by_hand():
    assert word_js(texts("a b"), texts("A, a!")) == pytest.approx(
        (0.5 * np.log2(0.5 / 0.75) + 0.5 * np.log2(0.5 / 0.25) + np.log2(1 / 0.75)) / 2
    )
    assert word_js(texts("a b", ""), texts("b", "a")) == 0
    assert word_js(texts("a b"), texts("c d")) == 1


def test_vocabulary_overlap_counts_occurrences():
    source, target = texts("the cat and the dog"), texts("The the THE fish")

    assert vocabulary_overlap(source, target) == pytest.approx(3 / 4)
    assert vocabulary_overlap(target, source) == pytest.approx(2 / 5)


def test_vocabulary_overlap_knows_10000_words():
    source = texts(" ".join(f"w{i:05}" for i in reversed(range(10_002))), "w10001")

    assert vocabulary_overlap(source, texts("w10001 w09998")) == 1
    assert vocabulary_overlap(source, texts("w09999 w10000")) == 0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ÉCOLE, don't_stop", "école don t stop"),
        ("हिन्दी। में", "हिन्दी में"),
        ("東京に行く", "行く に 京 東"),
        ("cafe\u0301 ﬁne \uff11\uff12", "café fine 12"),
        ("Straße 🙂", "STRASSE"),
    ],
)
def test_words_are_found_in_any_script(one, other):
    assert word_js(texts(one), texts(other)) == 0


def test_marks_do_not_split_words():
    assert word_js(texts("हिन्दी"), texts("ह न द")) == 1


@pytest.mark.parametrize("measure", [word_js, vocabulary_overlap])
def test_texts_without_words_are_refused(measure):
    with pytest.raises(ValueError, match="texts of the target have 0 words"):
        measure(texts("a"), texts("", "?!"))
    with pytest.raises(ValueError, match="sample of type 'int'"):
        measure(texts(3), texts("a"))
