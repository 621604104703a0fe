"""Closeness of the words of two domains of texts."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cache

import numpy as np

from autotl.errors import InvalidDataError
from autotl.specs import DomainSample
from autotl_similarity.domains import both_texts

_VOCABULARY_SIZE = 10_000
# Thai and Lao, Burmese, Khmer, kana, Han: scripts that put no spaces between words.
_UNSPACED = re.compile(
    r"([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff])"
)


def word_js(source: DomainSample, target: DomainSample) -> float:
    """Return the Jensen-Shannon divergence of the word frequencies in bits, in [0, 1].

    Words are runs of letters, digits and marks, without case; in scripts without spaces, single
    characters. Rare words keep it above 0 between samples of one domain: compare like sizes.

    Raises:
        InvalidDataError: A domain has no texts or no word in them.
    """
    one, other = _counted(source, target)
    vocabulary = sorted(one.keys() | other.keys())
    p, q = (_frequencies(counts, vocabulary) for counts in (one, other))
    middle = (p + q) / 2
    return float(np.clip((_kl_bits(p, middle) + _kl_bits(q, middle)) / 2, 0.0, 1.0))


def vocabulary_overlap(source: DomainSample, target: DomainSample) -> float:
    """Return the share of words in the target among the 10,000 most frequent of the source.

    Words are counted as often as they occur, and found as for `word_js`.

    Raises:
        InvalidDataError: A domain has no texts or no word in them.
    """
    one, other = _counted(source, target)
    # Ties by spelling, so that the order of the texts decides nothing.
    known = sorted(one, key=lambda word: (-one[word], word))[:_VOCABULARY_SIZE]
    return sum(other[word] for word in known) / other.total()


def _counted(source: DomainSample, target: DomainSample) -> tuple[Counter[str], Counter[str]]:
    one, other = map(_word_counts, both_texts(source, target))
    for side, counts in (("source", one), ("target", other)):
        if not counts:
            raise InvalidDataError(
                f"The texts of the {side} have 0 words; expected at least one. Pass texts with "
                "letters or digits."
            )
    return one, other


def _word_counts(texts: Sequence[str]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for text in texts:
        folded = unicodedata.normalize("NFKC", text).casefold()
        counts.update(_word_pattern().findall(_UNSPACED.sub(r" \1 ", folded)))
    return counts


@cache
def _word_pattern() -> re.Pattern[str]:
    # \w leaves out the vowel signs that many scripts write as combining marks.
    plane = map(chr, range(0x300, 0x10000))
    marks = "".join(c for c in plane if unicodedata.category(c).startswith("M"))
    return re.compile(rf"[^\W_](?:[^\W_]|[{marks}])*")


def _frequencies(counts: Counter[str], vocabulary: Sequence[str]) -> np.ndarray:
    return np.array([counts[word] for word in vocabulary]) / counts.total()


def _kl_bits(p: np.ndarray, q: np.ndarray) -> float:
    present = p > 0
    return float(np.sum(p[present] * np.log2(p[present] / q[present])))
