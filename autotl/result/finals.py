"""The report's part on the finalists: fresh splits, and the ensemble where one was tried."""

from collections.abc import Mapping
from typing import Any

from autotl.result import wording
from autotl.result.page import Cell, prose, table, tag

__all__ = ["finals_section"]


def finals_section(result: Mapping[str, Any]) -> str:
    """Return how the finalist was chosen among those that validation could not tell apart."""
    shipping = result.get("shipping")
    if not isinstance(shipping, Mapping) or wording.is_unsupervised(result):
        return ""
    parts = [f"<p>{prose(_how(shipping))}</p>"]
    rows = shipping.get("finalists") or []
    if rows and shipping.get("n_splits"):
        parts.append(_table(rows, shipping, str(result.get("metric", ""))))
    parts += [_soup(result), _ensemble(result)]
    return "".join(parts)


def _how(shipping: Mapping[str, Any]) -> str:
    n = int(shipping.get("n_splits") or 0)
    asked = "the lower end of its lead" if shipping.get("cautious") else "its mean"
    rule = f"The finalist is shipped when {asked} exceeds the floor's"
    margin = float(shipping.get("margin") or 0.0)
    if shipping.get("cautious"):
        rule = "The finalist is shipped when the lower end of its lead over the floor exceeds zero"
    if margin:
        rule += f" by {margin:g}"
    if not n:
        return (
            "No time was left to fit the finalists again on fresh splits, so the validation of "
            f"the search decided, which flatters the best of many trials. {rule}."
        )
    return (
        "Of many trials the luckiest leads on validation, so those that may be the best were "
        f"fitted again on {wording.count(n, 'fresh split')} of train and validation, the floor on "
        f"the same ones. {rule}."
    )


def _table(rows: list[Mapping[str, Any]], shipping: Mapping[str, Any], metric: str) -> str:
    cells = []
    for row in rows:
        error = row.get("standard_error")
        spread = "" if error is None else f"± {wording.gap_text(error, metric).lstrip('+')}"
        cells.append(
            [
                Cell.of(f"{row.get('backbone')} + {row.get('adaptation')}"),
                Cell.number(str(row.get("trial", ""))),
                Cell.number(wording.score_text(row.get("validation"), metric)),
                Cell.number(wording.score_text(row.get("mean"), metric)),
                Cell.number(wording.gap_text(row.get("difference"), metric)),
                Cell.number(spread),
                Cell(tag("finalist", "good") if row.get("chosen") else ""),
            ]
        )
    if shipping.get("floor") is not None:
        floor = [Cell("") for _ in range(7)]
        floor[0] = Cell.of("the floor")
        floor[3] = Cell.number(wording.score_text(shipping["floor"], metric))
        cells.append(floor)
    headers = [
        ("Finalist", ""), ("Trial", "n"), ("Search", "n"), ("Fresh splits", "n"),
        ("vs floor", "n"), ("Error", "n"), ("", ""),
    ]  # fmt: skip
    kinds = ["shipped" if row.get("chosen") else "" for row in rows]
    kinds += ["floor"] * (len(cells) - len(rows))
    body = table(headers, cells, label="Finalists", kinds=kinds, snug=True)
    return (
        f'{body}<p class="note">Error: the standard error of the difference to the floor, '
        "corrected for splits that overlap (Nadeau and Bengio).</p>"
    )


def _soup(result: Mapping[str, Any]) -> str:
    """Return what the finalist's weights were averaged with."""
    soup = result.get("soup")
    if not isinstance(soup, Mapping):
        return ""
    metric, lead = str(result.get("metric", "")), soup.get("lead") or {}
    unit = " points" if wording.is_share(metric) else ""
    members = ", ".join(
        f"{100 * float(m.get('weight') or 0):.0f} % trial {m.get('trial')} ({m.get('adaptation')})"
        for m in soup.get("members") or ()
    )
    end = "It is shipped." if soup.get("used") else "No time was left to fit its parts again."
    return (
        f"<h3>Averaged weights</h3><p>{prose(members)}: ahead of the finalist by "
        f"{wording.gap_text(lead.get('value'), metric)}{unit} on the validation samples that "
        f"chose it, by more than a standard error. A probe stands for the pretrained weights. "
        f"{end}</p>"
    )


def _ensemble(result: Mapping[str, Any]) -> str:
    ensemble = result.get("ensemble")
    if not isinstance(ensemble, Mapping):
        return ""
    metric, lead = str(result.get("metric", "")), ensemble.get("lead") or {}
    members = ensemble.get("members") or []
    unit = " points" if wording.is_share(metric) else ""
    gain = wording.gap_text(lead.get("value"), metric) + unit
    interval = wording.interval_text(lead.get("low"), lead.get("high"), metric)
    verdict = (
        "It is shipped." if ensemble.get("used") else "It is not shipped: one model does as well."
    )
    words = (
        f"A greedy ensemble, its weights judged on validation samples that did not choose them, "
        f"is ahead of the finalist by {gain} ({interval} within one standard error). {verdict}"
    )
    if len(members) < 2:
        return (
            "<h3>Ensemble</h3><p>No other trial made a greedy ensemble better than the "
            "finalist alone.</p>"
        )
    rows = [
        [
            Cell.of(f"{m.get('backbone')} + {m.get('adaptation')}"),
            Cell.number(str(m.get("trial", ""))),
            Cell.number(f"{100 * float(m.get('weight') or 0):.0f} %"),
        ]
        for m in members
    ]
    headers = [("Member", ""), ("Trial", "n"), ("Weight", "n")]
    body = table(headers, rows, label="Members of the ensemble", snug=True)
    return f"<h3>Ensemble</h3><p>{prose(words)}</p>{body}"
