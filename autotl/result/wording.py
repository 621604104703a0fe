"""Numbers and sentences that the terminal and the report share, so that both say the same."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = [
    "clock",
    "count",
    "forgetting_sentence",
    "gap_sentence",
    "gap_text",
    "headline",
    "interval_text",
    "is_guess",
    "is_share",
    "is_unsupervised",
    "left_out_sentence",
    "looks_sentence",
    "recipe",
    "score_text",
    "shipped_sentence",
    "shipped_terms",
    "skipped_sentences",
    "validation_text",
    "yes_or_no",
]

_NAMED = 4  # backbones that a sentence names before it counts the rest
_SHARES = {"accuracy", "balanced_accuracy"}
_HEADLINES = {
    "positive": "Transfer helps",
    "negative": "Transfer hurts",
    "inconclusive": "Inconclusive: transfer may or may not help",
}


def is_share(metric: str) -> bool:
    """Tell whether scores of this metric read naturally as percentages."""
    return metric in _SHARES


def _finite(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def score_text(value: Any, metric: str) -> str:
    """Write a score as "93.4 %", or with four digits for metrics that are no share."""
    number = _finite(value)
    if number is None:
        return "-"
    return f"{100 * number:.1f} %" if is_share(metric) else f"{number:.4f}"


def gap_text(value: Any, metric: str) -> str:
    """Write a difference of scores with its sign: in points for shares, else as it is."""
    number = _finite(value)
    if number is None:
        return "-"
    text = f"{100 * number:+.1f}" if is_share(metric) else f"{number:+.4f}"
    # A rounded zero has no direction.
    return text if float(text) else text.lstrip("+-")


def interval_text(low: Any, high: Any, metric: str) -> str:
    """Write an interval of differences as "+2.9 to +6.5"; empty when an end is missing."""
    if _finite(low) is None or _finite(high) is None:
        return ""
    return f"{gap_text(low, metric)} to {gap_text(high, metric)}"


def clock(seconds: Any) -> str:
    """Write a duration: "0.4 s", "90 s", "10 min", "2 min 30 s" or "1 h 05 min"."""
    number = _finite(seconds)
    if number is None:
        return "-"
    if number < 9.95:
        return f"{number:.1f} s"
    whole = round(number)
    if whole < 120:
        return f"{whole} s"
    if whole < 3600:
        rest = f" {whole % 60:02d} s" if whole % 60 else ""
        return f"{whole // 60} min{rest}"
    rest = f" {whole % 3600 // 60:02d} min" if whole % 3600 >= 60 else ""
    return f"{whole // 3600} h{rest}"


def count(n: int, noun: str, plural: str = "") -> str:
    """Write "1 trial" or "1,697 samples"."""
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"


def headline(result: Mapping[str, Any]) -> str:
    """Say the verdict in a few words."""
    if not result.get("best"):
        return "No transfer was tried to the end"
    if is_guess(result):
        return "A guess: none of your samples has a label"
    verdict = str(result.get("verdict"))
    return _HEADLINES.get(verdict, verdict)


def is_unsupervised(result: Mapping[str, Any]) -> bool:
    """Tell whether validators chose that see no label, as none of the user's samples has one."""
    return bool((result.get("domains") or {}).get("unsupervised"))


def is_guess(result: Mapping[str, Any]) -> bool:
    """Tell whether, moreover, nothing was tested on the user's own samples."""
    return is_unsupervised(result) and not (result.get("task") or {}).get("holdout_given")


def validation_text(result: Mapping[str, Any], value: Any) -> str:
    """Write what candidates were chosen by: a score, or the mean of validators."""
    if is_unsupervised(result):
        number = _finite(value)
        return "-" if number is None else f"{number:.3f}"
    return score_text(value, str(result.get("metric", "")))


