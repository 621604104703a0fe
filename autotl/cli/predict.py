"""`autotl predict`: labels and probabilities for new data, as CSV or JSON."""

import csv
import io
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from autotl.cli.group import debug_option
from autotl.cli.options import column_options, given, json_option, working
from autotl.cli.render import note, print_json
from autotl.errors import InvalidDataError, OutputExistsError
from autotl.result import wording

__all__ = ["predict"]

_FEW = 5


@click.command()
@click.argument("run", metavar="RUN")
@click.argument("data", metavar="DATA")
@click.option("--out", metavar="FILE", help="CSV file to write; standard output without it.")
@click.option("--overwrite", is_flag=True, help="Replace --out where it exists.")
@column_options
@click.option("--weights", metavar="DIR", help="Where the backbone's weights are now.")
@click.option("--device", metavar="NAME", help="cpu, cuda or mps.  [default: the best there is]")
@json_option
@debug_option
@click.pass_context
def predict(ctx: click.Context, /, run: str, data: str, **options: Any) -> None:
    """Predict DATA with the model in RUN, a folder that a search made.

    DATA is a folder of images, a CSV file or anything else a search takes; the order of its
    samples is kept. Where it has labels, the score is told too.
    """
    out = None if options["out"] is None else Path(options["out"])
    if out is not None:
        _check_out(out, Path(data), options["overwrite"])
    with working("Predicting"):
        from autotl.api import predict_source

        arguments = given(ctx, ("text", "image", "label", "weights", "device"))
        predictions = predict_source(run, data, **arguments)
    rows = list(_rows(predictions))
    if out is not None:
        _write(out, _csv_text(predictions, rows))
        note(f"Wrote {wording.count(len(rows), 'row')} to {out}.")
    if options["as_json"]:
        print_json(_as_json(run, predictions, rows))
    elif out is None:
        sys.stdout.write(_csv_text(predictions, rows))
    _say(predictions)


def _check_out(out: Path, data: Path, overwrite: bool) -> None:
    """Refuse, before any work, to write where something would be lost."""
    if out.is_dir():
        inside = str(out / "predictions.csv")
        raise OutputExistsError(f"--out {str(out)!r} is a folder; give a file such as {inside!r}.")
    if not out.exists():
        return
    if data.exists() and out.samefile(data):
        raise InvalidDataError(
            f"--out {str(out)!r} is DATA itself and would be overwritten; give another file."
        )
    if not overwrite:
        raise OutputExistsError(
            f"{str(out)!r} exists. Give another --out, or --overwrite to replace it."
        )


def _reasons(skipped: Sequence[Any]) -> dict[str, str]:
    pairs = [s if isinstance(s, dict) else vars(s) for s in skipped]
    return {str(p["sample"]): str(p["reason"]) for p in pairs}


def _rows(predictions: Any) -> Iterator[tuple[str, Any, Sequence[float] | None, str]]:
    """Yield (id, label, probabilities, reason); skipped samples have neither label nor scores.

    A skipped sample keeps its place where the engine lists its id, and comes last otherwise.
    """
    reasons = _reasons(predictions.skipped)
    listed = set()
    probabilities = predictions.probabilities
    for sample, label, scores in zip(
        predictions.ids, predictions.labels, probabilities, strict=True
    ):
        listed.add(sample)
        if sample in reasons and label is None:
            yield sample, None, None, reasons[sample]
        else:
            yield sample, label, [float(s) for s in scores], ""
    for sample, reason in reasons.items():
        if sample not in listed:
            yield sample, None, None, reason


def _csv_text(predictions: Any, rows: Sequence[tuple[str, Any, Any, str]]) -> str:
    classes = list(predictions.classes)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["id", "label", *(f"prob_{c}" for c in classes), "reason"])
    for sample, label, scores, reason in rows:
        cells = [""] * len(classes) if scores is None else [f"{s:.6g}" for s in scores]
        writer.writerow([sample, "" if label is None else label, *cells, reason])
    return buffer.getvalue()


def _write(out: Path, text: str) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    # Beside its destination and renamed: an interrupted write leaves no half a file.
    with tempfile.NamedTemporaryFile(
        "w", dir=out.parent, prefix=f".{out.name}.", delete=False, encoding="utf-8", newline=""
    ) as file:
        partial = Path(file.name)
        file.write(text)
    try:
        partial.chmod(0o644)
        partial.replace(out)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def _as_json(run: str, predictions: Any, rows: Sequence[Any]) -> dict[str, Any]:
    return {
        "schema": 1,
        "run": run,
        "metric": predictions.metric,
        "score": predictions.score,
        "classes": list(predictions.classes),
        "predictions": [
            {"id": sample, "label": label, "probabilities": scores}
            for sample, label, scores, reason in rows
            if not reason
        ],
        "skipped": [
            {"sample": sample, "reason": reason} for sample, _, _, reason in rows if reason
        ],
    }


def _say(predictions: Any) -> None:
    reasons = _reasons(predictions.skipped)
    for sample, reason in list(reasons.items())[:_FEW]:
        note(f"Skipped {sample}: {reason}")
    if len(reasons) > _FEW:
        note(f"Skipped {len(reasons) - _FEW} more; the 'reason' column says why.")
    if getattr(predictions, "note", ""):
        note(predictions.note)
    if predictions.score is not None:
        words = str(predictions.metric).replace("_", " ")
        score = wording.score_text(predictions.score, predictions.metric)
        note(f"{words.capitalize()} on the labels in DATA: {score}")
