"""One pass of every backbone over a subsample: speed, and an exact leave-one-out probe."""

from dataclasses import dataclass

import numpy as np

from autotl.data import Task
from autotl.features import BackboneSession, Caching, decompose
from autotl.search.budget import Budget, OutOfTime
from autotl.search.progress import Progress
from autotl.shelf import Shelf
from autotl.specs import BackboneSpec

SUBSAMPLE = 400
SCREENING_SHARE = 0.35  # of the budget
_STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)  # relative to the mean eigenvalue


@dataclass(kw_only=True)
class Screened:
    """A backbone that loaded, with what the subsample showed.

    Args:
        session: The backbone over the task's samples.
        estimate: Leave-one-out metric of a ridge probe on the subsample; None when time ended.
    """

    session: BackboneSession
    estimate: float | None = None

    @property
    def name(self) -> str:
        """Return the backbone's name."""
        return self.session.spec.name


def subsample(task: Task, n: int, seed: int) -> np.ndarray:
    """Return up to `n` rows of train and validation, the same share of every class."""
    rows: np.ndarray = task.split.train_validation
    if len(rows) <= n:
        return rows
    rng = np.random.default_rng(seed)
    picked = []
    for code in np.unique(task.y[rows]):
        own = rows[task.y[rows] == code]
        k = max(2, round(n * len(own) / len(rows)))
        picked.append(rng.permutation(own)[:k])
    return np.sort(np.concatenate(picked))


def loo_estimate(features: np.ndarray, y: np.ndarray, n_classes: int, task: Task) -> float:
    """Return the metric of exact leave-one-out ridge predictions, best of four strengths."""
    parts = decompose(features)
    Y = np.eye(n_classes)[y]
    prior = Y.mean(axis=0)
    scale = float(np.mean(parts.singular**2)) if len(parts.singular) else 1.0
    values = []
    for loo in parts.ridge_loo_path(Y - prior, [s * scale for s in _STRENGTHS]):
        scores = prior + loo
        proba = scores.clip(1e-6)
        values.append(float(task.metric(y, proba / proba.sum(axis=1, keepdims=True))))
    return max(values)


class Screening:
    """Screen a shelf on a task.

    Args:
        task: The task.
        shelf: Backbones to screen; those that fail to load move to its skipped list.
        budget: The clock.
        progress: Where to say what is happening.
        device: Where to compute.
        seed: Of the subsample.
        caching: How activations are kept; None keeps none.
    """

    def __init__(
        self,
        task: Task,
        shelf: Shelf,
        budget: Budget,
        progress: Progress,
        *,
        device: str,
        seed: int,
        caching: Caching | None = None,
    ) -> None:
        self.task, self.shelf, self.budget, self.progress = task, shelf, budget, progress
        self.device, self.caching = device, caching
        self.rows = subsample(task, SUBSAMPLE, seed)
        self.failed: list[tuple[str, str]] = []
        self.interrupted = False

    def run(self) -> list[Screened]:
        """Return the backbones that loaded, most promising first."""
        specs = sorted(self.shelf.usable, key=_cost_order)
        found: list[Screened] = []
        limit = self.budget.elapsed() + SCREENING_SHARE * self.budget.seconds
        with self.budget.stage(limit):
            for i, spec in enumerate(specs):
                if self.budget.elapsed() > limit:
                    self.failed.append((spec.name, "no time left to screen it"))
                    continue
                try:
                    self.progress.advance(spec.name, i, len(specs))
                    screened = self._screen(spec)
                except KeyboardInterrupt:
                    self.interrupted = True
                    break
                if screened is not None:
                    found.append(screened)
        return sorted(
            found, key=lambda s: -(s.estimate if s.estimate is not None else float("-inf"))
        )

    def _screen(self, spec: BackboneSpec) -> Screened | None:
        session = BackboneSession(
            spec,
            self.task.samples,
            self.task.modality,
            device=self.device,
            check=self.budget.check,
            caching=self.caching,
            timed=self.budget.timed,
        )
        screened = Screened(session=session)
        try:
            _ = session.n_groups  # plans ask for it when the network is no longer loaded
            features = session.embed(self.rows)
            session.measure_speed()
            if not np.isfinite(features).all():
                self.failed.append((spec.name, "its embeddings contain NaN or infinity"))
                return None
            screened.estimate = loo_estimate(
                features, self.task.y[self.rows], len(self.task.classes), self.task
            )
        except OutOfTime:
            if session.seconds_per_sample is None:
                self.failed.append((spec.name, "no time left to screen it"))
                return None
        except Exception as error:  # noqa: BLE001  # loading and running is plugin code
            self.failed.append((spec.name, f"{type(error).__name__}: {error}"))
            return None
        session.release()
        return screened


def _cost_order(spec: BackboneSpec) -> tuple[float, str]:
    """Order backbones by rough cost: parameters times input pixels."""
    size = spec.input_size or (1, 32, 32)
    pixels = float(np.prod(size[-2:])) if len(size) >= 2 else 1024.0
    return (float(spec.n_params or 5e7) * pixels, spec.name)