def forgetting_sentence(forgetting: Mapping[str, Any]) -> str:
    """Say how well the source's own classes are told apart before tuning and after."""
    before, after = (score_text(forgetting[key], "accuracy") for key in ("before", "after"))
    n = count(int(forgetting["n_samples"]), "sample")
    return (
        f"On {n} of the source that nothing was fitted on, a probe of its own classes is right on "
        f"{before} with the pretrained backbone and on {after} with the tuned one."
    )


def gap_sentence(result: Mapping[str, Any]) -> str:
    """Say in one sentence how far the best model is from the floor, and how sure that is."""
    gap, metric = result.get("gap"), str(result.get("metric", ""))
    if not gap or _finite(gap.get("value")) is None:
        return "There is no gap to the floor to report."
    unit = " points" if is_share(metric) else ""
    value = float(gap["value"])
    side = "above" if value >= 0 else "below"
    size = gap_text(abs(value), metric).lstrip("+")
    words = metric.replace("_", " ")
    text = f"On the holdout the best model is {size}{unit} of {words} {side} the floor"
    interval = interval_text(gap.get("low"), gap.get("high"), metric)
    if not interval:
        return f"{text}."
    confidence = 100 * (_finite(gap.get("confidence")) or 0.95)
    return f"{text}; the {confidence:g} % interval runs from {interval}."


def beside_sentence(result: Mapping[str, Any]) -> str:
    """Return what one domain alone gives on the holdout, "" where nothing was tested."""
    beside = (result.get("domains") or {}).get("beside") or ()
    if is_guess(result):
        return ""
    metric = str(result.get("metric", ""))
    known = [r for r in beside if r.get("holdout") is not None]
    return ", ".join(f"{r['name']} {score_text(r['holdout'], metric)}" for r in known)


def looks_sentence(result: Mapping[str, Any]) -> str:
    """Say how often a run that was resumed has seen its holdout; empty after the first time."""
    looks = int(_finite(result.get("holdout_looks")) or 1)
    if looks < 2:
        return ""
    return (
        f"This run has looked at its holdout {looks} times. Going on until the holdout looks good "
        "flatters: its scores and the interval are less certain than after one look."
    )


def recipe(row: Mapping[str, Any]) -> str:
    """Name a trial: backbone, adaptation and how much is frozen."""
    text = f"{row.get('backbone', '?')} + {row.get('adaptation', '?')}"
    depth, fraction = row.get("freeze_depth"), _finite(row.get("freeze_fraction"))
    if fraction is not None and fraction >= 1:
        return f"{text}, all frozen"
    if depth is not None and fraction is not None:
        return (
            f"{text}, {depth} groups frozen ({100 * fraction:.0f} %)"
            if depth
            else (f"{text}, nothing frozen")
        )
    return text


def shipped_sentence(result: Mapping[str, Any]) -> str:
    """Say which model was shipped and why."""
    metric = str(result.get("metric", ""))
    floor = result.get("floor") or {}
    best = result.get("best")
    floor_name = floor.get("name", "the floor")
    floor_score = score_text(floor.get("validation"), metric)
    if not best:
        return f"The floor, {floor_name}, was shipped, because no trial finished."
    if is_unsupervised(result):
        return _guessed(result, best)
    best_score, where = score_text(best.get("validation"), metric), "on validation"
    shipping = result.get("shipping") or {}
    n_splits = shipping.get("n_splits")
    if n_splits:
        where = f"over {count(int(n_splits), 'fresh split')} of train and validation"
        best_score = score_text(shipping.get("mean"), metric)
        floor_score = score_text(shipping.get("floor"), metric)
    if result.get("shipped") == "floor":
        return (
            f"The floor, {floor_name}, was shipped: {where} it scores {floor_score}, and "
            f"the best transfer, {recipe(best)}, {_not_shipped(shipping)} {best_score}."
        )
    members = (result.get("ensemble") or {}).get("members") or ()
    joined = (result.get("ensemble") or {}).get("used")
    what = f"An ensemble of {len(members)} models around {recipe(best)}" if joined else ""
    return (
        f"{what or recipe(best)} was shipped: {where} {'the latter' if what else 'it'} scores "
        f"{best_score}, and the floor, {floor_name}, {floor_score}.{_preference(result, best)} "
        f"Models are chosen on validation only; the holdout is touched {_when_touched(result)}."
    )


