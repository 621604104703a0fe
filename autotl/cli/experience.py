"""`autotl experience`: what earlier runs left for later ones; shown, moved and forgotten."""

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autotl.cli.group import debug_option
from autotl.cli.options import json_option
from autotl.cli.render import Column, note, number, print_facts, print_json, print_table
from autotl.errors import InvalidDataError, ModelFormatError, OutputExistsError, UnknownNameError

if TYPE_CHECKING:
    from autotl.experience import ExperienceStore, RunRecord

__all__ = ["experience"]

_SCHEMA = 1
_SHOWN = 20
_SWITCHED_OFF = "off: AUTOTL_EXPERIENCE says so"


@click.group(invoke_without_command=True)
@json_option
@debug_option
@click.pass_context
def experience(ctx: click.Context, as_json: bool) -> None:
    """Show what earlier runs left for later ones, or export, import or forget it.

    Records hold counts, moments, configurations and results; no samples, labels or paths.
    AUTOTL_EXPERIENCE names the file, or `off`.
    """
    if ctx.invoked_subcommand is not None:
        return
    from autotl.experience import ExperienceStore

    store = ExperienceStore.from_environment()
    damaged: list[str] = []
    newest = -1 if as_json else _SHOWN
    runs = store.runs(newest=newest, on_damaged=damaged.append) if store else []
    if as_json:
        print_json(_report(store, runs, damaged))
        return
    n_runs = store.n_runs() if store else 0
    print_facts(
        [
            ("File", str(store.path) if store else _SWITCHED_OFF),
            ("Runs", str(n_runs)),
            ("Size", _size(store.size_bytes() if store else 0)),
        ]
    )
    if runs:
        click.echo()
        _print_runs(runs)
    if n_runs > _SHOWN:
        note(f"(--json also shows {n_runs - _SHOWN} older ones.)")
    if damaged:
        note(f"Warning: damaged and not used: {', '.join(damaged)}.")


@experience.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--force", is_flag=True, help="Replace the file where it exists.")
@debug_option
def export(file: Path, force: bool) -> None:
    """Write all records to a JSON file."""
    if file.exists() and not force:
        raise OutputExistsError(
            f"{str(file)!r} exists; expected a new file. Choose another, or pass --force."
        )
    runs = _store().runs()
    content = {"schema": _SCHEMA, "runs": [json.loads(run.to_json()) for run in runs]}
    _write(file, json.dumps(content, indent=1, allow_nan=False) + "\n")
    note(f"Wrote {_runs(len(runs))} to {file}.")


@experience.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@debug_option
def import_file(file: Path) -> None:
    """Add the records of a file that `export` wrote; known ones stay as they are."""
    from autotl.experience import RunRecord

    store = _store()
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise _no_export(file, str(error)) from error
    runs = content.get("runs") if isinstance(content, dict) else None
    if not isinstance(runs, list) or content.get("schema") != _SCHEMA:
        raise _no_export(file, f"expected schema {_SCHEMA} and a list of runs")
    added = store.add([RunRecord.from_json(json.dumps(run)) for run in runs])
    note(f"Added {_runs(added)} of {len(runs)}.")


@experience.command()
@click.option("--all", "everything", is_flag=True, help="All runs.")
@click.option(
    "--before",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]),
    metavar="DATE",
    help="Runs that ended before a date, such as 2026-01-31.",
)
@click.option("--run", "ids", multiple=True, metavar="ID", help="One run; repeatable.")
@click.option("--yes", is_flag=True, help="Do not ask before --all.")
@json_option
@debug_option
def forget(
    everything: bool, before: datetime | None, ids: Sequence[str], yes: bool, as_json: bool
) -> None:
    """Remove records for good."""
    if (everything, before is not None, bool(ids)).count(True) != 1:
        raise click.UsageError("Say what to forget: one of --all, --before DATE and --run ID.")
    store = _store()
    if (
        everything
        and not yes
        and not click.confirm(f"Forget all runs in {str(store.path)!r}?", err=True)
    ):
        note("Nothing was forgotten.")
        return
    _check_known(store, ids)
    n_gone = store.forget(
        ids=ids or None, before=before.timestamp() if before is not None else None
    )
    if as_json:
        print_json({"schema": _SCHEMA, "forgotten": n_gone})
    else:
        note(f"Forgot {_runs(n_gone)}.")


def _store() -> "ExperienceStore":
    from autotl.experience import ExperienceStore

    store = ExperienceStore.from_environment()
    if store is None:
        raise InvalidDataError(
            "AUTOTL_EXPERIENCE is 'off', so there is no experience to work on; expected the path "
            "of a file. Unset it for the usual place."
        )
    return store


def _check_known(store: "ExperienceStore", ids: Sequence[str]) -> None:
    if not ids:
        return
    damaged: list[str] = []
    known = [*(run.id for run in store.runs(on_damaged=damaged.append)), *damaged]
    for name in ids:
        if name not in known:
            raise UnknownNameError("run", name, known, "See `autotl experience`.")


def _no_export(file: Path, why: str) -> ModelFormatError:
    return ModelFormatError(
        f"{str(file)!r} is not what `autotl experience export` writes ({why}). Export it again "
        "with this version."
    )


def _write(file: Path, text: str) -> None:
    """Replace a file at once or not at all."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    partial = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        partial.replace(file)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


def _print_runs(runs: Sequence["RunRecord"]) -> None:
    best = [run.best for run in runs]
    data = [run.fingerprint for run in runs]
    gaps = ["-" if run.gap is None else f"{run.gap:+.3f}" for run in runs]
    print_table(
        [
            Column(header="run", cells=[run.id for run in runs], rank=1),
            Column(header="ended", cells=[_when(run) for run in runs]),
            Column(header="modality", cells=[d.modality for d in data], rank=2),
            Column(header="samples", cells=[str(d.n_train) for d in data], right=True),
            Column(header="classes", cells=[str(d.n_classes) for d in data], right=True),
            Column(header="best backbone", cells=[t.backbone if t else "-" for t in best]),
            Column(header="method", cells=[t.adaptation if t else "-" for t in best]),
            Column(header="gap to floor", cells=gaps, right=True),
            Column(header="verdict", cells=[run.verdict or "-" for run in runs], rank=1),
        ],
        title="Newest runs",
    )


def _report(
    store: "ExperienceStore | None", runs: Sequence["RunRecord"], damaged: Sequence[str]
) -> dict[str, Any]:
    return {
        "schema": _SCHEMA,
        "path": str(store.path) if store else None,
        "enabled": store is not None,
        "size_bytes": store.size_bytes() if store else 0,
        "damaged": list(damaged),
        "runs": [_row(run) for run in runs],
    }


def _row(run: "RunRecord") -> dict[str, Any]:
    best, data = run.best, run.fingerprint
    return {
        "id": run.id,
        "ended_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(run.finished_at)),
        "version": run.version,
        "device": run.device,
        "modality": data.modality,
        "metric": data.metric,
        "n_samples": data.n_train,
        "n_classes": data.n_classes,
        "n_trials": len(run.trials),
        "backbone": best.backbone if best else None,
        "adaptation": best.adaptation if best else None,
        "params": dict(best.params) if best else None,
        "validation": best.value if best else None,
        "floor": run.floor,
        "gap": run.gap,
        "verdict": run.verdict or None,
    }


def _when(run: "RunRecord") -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(run.finished_at))


def _size(size_bytes: int) -> str:
    text = number(size_bytes)
    return f"{text}B" if text[-1].isalpha() else f"{text} B"


def _runs(n: int) -> str:
    return f"{n} run{'' if n == 1 else 's'}"
