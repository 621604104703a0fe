"""What a search may know beforehand: of all families of sets but the one it is judged on."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from fit_prior import Shelf, fit, read_shelves
from fit_search import fit_methods, fit_portfolio
from gains import PROBE, TUNED, fit_gains, read_gains
from ground_truth import records

from autotl.ranking import Evidence, Prior

SCORE_SECONDS = 0.1  # of one look through one backbone, see evidence.py --time
Row = TypeVar("Row")


def left_out(rows: Iterable[Row], family: str) -> list[Row]:
    """Return what may be learnt from: rows or shelves of the other families."""
    return [r for r in rows if (r["family"] if isinstance(r, Mapping) else r.family) != family]


@dataclass(frozen=True, kw_only=True)
class Known:
    """What a search may know of a set whose family is left out.

    Args:
        prior: Of the ranking and of what methods add, fitted on the other families.
        rows: Curves of the other families, same modality.
        looks: What looks at samples have shown of each backbone, by set and look.
        portfolio: Methods and parameters to try first.
        score_seconds: Of the scores of one look.
    """

    prior: Prior
    rows: Sequence[dict[str, Any]] = ()
    looks: Mapping[tuple[str, str], Mapping[str, Evidence]] = field(default_factory=dict)
    portfolio: Sequence[tuple[str, Mapping[str, Any]]] = ()
    score_seconds: float = SCORE_SECONDS


class Sources:
    """All that was measured, of which each set may know a part.

    Args:
        rows: Of the table of curves.
        truth: Folder of `ground_truth.py` and `evidence.py`; None leaves the shipped prior, which
            no figure may rest on: it has seen all families.
    """

    def __init__(self, rows: Sequence[dict[str, Any]], truth: Path | None) -> None:
        self._rows = rows
        self._truth = list(records(truth)) if truth else []
        self._shelves = read_shelves(truth) if truth else []
        self._looks = looks(self._shelves)
        self.known = cache(self._known)

    def _known(self, modality: str, family: str) -> Known:
        """Return what may be known of one family: what all others have shown."""
        rows = [r for r in left_out(self._rows, family) if r["modality"] == modality]
        portfolio = fit_portfolio(rows)
        prior = self._prior(modality, family)
        measured = {**prior.coefficients.get("methods", {}), **fit_methods(rows, portfolio)}
        return Known(
            prior=Prior({**prior.coefficients, "methods": measured}),
            rows=rows,
            looks=self._looks,
            portfolio=portfolio,
        )

    def _prior(self, modality: str, family: str) -> Prior:
        probes = [s for s in self._shelves if (s.modality, s.method) == (modality, PROBE)]
        probes = left_out(probes, family)
        if not probes:
            return Prior.load(modality)
        coefficients = fit(probes)
        truth = left_out(self._truth, family)
        gains = fit_gains(read_gains(truth, modality, coefficients["level"]))
        return Prior({**coefficients, "methods": {TUNED: gains} if gains else {}})


def looks(shelves: Iterable[Shelf]) -> dict[tuple[str, str], dict[str, Evidence]]:
    """Return what looks have shown, without the truth, by set and look.

    Of two looks at a set, that at as many samples as curves are fitted on counts.
    """
    found: dict[tuple[str, str], dict[str, Evidence]] = {}
    for shelf in sorted(shelves, key=lambda s: s.method == TUNED):
        seen = found.setdefault((shelf.name, shelf.look), {})
        if shelf.method == TUNED:
            seen.clear()  # of other samples: the two do not compare
        seen |= {e.spec.name: e for e in shelf.evidence}
    return found