def _guessed(result: Mapping[str, Any], best: Mapping[str, Any]) -> str:
    """Say what was shipped by validators that see no label."""
    if result.get("shipped") == "floor":
        reason = (result.get("shipping") or {}).get("reason") or "it does not beat it there"
        return f"The floor, fitted on the source, was shipped: {recipe(best)}: {reason}."
    beside = (result.get("domains") or {}).get("beside") or ()
    others = [f"{r['name']} {validation_text(result, r.get('validation'))}" for r in beside]
    return (
        f"{recipe(best)} was shipped: validators that see no label give it "
        f"{validation_text(result, best.get('validation'))}"
        f"{', and ' + ', '.join(others) if others else ''}."
    )


def _when_touched(result: Mapping[str, Any]) -> str:
    return "at the end of each part of a run" if looks_sentence(result) else "once, at the end"


def _not_shipped(shipping: Mapping[str, Any]) -> str:
    reason = str(shipping.get("reason") or "it does not beat the floor")
    if reason == "it does not beat the floor":
        return "does not beat it with"
    return f"was not shipped because {reason}; it scores"


def shipped_terms(result: Mapping[str, Any]) -> str:
    """Say what the shipped backbone may be used for; empty where the floor was shipped."""
    from autotl.shelf import terms_text  # here, because `autotl search --help` needs no shelf

    best = result.get("best")
    if not best or result.get("shipped") != "transfer":
        return ""
    terms = terms_text(str(best.get("license") or ""), str(best.get("source_terms") or ""))
    leave = (
        "Its authors state that weights and data allow commercial use."
        if best.get("permissive")
        else "It is not known to allow commercial use."
    )
    return f"{best.get('backbone', '?')}: {terms}. {leave}"


def left_out_sentence(result: Mapping[str, Any]) -> str:
    """Name what a run for permissive backbones left out; empty where it left out nothing."""
    names = [str(name) for name in result.get("restricted_backbones") or ()]
    return f"Left out by --permissive-only: {_named(names)}." if names else ""


def skipped_sentences(result: Mapping[str, Any]) -> list[str]:
    """Say which backbones were skipped and why, one sentence for each reason."""
    reasons: dict[str, list[str]] = {}
    for skipped in result.get("skipped_backbones") or ():
        reasons.setdefault(str(skipped.get("reason")), []).append(str(skipped.get("name")))
    return [f"Skipped {_named(names)}: {reason}" for reason, names in reasons.items()]


def _named(names: Sequence[str]) -> str:
    """Name the first few and count the rest."""
    rest = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + rest


def yes_or_no(value: Any) -> str:
    """Write a truth value in a word; empty where it is not known."""
    return "" if value is None else "yes" if value else "no"


def _preference(result: Mapping[str, Any], best: Mapping[str, Any]) -> str:
    """Say why the first row of the leaderboard is not the best model, where it is not."""
    rows = result.get("leaderboard") or [{}]
    first = rows[0].get("trial")
    if first is None or first == best.get("trial"):
        return ""
    shipping = result.get("shipping") or {}
    if shipping.get("n_splits"):
        compared = {row.get("trial") for row in shipping.get("finalists") or ()}
        return f" Trial {first}, first on validation, was {_lost(first in compared)}."
    return (
        f" Trial {first} leads on validation by less than one standard error, so the simpler "
        "probe was preferred."
    )


def _lost(compared: bool) -> str:
    if compared:
        return "behind it there, or ahead by less than one standard error of a simpler probe"
    return "not compared there"
