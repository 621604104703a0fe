"""Features of texts without any pretraining, for the floor."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from autotl.specs import SavedState

__all__ = ["fit_words", "fit_words_chars", "tfidf"]

# Single characters count as words: "?" does not, but "I" and "5" do.
_WORDS: Mapping[str, Any] = {
    "analyzer": "word",
    "ngram_range": (1, 2),
    "token_pattern": r"(?u)\b\w+\b",
}
_CHARS: Mapping[str, Any] = {"analyzer": "char_wb", "ngram_range": (3, 5)}
_KINDS = {"words": _WORDS, "chars": _CHARS}
_MAX_TERMS = 25_000


def fit_words(samples: Sequence[str]) -> SavedState:
    """Learn the words and pairs of words, and how rare they are."""
    return _fit(samples, ("words",))


def fit_words_chars(samples: Sequence[str]) -> SavedState:
    """Learn words, pairs of words and 3 to 5 characters, and how rare they are."""
    return _fit(samples, ("words", "chars"))


def tfidf(samples: Sequence[str], state: SavedState) -> Any:
    """Return sublinear TF-IDF as CSR, shape (n_samples, n_terms), float32.

    The rows of each kind of term have length 1, or 0 where no term is known.
    """
    from scipy.sparse import csr_matrix, hstack

    blocks = [_block(samples, kind, state) for kind in _KINDS if state.config["terms"].get(kind)]
    if not blocks:
        return csr_matrix((len(samples), 1), dtype=np.float32)
    return hstack(blocks, format="csr", dtype=np.float32)


def _vectorizer(kind: str, **options: Any) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(sublinear_tf=True, dtype=np.float32, **_KINDS[kind], **options)


def _fit(samples: Sequence[str], kinds: Sequence[str]) -> SavedState:
    terms: dict[str, list[str]] = {}
    rarity: dict[str, np.ndarray[Any, Any]] = {}
    for kind in kinds:
        vectorizer = _vectorizer(kind, max_features=_MAX_TERMS)
        try:
            vectorizer.fit(samples)
        except ValueError:  # no text has a single term of this kind, such as "!!"
            terms[kind] = []
            continue
        terms[kind] = vectorizer.get_feature_names_out().tolist()
        rarity[f"{kind}_idf"] = np.asarray(vectorizer.idf_, dtype=np.float32)
    return SavedState(tensors=rarity, config={"terms": terms})


def _block(samples: Sequence[str], kind: str, state: SavedState) -> Any:
    terms = state.config["terms"][kind]
    vectorizer = _vectorizer(kind, vocabulary={term: i for i, term in enumerate(terms)})
    vectorizer.idf_ = np.asarray(state.tensors[f"{kind}_idf"], dtype=np.float32)
    return vectorizer.transform(samples)
