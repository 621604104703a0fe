"""`autotl cache`: what it shows and clears."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from autotl.cli import main
from autotl.features.store import ActivationStore


@pytest.fixture
def folder(monkeypatch, tmp_path):
    folder = tmp_path / "cache"
    monkeypatch.setenv("AUTOTL_CACHE_DIR", str(folder))
    monkeypatch.setenv("AUTOTL_CACHE_BYTES", "5GB")
    return folder


@pytest.fixture
def filled(folder):
    store = ActivationStore(folder, 10**9)
    for number, backbone in enumerate(["timm/a", "embedded/b"]):
        key = {"backbone": backbone, "cut": "2/4", "view": "plain", "dtype": "float16"}
        digests = [f"{i:064x}" for i in range(3 + number)]
        assert store.entry(key).add(digests, {"x": np.ones((len(digests), 1000), np.float16)})
    return folder


def run(*arguments):
    done = CliRunner().invoke(main, ["cache", *arguments])
    assert done.exit_code == 0, done.output
    return done


def test_cache_shows_a_row_for_each_entry(filled):
    lines = run().stdout.splitlines()

    facts = dict(line.split(maxsplit=1) for line in lines[:3])
    assert facts["Folder"] == str(filled)
    assert facts["Limit"] == "5.0 GB"
    assert facts["Used"].endswith("kB")
    (row,) = [line.split() for line in lines if line.startswith("embedded/b ")]
    assert row[1:5] == ["2/4", "plain", "float16", "4"]


def test_cache_json_is_pure_and_stable(filled):
    content = json.loads(run("--json").stdout)

    assert content["schema"] == 1
    assert content["path"] == str(filled)
    assert content["enabled"] is True
    assert content["limit_bytes"] == 5 * 10**9
    assert content["freed_bytes"] is None
    assert content["size_bytes"] == sum(e["size_bytes"] for e in content["entries"])
    keys = {"name", "key", "n_samples", "size_bytes", "used_at"}
    assert all(set(entry) == keys for entry in content["entries"])
    assert [e["n_samples"] for e in content["entries"]] == [3, 4]


def test_cache_empty_says_so_and_creates_nothing(folder):
    done = run()

    assert "Nothing is in the cache." in done.stderr
    assert not folder.exists()


def test_cache_clear_frees_everything(filled):
    done = run("--clear")

    assert re.fullmatch(r"Freed [\d.]+ kB\.\n", done.stderr)
    assert json.loads(run("--json").stdout)["entries"] == []


def test_cache_clear_by_pattern_keeps_the_others(filled):
    content = json.loads(run("--clear", "--backbones", "timm/*", "--json").stdout)

    assert content["freed_bytes"] > 6000
    left = json.loads(run("--json").stdout)["entries"]
    assert [e["key"]["backbone"] for e in left] == ["embedded/b"]


def test_cache_pattern_alone_chooses_what_is_shown(filled):
    assert "embedded/b" not in run("--backbones", "timm/*").stdout
    assert "No entry matches 'x*'." in run("--backbones", "x*").stderr
    assert len(json.loads(run("--json").stdout)["entries"]) == 2


def test_cache_disabled_says_so_and_still_clears(filled, monkeypatch):
    monkeypatch.setenv("AUTOTL_CACHE_BYTES", "0")

    assert "disabled" in run().stdout
    assert json.loads(run("--json").stdout)["enabled"] is False
    run("--clear")
    assert json.loads(run("--json").stdout)["size_bytes"] == 0


def test_cache_damaged_entry_is_shown_and_cleared(filled):
    for file in filled.glob("*/entry.json"):
        file.write_text("{")

    assert [line.split()[0] for line in run().stdout.splitlines()[-2:]] == ["?", "?"]
    run("--clear")
    assert json.loads(run("--json").stdout)["size_bytes"] == 0


def test_cache_wrong_limit_is_an_error_of_one_line(folder, monkeypatch):
    monkeypatch.setenv("AUTOTL_CACHE_BYTES", "lots")

    done = CliRunner().invoke(main, ["cache"])

    assert done.exit_code == 1
    assert done.stderr.startswith("Error: AUTOTL_CACHE_BYTES is 'lots'; expected ")


def test_cache_loads_no_engine(folder):
    code = (
        "import sys\nfrom autotl.cli import main\n"
        "main(['cache', '--json'], standalone_mode=False)\n"
        "assert not {'torch', 'sklearn', 'optuna', 'pandas'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
