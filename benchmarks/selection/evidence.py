"""What a look at a part of the samples shows of every backbone of the zoo on every set.

    python benchmarks/selection/evidence.py --work /tmp/truth
    python benchmarks/selection/evidence.py --work /tmp/truth --time trashnet6 trec6

Every set is looked at on 128 samples and on a quarter of its training samples, with all scores
and all measures that need no source data. Embeddings that `ground_truth.py` has left in the same
folder are read, not computed again. A pair that is done is a line of `evidence/*.jsonl`: what
`rank.py` judges and `fit_prior.py` learns from. `--time` writes `evidence/seconds.json` instead:
what each score costs beyond reading embeddings, over the whole shelf on the sets that are named.
"""

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from backbones import short_name
from ground_truth import CACHE_BYTES, TUNED_SETS, done, facts, read, side, specs_for
from sets import FAMILIES

from autotl.features import (
    ActivationStore,
    BackboneSession,
    Caching,
    decompose,
    layer_average,
    layer_means,
    source_probs,
)
from autotl.ranking import Evidence, Prior, Screened, Screening
from autotl.ranking.evidence import LAYERS, guarded
from autotl.registry import get_registry
from autotl.specs import ScoreInput

LOOKS = {"first": lambda n_train: 128, "quarter": lambda n_train: n_train // 4}
METHOD = "look"


def main() -> None:
    """Look at pairs, or time the scores."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--zoo", type=Path, default=Path("../shared/zoo"))
    parser.add_argument("--work", type=Path, required=True, help="folder of what is done")
    parser.add_argument("--sets", nargs="*", default=list(FAMILIES))
    parser.add_argument("--part", default="1/1", help="this process' share of the pairs")
    parser.add_argument("--native", action="store_true", help="also larger inputs, as trained on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--time", nargs="*", help="time scores on these sets, and look at none")
    args = parser.parse_args()
    if args.time:
        time_scores(args)
    else:
        look_at_all(args)


def look_at_all(args: argparse.Namespace) -> None:
    """Look at every pair that was not looked at yet, one line of a file each."""
    part, n_parts = (int(n) for n in args.part.split("/"))
    folder = args.work / "evidence"
    folder.mkdir(parents=True, exist_ok=True)
    for name in args.sets:
        # LP-FT is judged on fewer training samples; its looks are at those.
        for task_of in ("linear_probe", *(("lp_ft",) if name in TUNED_SETS else ())):
            task = None
            for index, spec in enumerate(specs_for(name, "linear_probe", args)):
                key = (name, short_name(spec), side(spec), task_of, args.seed)
                if index % n_parts != part - 1 or key in done(folder):
                    continue
                task = task or read(args.zoo, name, task_of, args.seed)
                looks = look(task, spec, args)
                record = {**facts(name, task, spec), "method": task_of, "seed": args.seed}
                with (folder / f"looks-{part}.jsonl").open("a", encoding="utf-8") as file:
                    file.write("\n" + json.dumps({**record, "looks": looks}) + "\n")
                print(*key[:4], f"{sum(v['seconds'] for v in looks.values()):.1f} s", flush=True)


def look(task: Any, spec: Any, args: argparse.Namespace) -> dict[str, Any]:
    """Return the raw values of one pair by look."""
    registry = get_registry()
    screening = Screening(
        task=task,
        scores=list(registry.scores),
        similarities=[m for m in registry.similarities if m.needs in ("moments", "layers")],
        seed=args.seed,
    )
    screened = Screened(session=session_of(task, spec, args))
    found: dict[str, Any] = {}
    for name, size in LOOKS.items():
        rows = screening.rows(size(len(task.split.train_validation)))
        started = time.perf_counter()
        screening.look(screened, rows)
        found[name] = {**values(screened.evidence), "seconds": time.perf_counter() - started}
    screened.session.release()
    return found


def session_of(task: Any, spec: Any, args: argparse.Namespace) -> BackboneSession:
    """Return a session that finds what `ground_truth.py` has embedded."""
    caching = Caching(
        store=ActivationStore(args.work / "cache", CACHE_BYTES),
        digests=task.fingerprints, y=task.y, views=0, dtype="float32",
    )  # fmt: skip
    return BackboneSession(spec, task.samples, task.modality, caching=caching)


def values(evidence: Evidence | None) -> dict[str, Any]:
    """Return what the prior's inputs are made of."""
    if evidence is None:
        raise SystemExit("a backbone could not be looked at")
    return {
        "n_samples": evidence.n_samples,
        "class_shares": evidence.target.prior.tolist(),
        "seconds_per_sample": evidence.seconds_per_sample,
        "scores": evidence.scores,
        "similarity": evidence.own_similarity,
        "failed": evidence.failed,
    }


def time_scores(args: argparse.Namespace) -> None:
    """Write the processor seconds of each score over a whole shelf.

    A score pays for all that it needs beyond embeddings: a decomposition, passes for source
    probabilities or layers. What the prior needs is timed together as `combination`.
    """
    file = args.work / "evidence" / "seconds.json"
    found = json.loads(file.read_text()) if file.exists() else {}
    for name in args.time:
        task = read(args.zoo, name, "linear_probe", args.seed)
        total: dict[str, float] = defaultdict(float)
        for spec in specs_for(name, "linear_probe", args):
            session = session_of(task, spec, args)
            for what, seconds in timed(task, session, args.seed).items():
                total[what] += seconds
            session.release()
        found[task.modality.name] = {"set": name, "seconds": dict(total)}
        file.write_text(json.dumps(found, indent=1) + "\n")
        print(name, {k: round(v, 2) for k, v in total.items()}, flush=True)


def timed(task: Any, session: BackboneSession, seed: int) -> dict[str, float]:
    """Return the processor seconds of everything that a look at a quarter shows."""
    scores = list(get_registry().scores)
    small, rows = (sample(task, seed, name) for name in LOOKS)
    features, y = session.embed(rows), task.y[rows]
    probs, passed = clocked(lambda: source_probs(session, small))
    plain = [s for s in scores if "source_probs" not in s.needs]
    found = {s.name: score_seconds([s], features, y, seed) for s in plain}
    if probs is not None:
        for s in (s for s in scores if s not in plain):
            given = ScoreInput(features=session.embed(small), y=task.y[small], source_probs=probs,
                               seed=seed)  # fmt: skip
            found[s.name] = passed + clocked(lambda s=s, given=given: s.compute(given))[1]
    if task.modality.name == "text":
        means, passed = clocked(lambda: layer_means(session, rows))
        if means is not None:
            averaged = layer_average(means)
            for s in plain:
                found[s.name + LAYERS] = passed + score_seconds([s], averaged, y, seed)
    needs = Prior.load(task.modality.name).needs
    needed = [s for s in plain if s.name in needs]
    return {**found, "combination": score_seconds(needed, features, y, seed)}


def score_seconds(scores: Sequence[Any], features: np.ndarray, y: np.ndarray, seed: int) -> float:
    """Return the processor seconds of scores that share one decomposition."""
    given = ScoreInput(
        features=features, y=y, seed=seed, decomposition=cache(lambda: decompose(features))
    )
    return sum(clocked(lambda s=s: s.compute(given))[1] for s in scores)  # type: ignore[misc]


def clocked(compute: Callable[[], Any]) -> tuple[Any, float]:
    """Return a value, or None where it cannot be had, and its processor seconds."""
    started = time.process_time()
    value = guarded({}, "timed", compute)
    return value, time.process_time() - started


def sample(task: Any, seed: int, look: str) -> np.ndarray:
    """Return the rows of a look."""
    screening = Screening(task=task, scores=[], similarities=[], seed=seed)
    return screening.rows(LOOKS[look](len(task.split.train_validation)))


if __name__ == "__main__":
    main()
