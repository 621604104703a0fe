"""Order backbones by how promising they are, without training any."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from autotl import defaults
from autotl.api.reading import read_domain, read_labels, read_other, read_source
from autotl.data import Task
from autotl.errors import InvalidDataError
from autotl.features import ActivationStore, Caching
from autotl.ranking import RUNGS, Ranking, Screening, Source, rank_backbones
from autotl.registry import get_registry
from autotl.result.device import pick_device
from autotl.search import Progress, download, make_progress, prepare
from autotl.search.budget import Budget


def rank(  # noqa: PLR0913  # one keyword for each thing a user may decide
    X: Any,
    y: Sequence[Hashable] | None = None,
    *,
    source: Any = None,
    modality: str | None = None,
    backbones: Sequence[str] | str | None = None,
    weights: str | Path | Sequence[str | Path] | None = None,
    download: bool = False,
    permissive_only: bool = False,
    scores: Sequence[str] | str | None = None,
    similarities: Sequence[str] | str | None = None,
    samples: int | None = None,
    groups: Sequence[Hashable] | None = None,
    seed: int = defaults.SEED,
    device: str | None = None,
    cache: bool = True,
    experience: bool = True,
    progress: bool = True,
    on_ranking: Callable[[Ranking], None] = lambda ranking: None,
) -> Ranking:
    """Order backbones by the accuracy to expect of them after transfer, without training any.

    All usable backbones see a small stratified part of the samples, the better half more of them.
    What they compute is kept for a later search. A fifth of the samples is not looked at: it is
    what a search with the same seed holds out.

    Args:
        X: Images (arrays, PIL images, paths), texts (str), or a data set, as for `fit`.
        y: One label each: any hashable. None takes a data set's own labels.
        source: Samples of the source domain for measures that compare samples: (X, y) or X.
        modality: "image" or "text", where `X` leaves it open.
        backbones: Names or patterns such as `embedded/*`.
        weights: Folders of local weights with a `backbones.toml`.
        download: Allow downloads of backbones named in `backbones`.
        permissive_only: Leave out backbones whose weights or data are not known to allow
            commercial use.
        scores: Names or patterns of transferability scores; None takes all.
        similarities: Names or patterns of similarity measures; None takes all.
        samples: Most samples to look at through one backbone; None is 1,000.
        groups: Samples of one group stay on one side of every split.
        seed: Of the order of samples, and of scores.
        device: "cpu", "cuda" or "mps"; None picks a GPU when there is one.
        cache: Keep what frozen layers compute on disk, for later runs.
        experience: Take into account what searches on similar data have found.
        progress: Show progress on standard error.
        on_ranking: Called after each rung with the ranking until then.

    Raises:
        InvalidDataError: The samples or labels cannot be used; the message says which and why.
        UnknownNameError: A backbone, score or measure is not known.
    """
    arguments: dict[str, Any] = {
        "modality": modality, "backbones": backbones, "weights": weights, "download": download,
        "permissive_only": permissive_only, "groups": groups, "seed": seed, "device": device,
    }  # fmt: skip
    if y is None:
        X, y, X_holdout, y_holdout, brought = read_labels(X, None, None, groups, modality)
        arguments |= {"X_holdout": X_holdout, "y_holdout": y_holdout, **brought}
    options = _Options(
        scores=scores,
        similarities=similarities,
        samples=samples,
        cache=cache,
        experience=experience,
        progress=progress,
        on_ranking=on_ranking,
    )
    return _rank(X, y, source, arguments, options)


def rank_source(
    path: str | Path,
    *,
    text: str | None = None,
    label: str | None = None,
    split: str | None = None,
    image: str | None = None,
    groups_column: str | None = None,
    source: str | Path | None = None,
    **arguments: Any,
) -> Ranking:
    """Read a folder, table, archive or named data set and rank; see `rank` for the arguments."""
    columns = {"text": text, "label": label, "split": split, "image": image}
    modality = arguments.get("modality")
    data, extra = read_source(path, columns, None, groups_column, modality)
    given = None
    if source is not None:
        other = read_other(source, {**columns, "split": None}, extra["modality"])
        given = (other.X, other.y)
    own = {f.name for f in fields(_Options)} & arguments.keys()
    options = _Options(**{name: arguments.pop(name) for name in own})
    return _rank(data.X, data.y, given, arguments | extra, options)


@dataclass(frozen=True, kw_only=True)
class _Options:
    """What `rank` takes besides data and backbones."""

    scores: Sequence[str] | str | None = None
    similarities: Sequence[str] | str | None = None
    samples: int | None = None
    cache: bool = True
    experience: bool = True
    progress: bool = True
    on_ranking: Callable[[Ranking], None] = lambda ranking: None


def _rank(X: Any, y: Any, source: Any, arguments: dict[str, Any], options: _Options) -> Ranking:
    registry, seed = get_registry(), arguments.get("seed", defaults.SEED)
    # The cheap checks come first: a misspelt name should not wait for ten thousand images.
    scores = registry.scores.select(options.scores)
    similarities = registry.similarities.select(options.similarities)
    rungs = _rungs(options.samples)
    display = make_progress(options.progress, None)
    try:
        task, shelf = prepare(X, y, display, arguments)  # type: ignore[arg-type]  # as `fit`
        download(shelf, Budget(float("inf")), display)
        screening = Screening(
            task=task,
            scores=scores,
            similarities=similarities,
            device=arguments.get("device") or pick_device(),
            seed=seed,
            caching=_caching(task, display, seed) if options.cache else None,
            source=None if source is None else _as_source(source, task, seed),
            rungs=rungs,
            experience=options.experience,
            on_problem=display.message,
            on_backbone=display.advance,
        )
        display.stage("Ranking", f"{len(shelf.usable)} backbones")
        skipped = [(s.name, s.reason) for s in shelf.skipped]
        found, _ = rank_backbones(
            screening, shelf.usable, skipped=skipped, on_ranking=options.on_ranking
        )
        for text in found.warnings[len(task.warnings) :]:
            display.message(text)
    finally:
        display.close()
    if screening.interrupted and not len(found):
        raise KeyboardInterrupt
    return found


def _rungs(samples: Any) -> tuple[int, ...]:
    if samples is None:
        return tuple(RUNGS)
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 4:
        raise InvalidDataError(f"samples is {samples!r}; give a whole number of at least 4.")
    return (*(n for n in RUNGS if n < samples), samples)


def _caching(task: Task, display: Progress, seed: int) -> Caching | None:
    store = ActivationStore.from_environment(display.message)
    if store is None:
        return None
    return Caching(store=store, digests=task.fingerprints, y=task.y, seed=seed)


def _as_source(source: Any, task: Task, seed: int) -> Source:
    """Check what the user gave as the source domain."""
    X, y = source if isinstance(source, tuple) and len(source) == 2 else (source, None)
    samples, codes = read_domain(task.modality, "source", X, y, most=max(RUNGS), seed=seed)
    return Source(samples=samples, y=codes)
