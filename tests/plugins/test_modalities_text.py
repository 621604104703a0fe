import numpy as np
import pandas as pd
import pytest
from scipy.sparse import issparse

from autotl.errors import InvalidDataError
from autotl.registry import get_registry
from autotl.testing import check_modality
from autotl_modalities.text import as_samples

TEXTS = [
    "the cat sat",
    "a dog ran off",
    "Is it 5?",
    "caf\xe9 ol\xe9",
    "the dog sat",
    "\u4f60\u597d",
]


@pytest.fixture
def spec():
    return get_registry().modalities.get("text")


@pytest.mark.parametrize(
    "X", [TEXTS, pd.Series(TEXTS), np.array(TEXTS)], ids=["list", "series", "array"]
)
def test_text_modality_fulfils_its_contract(spec, X):
    check_modality(spec, X)


def test_as_samples_marks_empty_and_missing_texts():
    samples = as_samples(["ok", "", "  \n", None, float("nan"), pd.NA, "\ud800"])

    assert samples[0] == "ok"
    assert all(isinstance(s, InvalidDataError) for s in samples[1:])


def test_as_samples_shows_what_is_no_text():
    with pytest.raises(InvalidDataError, match="X\\[1\\] is 5 \\(int\\)"):
        as_samples(["ok", 5])
    with pytest.raises(InvalidDataError, match="give a list"):
        as_samples("one text")
    with pytest.raises(InvalidDataError, match=r"a DataFrame of shape \(6, 1\).*pass one column"):
        as_samples(pd.DataFrame({"text": TEXTS}))


def test_accepts_starts_from_the_first_text(spec):
    assert spec.accepts([None, "a"])
    assert not spec.accepts([1, "a"])
    assert not spec.accepts("a")
    assert not spec.accepts(np.zeros((3, 4)))


def test_tfidf_equals_scikit_learn(spec):
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = spec.raw_features[0]
    reference = TfidfVectorizer(
        ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b", sublinear_tf=True
    )

    features = words.transform(TEXTS[2:], words.fit(TEXTS[:4]))

    assert issparse(features)
    assert features.format == "csr"
    assert features.dtype == np.float32
    expected = reference.fit(TEXTS[:4]).transform(TEXTS[2:])
    assert np.allclose(features.toarray(), expected.toarray(), atol=1e-6)


def test_tfidf_survives_texts_without_words(spec):
    for raw in spec.raw_features:
        state = raw.fit(["!!", "??", "."])

        assert raw.transform(["!!", "new words"], state).shape[0] == 2


def test_text_has_no_augmentation(spec):
    assert spec.augment is None
