"""Fit what methods add to the best known one of their kind, from what was measured.

    python benchmarks/adaptation/fit_gains.py --work build/adaptation --domains build/domains

The folders are those of `supervised.py` and `domains.py`; methods of which nothing was measured
keep what is there. Writes `autotl/search/study/methods.json`: for each modality and method, the
mean over data sets of the difference in log-odds of accuracy to `lp_ft` (methods that train
layers), to `linear_probe` (the others) or to `pooled_fine_tune` (those that train layers on
another domain too; a data set is then a target), drawn towards zero by as much as two more data
sets without a difference would; and its spread over data sets.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from domains import DIGITS
from domains import KEY as DOMAINS_KEY
from fitting import Lines
from supervised import KEY, WORDS

from autotl.registry import get_registry

TARGET = Path(__file__).parents[2] / "autotl" / "search" / "study" / "methods.json"
BASES = {True: "lp_ft", False: "linear_probe"}  # by whether layers are trained
SHARED_BASE = "pooled_fine_tune"
MEASURED = ("linear_probe", "lp_ft", "fine_tune")  # backbone by backbone, in the ranking's prior
_SHRINK, _LEAST_SPREAD = 2.0, 0.1
_MARGIN = 0.01  # accuracies of 0 and 1 have no log-odds

Differences = dict[tuple[str, str], dict[str, list[float]]]
"""By modality and method, by data set."""


def main() -> None:
    """Read the records and write the gains."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, help="of supervised.py")
    parser.add_argument("--domains", type=Path, help="of domains.py")
    options = parser.parse_args()
    found = json.loads(TARGET.read_text(encoding="utf-8"))["modalities"]
    differences: Differences = {}
    if options.work:
        differences |= _with_labels(Lines(options.work / "supervised.jsonl", KEY))
    if options.domains:
        differences |= _with_source(Lines(options.domains / "domains.jsonl", DOMAINS_KEY))
    for (modality, method), by_set in sorted(differences.items()):
        found.setdefault(modality, {})[method] = _gain(method, list(by_set.values()))
    found = {modality: dict(sorted(gains.items())) for modality, gains in sorted(found.items())}
    content = {"source": "benchmarks/adaptation/fit_gains.py", "modalities": found}
    TARGET.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


def _with_labels(lines: Lines) -> Differences:
    logits = {
        (r["set"], r["n"], r["seed"], r["method"]): _log_odds(r["test"]) for r in lines.records
    }
    differences: Differences = defaultdict(lambda: defaultdict(list))
    for (name, n, seed, method), value in logits.items():
        if method in MEASURED or method not in get_registry().adaptations:
            continue
        base = logits.get((name, n, seed, _base(method)))
        if base is not None:
            modality = "text" if name in WORDS else "image"
            differences[modality, method][name].append(value - base)
    return differences


def _with_source(lines: Lines) -> Differences:
    logits = {
        (r["source"], r["target"], r["seed"], r["method"]): _log_odds(r["test"])
        for r in lines.records
    }
    differences: Differences = defaultdict(lambda: defaultdict(list))
    for (source, target, seed, method), value in logits.items():
        base = logits.get((source, target, seed, SHARED_BASE))
        if base is None or method == SHARED_BASE or _base(method) != SHARED_BASE:
            continue
        differences["image" if target in DIGITS else "text", method][target].append(value - base)
    return differences


def _gain(method: str, by_set: list[list[float]]) -> dict[str, object]:
    means = np.array([np.mean(values) for values in by_set])
    gain = means.sum() / (len(means) + _SHRINK)
    spread = np.sqrt((np.square(means - gain).sum()) / len(means))
    # One backbone cannot tell what is the task's and what the pair's: half each.
    share = round(float(max(spread, _LEAST_SPREAD) / 2**0.5), 4)
    return {
        "over": _base(method), "gain": round(float(gain), 4),
        "spread": share, "pair_spread": share,
    }  # fmt: skip


def _base(method: str) -> str:
    if method not in get_registry().adaptations:  # seen beside: of the target's own labels
        return ""
    spec = get_registry().adaptations.get(method)
    shares = "source" in spec.needs and spec.trains_backbone
    return SHARED_BASE if shares else BASES[spec.trains_backbone]


def _log_odds(share: float) -> float:
    share = min(max(share, _MARGIN), 1 - _MARGIN)
    return float(np.log(share / (1 - share)))


if __name__ == "__main__":
    main()
