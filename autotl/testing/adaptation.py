"""The contract suite of adaptation methods."""

import contextlib
import gc
import itertools
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from autotl.features import FreezePlan
from autotl.specs import (
    AdaptationSpec,
    AdaptationTask,
    Choice,
    LoadedBackbone,
    Range,
    SavedState,
    SourceData,
    Step,
)
from autotl.testing.fakes import ArrayInputs, fake_backbone, jitter, toy_images
from autotl.testing.states import from_bytes, to_bytes

_N_TRAIN = 33  # one more than a usual batch: the last one holds a single sample
_N_NEW = 11
_N_CLASSES = 3
_MAX_STEPS = 6


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread: small nets gain nothing from more and lose on a busy machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """What one step showed: new samples' probabilities, and both saved states as bytes."""

    probabilities: np.ndarray
    saved: SavedState
    predictor: tuple[bytes, str]
    state: tuple[bytes, str]
    loss: float | None


@one_thread()
def check_adaptation(spec: AdaptationSpec, backbone: LoadedBackbone | None = None) -> None:
    """Check that a method yields good predictors, repeats, pauses, resumes and cleans up.

    Args:
        spec: The method.
        backbone: An image backbone; a tiny one with random weights when left out.
    """
    unknown = set(spec.needs) - {"unlabeled", "source", "any_source"}
    assert not unknown, f"{spec.name}: expected needs that there are, got {sorted(unknown)}."
    _check_defaults(spec)
    loaded = backbone or fake_backbone().load("cpu")
    new = ArrayInputs(toy_images(_N_NEW, _N_CLASSES, seed=1)[0], loaded)
    first, *others = _all_params(spec)
    task = _task(spec, loaded, first)
    full = _run(spec, task, new)
    _check_losses(spec, first, [seen.loss for seen in full])
    _check_seed(spec, task, new, full)
    _check_saved(spec, new, full)
    for done, tensors in ((1, False), (len(full) // 2, True)):
        _check_resumed(spec, _task(spec, loaded, first), new, full, done, tensors=tensors)
    for params in others:
        full = _run(spec, _task(spec, loaded, params), new)
        _check_losses(spec, params, [seen.loss for seen in full])
        _check_saved(spec, new, full)
        _check_resumed(spec, _task(spec, loaded, params), new, full, 1)
    _check_closing(spec, task, 2)
    _check_shapes(spec, task, loaded, new)
    _check_lacking(spec, task)
    if not spec.needs_labels:
        _check_without_labels(spec, task, new)


def _check_defaults(spec: AdaptationSpec) -> None:
    for name, domain in spec.space.items():
        value = spec.defaults[name]
        if isinstance(domain, Choice):
            inside = value in domain.options
        else:
            whole = not domain.integer or isinstance(value, int)
            inside = domain.low <= value <= domain.high and whole
        assert inside, f"{spec.name}: expected the default {name}={value!r} inside {domain}."
    n_steps = spec.max_steps(spec.defaults)
    assert n_steps >= 1, f"{spec.name}: expected max_steps(defaults) >= 1, got {n_steps!r}."


def _all_params(spec: AdaptationSpec) -> list[dict[str, Any]]:
    """Return the defaults with few epochs, then each other option of each choice."""
    first = dict(spec.defaults)
    epochs = spec.space.get("epochs")
    if isinstance(epochs, Range):
        first["epochs"] = int(np.clip(_MAX_STEPS, epochs.low, epochs.high))
    others = [
        {**first, name: option}
        for name, domain in spec.space.items()
        if isinstance(domain, Choice)
        for option in domain.options
        if option != spec.defaults[name]
    ]
    return [first, *others]


def _task(spec: AdaptationSpec, loaded: LoadedBackbone, params: dict[str, Any]) -> AdaptationTask:
    """Make a small task at freeze depth 1 and at most six steps."""
    images, y = toy_images(_N_TRAIN, _N_CLASSES)
    n_groups = FreezePlan(loaded).n_groups
    unlabeled = source = None
    if "unlabeled" in spec.needs:
        unlabeled = ArrayInputs(toy_images(_N_NEW, _N_CLASSES, seed=5)[0], loaded, augment=jitter)
    if spec.needs & {"source", "any_source"}:
        source = _source(loaded)
    return AdaptationTask(
        train=ArrayInputs(images, loaded, augment=jitter),
        unlabeled=unlabeled,
        sources=() if source is None else (source,),
        y=y,
        n_classes=_N_CLASSES,
        freeze_depth=min(1, n_groups) if spec.trains_backbone else n_groups,
        n_steps=min(_MAX_STEPS, spec.max_steps(params)),
        params=params,
        seed=3,
    )


def _source(loaded: LoadedBackbone) -> SourceData:
    """Make darker images of the task's classes and of one that it lacks."""
    images, y = toy_images(2 * _N_TRAIN, _N_CLASSES + 1, seed=7)
    darker = [image.point(lambda value: value // 2) for image in images]
    shared = np.flatnonzero(y < _N_CLASSES)
    return SourceData(
        name="darker",
        inputs=ArrayInputs(darker, loaded, augment=jitter),
        y=y,
        n_classes=_N_CLASSES + 1,
        shared=ArrayInputs([darker[i] for i in shared], loaded, augment=jitter),
        shared_y=y[shared],
    )


def _check_lacking(spec: AdaptationSpec, task: AdaptationTask) -> None:
    """Take away what the method needs; the engine never does, but a direct caller may."""
    if not spec.needs:
        return
    said = ""
    try:
        with _driven(spec, replace(task, unlabeled=None, sources=())) as generator:
            next(generator)
    except ValueError as error:
        said = str(error)
    assert "expected" in said, (
        f"{spec.name}: expected a ValueError that says what was expected, without "
        f"{sorted(spec.needs)} data; got {said!r}."
    )


def _check_without_labels(spec: AdaptationSpec, task: AdaptationTask, new: ArrayInputs) -> None:
    """Take one step where the target has no labels at all."""
    with _driven(spec, replace(task, y=np.full(_N_TRAIN, -1))) as generator:
        _predict(spec, next(generator).predictor, new, task.n_classes)


@contextlib.contextmanager
def _driven(
    spec: AdaptationSpec, task: AdaptationTask, state: SavedState | None = None
) -> Iterator[Generator[Step, None, None]]:
    generator = spec.steps(task, state)
    assert isinstance(generator, Generator), (
        f"{spec.name}: expected steps(...) to return a generator, which can be closed, "
        f"got {type(generator).__name__}."
    )
    try:
        yield generator
    finally:
        generator.close()


def _predict(spec: AdaptationSpec, predictor: Any, inputs: ArrayInputs, n_classes: int) -> Any:
    probabilities = predictor.predict_proba(inputs)
    expected = (len(inputs), n_classes)
    assert isinstance(probabilities, np.ndarray), (
        f"{spec.name}: expected an array from predict_proba, got {type(probabilities).__name__}."
    )
    assert probabilities.shape == expected, (
        f"{spec.name}: expected probabilities of shape {expected}, got {probabilities.shape}."
    )
    sums = probabilities.sum(axis=1)
    assert bool((probabilities >= 0).all() & np.allclose(sums, 1, atol=1e-4)), (
        f"{spec.name}: expected rows of probabilities that sum to 1, got sums {sums}."
    )
    return probabilities


def _run(
    spec: AdaptationSpec,
    task: AdaptationTask,
    new: ArrayInputs,
    state: SavedState | None = None,
    done: int = 0,
) -> list[_Seen]:
    """Drive a method to the end of its plan, as the engine does, and record every step."""
    import torch

    seen = []
    torch.seed()  # Whoever draws from the global generator gives a different result each time.
    with _driven(spec, task, state) as generator:
        for step in itertools.islice(generator, task.n_steps - done):
            assert torch.is_grad_enabled(), (
                f"{spec.name}: expected gradients enabled between steps; leave no_grad first."
            )
            saved = step.predictor.save()
            seen.append(
                _Seen(
                    saved=saved,
                    probabilities=_predict(spec, step.predictor, new, task.n_classes),
                    predictor=to_bytes(f"{spec.name}.save()", saved),
                    state=to_bytes(f"{spec.name}.state()", step.state()),
                    loss=step.loss,
                )
            )
    assert seen or done, f"{spec.name}: expected at least one step."
    return seen


def _check_losses(
    spec: AdaptationSpec, params: dict[str, Any], losses: list[float | None]
) -> None:
    reported = [loss for loss in losses if loss is not None]
    assert np.isfinite(reported).all(), f"{spec.name}: expected finite losses, got {reported}."
    assert len(reported) < 2 or min(reported[1:]) < reported[0], (
        f"{spec.name}: expected the loss to fall on an easy task with {params}, got {reported}."
    )


def _check_seed(
    spec: AdaptationSpec, task: AdaptationTask, new: ArrayInputs, full: list[_Seen]
) -> None:
    first = [seen.probabilities for seen in full]
    again = [seen.probabilities for seen in _run(spec, task, new)]
    assert np.array_equal(again, first), (
        f"{spec.name}: expected the same predictions in every step for the same task and seed."
    )


def _check_saved(spec: AdaptationSpec, new: ArrayInputs, full: list[_Seen]) -> None:
    for index, seen in enumerate(full):
        assert to_bytes(spec.name, seen.saved) == seen.predictor, (
            f"{spec.name}: expected save() to return a copy; step {index + 1} changed it later."
        )
        for tensors in (False, True):
            restored = spec.restore(from_bytes(*seen.predictor, tensors=tensors))
            assert np.array_equal(restored.predict_proba(new), seen.probabilities), (
                f"{spec.name}: expected restore(save()) of step {index + 1} to predict the same."
            )


def _check_resumed(
    spec: AdaptationSpec,
    task: AdaptationTask,
    new: ArrayInputs,
    full: list[_Seen],
    done: int,
    *,
    tensors: bool = False,
) -> None:
    if not 0 < done < len(full):
        return
    rest = _run(spec, task, new, from_bytes(*full[done - 1].state, tensors=tensors), done)
    assert len(rest) == len(full) - done, (
        f"{spec.name}: expected {len(full) - done} steps after resuming at step {done}, "
        f"got {len(rest)}."
    )
    for offset, (resumed, straight) in enumerate(zip(rest, full[done:], strict=True)):
        assert np.array_equal(resumed.probabilities, straight.probabilities), (
            f"{spec.name}: expected a run resumed after step {done} to equal the uninterrupted "
            f"one bit for bit with {task.params}; step {done + offset + 1} differs."
        )


def _n_open_files() -> int:
    folder = Path("/dev/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def _check_closing(spec: AdaptationSpec, task: AdaptationTask, n_steps: int) -> None:
    for count in (0, n_steps):
        threads, files = set(threading.enumerate()), _n_open_files()
        with _driven(spec, task) as generator:
            for _ in itertools.islice(generator, count):
                pass
        del generator
        gc.collect()
        leaked = set(threading.enumerate()) - threads
        assert not leaked, f"{spec.name}: expected no thread left after close(), got {leaked}."
        extra = _n_open_files() - files
        assert extra <= 0, f"{spec.name}: expected no open file left after close(), got {extra}."


def _check_shapes(
    spec: AdaptationSpec, task: AdaptationTask, loaded: LoadedBackbone, new: ArrayInputs
) -> None:
    """Take one step with class weights, an absent class, and at both ends of the freeze depth."""
    n_groups = FreezePlan(loaded).n_groups
    weights = np.array([0.5, 1.0, 1.5])
    variants = [
        replace(task, class_weights=weights),
        replace(task, n_classes=_N_CLASSES + 1),
        replace(task, freeze_depth=n_groups),
    ]
    if spec.trains_backbone:
        variants.append(replace(task, freeze_depth=0))
    one = ArrayInputs(new.samples[:1], loaded)
    for variant in variants:
        with _driven(spec, variant) as generator:
            predictor = next(generator).predictor
            for inputs in (new, one):
                _predict(spec, predictor, inputs, variant.n_classes)
