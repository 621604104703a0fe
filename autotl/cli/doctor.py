"""`autotl doctor`: versions, devices, caches and which backbones work here."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import click

from autotl import __version__
from autotl.cli.backbones import listing
from autotl.cli.group import debug_option
from autotl.cli.options import json_option, working
from autotl.cli.render import Column, print_facts, print_json, print_table
from autotl.errors import AutotlError

__all__ = ["doctor"]

_PACKAGES = (
    "torch",
    "timm",
    "sentence-transformers",
    "transformers",
    "optuna",
    "scikit-learn",
    "scikit-image",
    "numpy",
    "scipy",
    "pandas",
    "pillow",
    "safetensors",
    "pluggy",
    "click",
    "rich",
)


@click.command()
@json_option
@debug_option
def doctor(as_json: bool) -> None:
    """Show versions, devices, the cache, and which backbones are usable and why others are not."""
    report = _examine()
    if as_json:
        print_json(report)
        return
    print_facts(
        [
            ("autotl", f"{report['autotl']}, Python {report['python']}, {report['platform']}"),
            ("Devices", "; ".join(d["description"] for d in report["devices"])),
            ("Cache", f"{report['cache']['path']} ({_size_text(report['cache']['size_bytes'])})"),
            ("Weights", ", ".join(report["weights"]) or "no folder given (see AUTOTL_WEIGHTS)"),
        ]
    )
    click.echo()
    packages = report["packages"]
    print_table(
        [
            Column(header="package", cells=list(packages)),
            Column(header="version", cells=[v or "missing" for v in packages.values()]),
        ],
        emphasis={i: "red" for i, v in enumerate(packages.values()) if v is None},
    )
    click.echo()
    _show_backbones(report)


def _show_backbones(report: dict[str, Any]) -> None:
    if report["backbones_error"]:
        click.echo(f"Backbones: {report['backbones_error']}")
        return
    rows = report["backbones"]
    click.echo(f"{sum(r['usable'] for r in rows)} of {len(rows)} backbones are usable now:")
    for row in rows:
        state = "usable" if row["usable"] else f"not usable: {row['reason']}"
        click.echo(f"  {row['name']}: {state}")


def _examine() -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    directories: list[str] = []
    error = None
    try:
        rows, directories = listing()
    except AutotlError as problem:
        # What is broken here is what a doctor is asked about: say it beside the rest.
        error = str(problem)
    return {
        "schema": 1,
        "autotl": __version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "devices": _devices(),
        "cache": _cache(),
        "weights": directories,
        "backbones": rows,
        "backbones_error": error,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _devices() -> list[dict[str, Any]]:
    n_cpus = os.cpu_count() or 1
    devices = [{"name": "cpu", "description": f"cpu with {n_cpus} cores"}]
    try:
        with working("Loading torch"):
            import torch
    except (ImportError, OSError) as problem:  # a missing shared library is an OSError
        return [{"name": "cpu", "description": f"torch cannot be imported: {problem}"}]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            facts = torch.cuda.get_device_properties(index)
            memory = _size_text(facts.total_memory)
            text = f"cuda:{index} {facts.name} with {memory}"
            devices.append({"name": f"cuda:{index}", "description": text})
    if torch.backends.mps.is_available():
        devices.append({"name": "mps", "description": "mps (Apple GPU)"})
    return devices


def _cache() -> dict[str, Any]:
    from autotl.features.limits import cache_folder
    from autotl.features.store import ActivationStore

    folder = cache_folder()
    return {"path": str(folder), "size_bytes": ActivationStore(folder, 0).size_bytes()}


def _size_text(size_bytes: int) -> str:
    size = float(size_bytes)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
