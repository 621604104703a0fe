"""What a look at a part of the samples shows of every backbone of the zoo on every set.

    python benchmarks/selection/evidence.py --work /tmp/truth

Every set is looked at on 128 samples and on a quarter of its training samples, with all scores
and all measures that need no source data. Embeddings that `ground_truth.py` has left in the same
folder are read, not computed again. A pair that is done is a line of `evidence/*.jsonl`: what
`rank.py` judges and `fit_prior.py` learns from.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from backbones import short_name
from ground_truth import CACHE_BYTES, TUNED_SETS, done, facts, read, side, specs_for
from sets import FAMILIES

from autotl.features import ActivationStore, BackboneSession, Caching
from autotl.ranking import Evidence, Screened, Screening
from autotl.registry import get_registry

LOOKS = {"first": lambda n_train: 128, "quarter": lambda n_train: n_train // 4}
METHOD = "look"


def main() -> None:
    """Look at every pair that was not looked at yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--zoo", type=Path, default=Path("../shared/zoo"))
    parser.add_argument("--work", type=Path, required=True, help="folder of what is done")
    parser.add_argument("--sets", nargs="*", default=list(FAMILIES))
    parser.add_argument("--part", default="1/1", help="this process' share of the pairs")
    parser.add_argument("--native", action="store_true", help="also larger inputs, as trained on")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
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


if __name__ == "__main__":
    main()
