"""Where the wall-clock of a real search goes, by the outermost call that is running.

    python benchmarks/perf/overhead.py --search 300 --zoo ../shared/zoo --out overhead.json

What decisions cost beyond Optuna's own: `benchmarks/selection/search.py --decisions`.
"""

import argparse
import functools
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from machine import describe

from autotl.features import BackboneSession


class Ledger:
    """Books wall-clock time to the outermost booked call that is running."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inside = False

    def book(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """Return `work` with its time booked under a name."""

        @functools.wraps(work)
        def booked(*args: Any, **keywords: Any) -> Any:
            if self._inside:
                return work(*args, **keywords)
            self._inside, started = True, time.perf_counter()
            try:
                return work(*args, **keywords)
            finally:
                self._inside = False
                seconds = time.perf_counter() - started
                self.seconds[name] = self.seconds.get(name, 0.0) + seconds

        return booked

    def book_generator(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that makes generators whose every step is booked."""

        @functools.wraps(work)
        def booked(*args: Any, **keywords: Any) -> Any:
            steps = work(*args, **keywords)
            advance = self.book(name, lambda: next(steps, None))
            while (step := advance()) is not None:
                yield step

        return booked


def of_search(zoo: Path, name: str, seconds: float, seed: int) -> dict[str, Any]:
    """Run a search and return the share of its time that is not work."""
    from dataclasses import replace

    import autotl.search.engine as engine
    from autotl.adapt.heads import LinearHead
    from autotl.adapt.tuned import TunedNetwork
    from autotl.features import cost
    from autotl.registry import get_registry
    from autotl.search.floor.measurement import FloorMeasurement

    ledger = Ledger()
    session, wrapped = BackboneSession, ledger.book
    session.embed = wrapped("forward and data", session.embed)
    load = wrapped("importing libraries and loading networks", session.loaded.fget)
    session.loaded = property(load, session.loaded.fset)
    cost.measure = wrapped("forward and backward", cost.measure)
    session.__dict__["kept"].func = wrapped("forward and data", session.__dict__["kept"].func)
    LinearHead.predict_proba = wrapped("heads", LinearHead.predict_proba)
    TunedNetwork.predict_proba = wrapped("forward and data", TunedNetwork.predict_proba)
    for work in ("run", "final", "holdout_proba"):
        setattr(FloorMeasurement, work, wrapped("floor", getattr(FloorMeasurement, work)))
    names = {True: "forward, backward and data", False: "solving probes"}
    methods = [
        replace(a, steps=ledger.book_generator(names[a.trains_backbone], a.steps))
        for a in engine.select_adaptations(None)
    ]
    engine.select_adaptations = lambda _patterns, _task: methods
    _ = get_registry()

    sys.path.insert(0, str(zoo))
    from zoo import load

    import autotl

    images, y, classes = load(zoo / "images" / f"{name}.npz")
    load_all = [image.convert("RGB") for image in images]
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        model = autotl.fit(
            load_all, [classes[i] for i in y], budget_seconds=seconds, seed=seed,
            weights=str(zoo / "weights"), out=Path(folder, "run"), progress=False,
        )  # fmt: skip
    total = time.perf_counter() - started
    timings = model.result["timings"]
    booked = {**ledger.seconds, "reading data": timings["reading"]}
    return {
        "set": name,
        "seconds": total,
        "booked": booked,
        "outside_seconds": total - sum(booked.values()),
        "outside_share": 1 - sum(booked.values()) / total,
        # Fitting the floor and solving probes is work too, but no forward or backward pass.
        "outside_passes_and_data_share": 1
        - sum(s for name, s in booked.items() if "data" in name or "ward" in name) / total,
        "trials": model.result["n_trials"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--search", type=float, default=300.0, metavar="SECONDS")
    parser.add_argument("--zoo", type=Path, default=Path("../shared/zoo"))
    parser.add_argument("--set", default="trashnet6")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("overhead.json"))
    args = parser.parse_args()
    content: dict[str, Any] = {"machine": describe(), "seed": args.seed}
    content["search"] = of_search(args.zoo, args.set, args.search, args.seed)
    print(json.dumps(content["search"], indent=1))
    args.out.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
