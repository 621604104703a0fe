"""The example plugin, installed as a stranger would: built, put elsewhere, found by the tool."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "plugins" / "autotl_example"


def run(*command, cwd, **variables):
    """Run Python outside the tree, with our own package importable however it is here."""
    import autotl

    known = [str(Path(autotl.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    path = [*variables.pop("first", []), *filter(None, known)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path), **variables}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    done = subprocess.run(
        [sys.executable, *command], cwd=cwd, env=environment, check=False, **pipes
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Build the distribution from a copy of its source and install it into a folder."""
    pytest.importorskip("hatchling", reason="hatchling builds the example; it is in autotl[dev]")
    folder = tmp_path_factory.mktemp("example")
    shutil.copytree(
        SOURCE, folder / "source", ignore=shutil.ignore_patterns("__pycache__", ".pytest_cache")
    )
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    target = folder / "installed"
    run("-m", "pip", "install", *options, "--target", target, folder / "source", cwd=folder)
    return target


def test_example_wheel_holds_one_module(installed):
    names = {path.name for path in installed.iterdir()} - {"__pycache__"}

    assert names == {"autotl_example.py", "autotl_example-0.1.0.dist-info"}


def test_autotl_lists_the_installed_example(installed, tmp_path):
    output = run("-m", "autotl", "backbones", "--json", cwd=tmp_path, first=[str(installed)])

    rows = {row["name"]: row for row in json.loads(output)["backbones"]}
    assert rows["example/tiny"]["usable"] is True
    assert rows["example/tiny"]["license"] == "Apache-2.0"


def test_autotl_plugins_blocks_the_example(installed, tmp_path):
    output = run(
        *("-m", "autotl", "backbones", "--json"),
        cwd=tmp_path,
        first=[str(installed)],
        AUTOTL_PLUGINS="",
    )

    assert json.loads(output)["backbones"] == []


def test_example_keeps_the_contract(installed, tmp_path):
    shutil.copy(SOURCE / "tests" / "test_tiny.py", tmp_path)

    output = run("-m", "pytest", "-q", "test_tiny.py", cwd=tmp_path, first=[str(installed)])

    assert "1 passed" in output
