"""Fit one method on some samples of a data set and test it on others."""

import itertools
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autotl.defaults import VIEWS
from autotl.features import ActivationStore, BackboneSession, Caching, freeze_depth
from autotl.registry import get_registry
from autotl.search.validators import Validators
from autotl.specs import AdaptationSpec, AdaptationTask, BackboneSpec, Predictor, SourceData

CACHE_BYTES = 6 * 2**30
_KEPT_DEPTHS = (0.25, 0.5, 0.75)


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Samples of one or several domains behind one backbone.

    Args:
        session: The backbone over all samples.
        y: Codes of all samples' classes, shape (n_samples,).
        n_classes: Number of classes.
    """

    session: BackboneSession
    y: np.ndarray
    n_classes: int


def pool(
    spec: BackboneSpec, samples: Sequence[Any], labels: Sequence[Any], modality: str, work: Path
) -> Pool:
    """Put samples behind a backbone whose frozen layers are kept in a folder."""
    import hashlib

    found = get_registry().modalities.get(modality)
    classes, y = np.unique([str(label) for label in labels], return_inverse=True)
    as_given = found.as_samples(list(samples))
    digests = [hashlib.blake2b(found.fingerprint(s), digest_size=16).hexdigest() for s in as_given]
    session = BackboneSession(
        spec, as_given, found,
        caching=Caching(
            store=ActivationStore(work / "cache", CACHE_BYTES),
            digests=digests, y=y, views=VIEWS, demand=_KEPT_DEPTHS,
        ),
    )  # fmt: skip
    return Pool(session=session, y=y, n_classes=len(classes))


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Which samples of a pool are what.

    Args:
        train: Labelled ones of the target.
        test: What accuracy is measured on.
        unlabeled: Samples of the target whose labels are not shown.
        source: Labelled ones of another domain.
        source_validation: More of them, which what is fitted does not see.
    """

    train: np.ndarray
    test: np.ndarray
    unlabeled: np.ndarray | None = None
    source: np.ndarray | None = None
    source_validation: np.ndarray | None = None


def accuracy_of(
    given: Pool,
    rows: Rows,
    method: AdaptationSpec,
    params: Mapping[str, Any],
    seed: int,
    *,
    labelled: bool = True,
) -> dict[str, Any]:
    """Return the test accuracy of what a method ends with, and what fitting took.

    Args:
        given: The samples.
        rows: Which of them are what.
        method: What to fit.
        params: Its parameters.
        seed: Of the fit.
        labelled: Whether the method sees the labels of the training rows.
    """
    session, y = given.session, given.y
    fraction = method.freeze_fraction(params) if method.trains_backbone else 1.0
    task = AdaptationTask(
        train=session.inputs(rows.train),
        y=y[rows.train] if labelled else np.full(len(rows.train), -1),
        n_classes=given.n_classes,
        freeze_depth=freeze_depth(fraction, session.n_groups),
        n_steps=method.max_steps(params),
        params=params,
        seed=seed,
        unlabeled=None if rows.unlabeled is None else session.inputs(rows.unlabeled),
        sources=() if rows.source is None else (_source(given, rows.source),),
    )
    # Of a path of strengths, the middle one: a search would choose by validation.
    n_steps = (task.n_steps + 1) // 2 if method.resource == "strength" else task.n_steps
    test, predictor = session.inputs(rows.test), None
    began = time.process_time(), time.perf_counter()
    with closing(method.steps(task, None)) as steps:
        for step in itertools.islice(steps, n_steps):
            predictor = step.predictor
    cpu, wall = time.process_time() - began[0], time.perf_counter() - began[1]
    if predictor is None:
        raise RuntimeError(f"{method.name!r} ended before its first step.")
    predicted = predictor.predict_proba(test).argmax(axis=1)
    accuracy = round(float((predicted == y[rows.test]).mean()), 4)
    found = {"test": accuracy, "cpu_seconds": round(cpu, 2), "seconds": round(wall, 2)}
    return found | _guesses(given, rows, predictor)


def _guesses(given: Pool, rows: Rows, predictor: Predictor) -> dict[str, float]:
    """Return what validators that see no label of the target say."""
    if rows.source is None or rows.source_validation is None:
        return {}
    inputs = [given.session.inputs(r) for r in (rows.source, rows.source_validation, rows.train)]
    _, validation, target = inputs
    truth = given.y[rows.source_validation]
    validators = Validators(
        lambda y, proba: float((proba.argmax(axis=1) == y).mean()),
        truth, *(x.features() for x in inputs), given.n_classes,
    )  # fmt: skip
    probas = predictor.predict_proba(validation), predictor.predict_proba(target)
    return {name: round(value, 4) for name, value in validators.scores(*probas).items()}


def _source(given: Pool, rows: np.ndarray) -> SourceData:
    inputs = given.session.inputs(rows)
    return SourceData(
        name="source", inputs=inputs, y=given.y[rows], n_classes=given.n_classes,
        shared=inputs, shared_y=given.y[rows],
    )  # fmt: skip


def few(y: np.ndarray, rows: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Draw `n` rows of each class, or all where there are fewer."""
    rng = np.random.default_rng(seed)
    drawn = [rng.permutation(rows[y[rows] == code])[:n] for code in np.unique(y[rows])]
    return np.sort(np.concatenate(drawn))


class Lines:
    """Records in a file, one a line, that a later call need not measure again.

    Args:
        file: Appended to.
        key: Names of the entries that tell records apart.
    """

    def __init__(self, file: Path, key: Sequence[str]) -> None:
        self.file, self._key = file, tuple(key)
        self.records: list[dict[str, Any]] = []
        if file.exists():
            for line in file.read_text(encoding="utf-8").splitlines():
                try:
                    self.records.append(json.loads(line))
                except ValueError:  # cut short by an interrupt
                    continue
        self._done = {self._of(record) for record in self.records}

    def _of(self, record: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(record[name] for name in self._key)

    def has(self, record: Mapping[str, Any]) -> bool:
        """Say whether such a record is there."""
        return self._of(record) in self._done

    def add(self, record: dict[str, Any]) -> None:
        """Keep a record; a line break comes first, so that none joins one that was cut short."""
        with self.file.open("a", encoding="utf-8") as file:
            file.write(f"\n{json.dumps(record)}\n")
        self.records.append(record)
        self._done.add(self._of(record))
