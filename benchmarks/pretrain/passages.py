"""Unlabelled English texts for the teacher to embed: sentences, questions and mixtures of words.

The corpus is mostly novels, while users' texts are shorter and newer. Words drawn from BERT's
vocabulary, alone or in the place of a sentence's own, bring in what the corpus lacks.
"""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np
import torch
from teacher import encode, numbers_of, teacher_folder
from torch import Tensor

N_DRAWN = 240_000
MOST_WORDS = 36
MOST_WORDS_LONG = 100

_SHARD = 8192

# How many texts of each kind, for each hundred.
SHARES = {
    "passage": 42,
    "long": 3,
    "question": 8,
    "utterance": 8,
    "fact": 2,
    "substituted": 24,
    "mixture": 13,
}
_SUBSTITUTED_IN = ("passage", "passage", "question", "utterance", "fact", "fact")


class Passages:
    """Draw texts of several kinds from a corpus.

    Args:
        corpus: Gzipped text, one paragraph a line.
        words: Words to mix.
        random: Source of every draw.
    """

    def __init__(self, corpus: Path, words: list[str], random: np.random.Generator) -> None:
        with gzip.open(corpus, "rt", encoding="utf-8") as file:
            lines = file.read().splitlines()
        self._paragraphs = [re.split(r"(?<=[.!?])\s+", line) for line in lines]
        every = [sentence for paragraph in self._paragraphs for sentence in paragraph]
        self._questions = [s for s in every if s.endswith("?") and 3 <= s.count(" ") + 1 <= 20]
        self._utterances = [s for s in every if s[-1:] in ".!" and 2 <= s.count(" ") + 1 <= 8]
        self._long = [line for line in lines if line.count(" ") >= MOST_WORDS]
        self._facts = [line for line in lines if re.fullmatch(r"[a-z0-9 ]{20,}", line)]
        self._words, self._random = words, random

    def draw(self, n_texts: int) -> list[str]:
        """Return texts of all kinds in random order."""
        kinds = list(SHARES)
        shares = np.array([SHARES[kind] for kind in kinds]) / 100.0
        chosen = self._random.choice(len(kinds), n_texts, p=shares)
        return [getattr(self, kinds[index])() for index in chosen]

    def passage(self) -> str:
        """Return one to three sentences that follow one another."""
        paragraph = self._paragraphs[self._random.integers(len(self._paragraphs))]
        n_sentences = int(self._random.choice([1, 1, 1, 1, 2, 2, 3]))
        first = int(self._random.integers(0, max(1, len(paragraph) - n_sentences + 1)))
        return " ".join(" ".join(paragraph[first : first + n_sentences]).split()[:MOST_WORDS])

    def long(self) -> str:
        """Return a paragraph, cut after 100 words."""
        paragraph = self._long[self._random.integers(len(self._long))]
        return " ".join(paragraph.split()[:MOST_WORDS_LONG])

    def question(self) -> str:
        """Return one question."""
        return self._questions[self._random.integers(len(self._questions))]

    def utterance(self) -> str:
        """Return a sentence of at most eight words."""
        return self._utterances[self._random.integers(len(self._utterances))]

    def fact(self) -> str:
        """Return a line without capitals and punctuation, mostly from the encyclopaedia."""
        return self._facts[self._random.integers(len(self._facts))]

    def substituted(self) -> str:
        """Return a sentence in which drawn words stand for half of the longer ones."""
        kind = _SUBSTITUTED_IN[self._random.integers(len(_SUBSTITUTED_IN))]
        words = str(getattr(self, kind)()).split()
        for index in np.flatnonzero(self._random.random(len(words)) < 0.5):
            if len(words[index].strip(".,;:!?\"'")) >= 4:
                words[index] = self._word()
        return " ".join(words)

    def mixture(self) -> str:
        """Return two to eight words that have nothing to do with one another."""
        return " ".join(self._word() for _ in range(int(self._random.integers(2, 9))))

    def _word(self) -> str:
        return self._words[self._random.integers(len(self._words))]


def whole_words(teacher: Path) -> list[str]:
    """Return the ASCII words of the teacher's vocabulary that are one token."""
    return [t for t in numbers_of(teacher) if t.isascii() and t.isalpha() and len(t) > 1]


def embedded_by_teacher(texts: list[str], work: Path) -> Tensor:
    """Return the teacher's embeddings of shape (n_texts, 384), float16, cached in shards."""
    work.mkdir(parents=True, exist_ok=True)
    shards = []
    for at in range(0, len(texts), _SHARD):
        path = work / f"teacher-{at // _SHARD:03d}.npy"
        if not path.exists():
            print(f"shard {at // _SHARD}", flush=True)
            part = encode(texts[at : at + _SHARD], teacher_folder()).half().numpy()
            np.save(path.with_suffix(".part.npy"), part)
            path.with_suffix(".part.npy").replace(path)
        shards.append(np.load(path))
    return torch.from_numpy(np.concatenate(shards))


def lessons(
    zoo: Path, work: Path, seed: int, n_texts: int
) -> tuple[list[str], Tensor, list[str], Tensor]:
    """Return drawn texts, their embeddings by the teacher, and single words with theirs.

    Every backbone that is distilled with one seed shares the embeddings, kept in `work`.

    Args:
        zoo: Holds the corpus.
        work: Keeps the embeddings.
        seed: Of the draws.
        n_texts: How many to return of the 240,000 that the seed draws.
    """
    words = whole_words(teacher_folder())
    corpus = zoo / "text" / "corpus" / "general_en.txt.gz"
    drawn = Passages(corpus, words, np.random.default_rng(seed)).draw(N_DRAWN)[:n_texts]
    folder = work / f"lessons-{seed}"
    return (
        drawn,
        embedded_by_teacher(drawn, folder / "drawn"),
        words,
        embedded_by_teacher(words, folder / "words"),
    )
