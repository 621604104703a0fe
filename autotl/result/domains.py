"""The report's section on samples beside the labelled ones."""

from collections.abc import Mapping
from typing import Any

from autotl.result import wording
from autotl.result.page import Cell, prose, table

__all__ = ["domains_section"]

_GUESSES = {
    "source_score": "on the source",
    "weighted_score": "on the source, weighted",
    "information": "mutual information",
    "circular": "there and back",
}


def domains_section(result: Mapping[str, Any]) -> str:
    """Return what was learnt from besides, and what one domain alone gives."""
    found = result.get("domains")
    if not found:
        return ""
    parts = [f"<p>{prose(_given(found))}</p>"]
    if found.get("beside"):
        parts.append(_beside(result, found))
    if found.get("forgetting"):
        parts.append(f"<p>{prose(wording.forgetting_sentence(found['forgetting']))}</p>")
    return "".join(parts)


def _given(found: Mapping[str, Any]) -> str:
    sentences = []
    if found.get("unsupervised"):
        sentences.append(
            "None of your samples has a label: classes and labelled samples are the source's."
        )
    if found.get("n_unlabeled"):
        sentences.append(f"{wording.count(found['n_unlabeled'], 'sample')} without labels.")
    for source in found.get("sources") or ():
        share = f"{source['n_shared']:,} of classes that you have"
        weight = f"counts {source['weight']:.2f}" if source["weight"] else "is left out"
        sentences.append(
            f"Source {source['name']}: {wording.count(source['n_samples'], 'sample')}, {share}; "
            f"it {weight}."
        )
    return " ".join(sentences)


def _beside(result: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """Return the shipped configuration next to what one domain alone gives."""
    metric, best = str(result.get("metric", "")), result.get("best") or {}
    guessed = bool(found.get("unsupervised"))
    row: Mapping[str, Any] = next(
        (r for r in result.get("leaderboard") or () if r.get("trial") == best.get("trial")), {}
    )
    names = list(_GUESSES) if guessed else []
    tested = "holdout of the source" if wording.is_guess(result) else "holdout"
    numbers = ["validation", *(_GUESSES[n] for n in names), tested]
    heads = [("", ""), ("method", ""), *((name, "n") for name in numbers)]
    chosen = {**best, "name": "chosen", "guesses": row.get("guesses")}
    rows = []
    for entry in (chosen, *found["beside"]):
        guesses = entry.get("guesses") or {}
        score = wording.score_text
        cells = [wording.validation_text(result, entry.get("validation"))]
        cells += [f"{guesses[n]:.3f}" if guesses.get(n) is not None else "-" for n in names]
        cells.append(score(entry.get("holdout"), metric))
        words = [Cell.of(entry.get(key) or "-") for key in ("name", "adaptation")]
        rows.append([*words, *(Cell.of(cell, "n") for cell in cells)])
    return table(heads, rows, label="The chosen model and one domain alone", snug=True)
