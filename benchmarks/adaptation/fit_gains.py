"""Fit what methods add to the best known one of their kind, from what `supervised.py` measured.

    python benchmarks/adaptation/fit_gains.py --work build/adaptation

Writes `autotl/search/study/methods.json`: for each modality and method, the mean over data sets
and numbers of labels of the difference in log-odds of accuracy to `lp_ft` (methods that train
layers) or to `linear_probe` (the others), drawn towards zero by as much as two more data sets
without a difference would; and its spread over data sets.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from fitting import Lines
from supervised import KEY, WORDS

from autotl.registry import get_registry

TARGET = Path(__file__).parents[2] / "autotl" / "search" / "study" / "methods.json"
BASES = {True: "lp_ft", False: "linear_probe"}  # by whether layers are trained
MEASURED = ("linear_probe", "lp_ft", "fine_tune")  # backbone by backbone, in the ranking's prior
_SHRINK, _LEAST_SPREAD = 2.0, 0.1
_MARGIN = 0.01  # accuracies of 0 and 1 have no log-odds


def main() -> None:
    """Read the records and write the gains."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    lines = Lines(parser.parse_args().work / "supervised.jsonl", KEY)
    logits = {
        (r["set"], r["n"], r["seed"], r["method"]): _log_odds(r["test"]) for r in lines.records
    }
    differences: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for (name, n, seed, method), value in logits.items():
        if method in MEASURED or method not in get_registry().adaptations:
            continue
        base = logits.get((name, n, seed, _base(method)))
        if base is not None:
            modality = "text" if name in WORDS else "image"
            differences[modality, method][name].append(value - base)
    found: dict[str, dict[str, object]] = {"image": {}, "text": {}}
    for (modality, method), by_set in sorted(differences.items()):
        means = np.array([np.mean(values) for values in by_set.values()])
        gain = means.sum() / (len(means) + _SHRINK)
        spread = np.sqrt((np.square(means - gain).sum()) / len(means))
        found[modality][method] = {
            "over": _base(method),
            "gain": round(float(gain), 4),
            # One backbone cannot tell what is the task's and what the pair's: half each.
            "spread": round(float(max(spread, _LEAST_SPREAD) / 2**0.5), 4),
            "pair_spread": round(float(max(spread, _LEAST_SPREAD) / 2**0.5), 4),
        }
    content = {"source": "benchmarks/adaptation/fit_gains.py", "modalities": found}
    TARGET.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


def _base(method: str) -> str:
    return BASES[get_registry().adaptations.get(method).trains_backbone]


def _log_odds(share: float) -> float:
    share = min(max(share, _MARGIN), 1 - _MARGIN)
    return float(np.log(share / (1 - share)))


if __name__ == "__main__":
    main()
