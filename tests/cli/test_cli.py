"""Exit codes, usage errors, lazy imports and output of the commands that need no engine."""

import dataclasses
import json
import subprocess
import sys
import textwrap

import click
import pytest
from click.testing import CliRunner

from autotl.cli import main
from autotl.cli.group import LazyGroup, debug_option
from autotl.errors import InvalidDataError
from autotl.registry import get_registry
from autotl.testing import fake_backbone

COMMANDS = [
    "search", "rank", "similarity", "resume", "predict", "report", "backbones", "plugins",
    "cache", "experience", "doctor",
]  # fmt: skip


@pytest.fixture
def runner():
    return CliRunner()


def failing_group(error):
    @click.group(cls=LazyGroup, commands_table={})
    @debug_option
    def group():
        """Fail."""

    @group.command()
    @debug_option
    def fail():
        raise error

    group._table["fail"] = ("unused:unused", "Fails.")
    group.get_command = lambda _ctx, name: fail if name == "fail" else None
    return group


def loaded_after(code):
    """Return which heavy packages a fresh interpreter has loaded after running the code."""
    heavy = "torch timm transformers sentence_transformers sklearn optuna numpy pandas PIL rich"
    script = f"{code}\nprint(*(m for m in '{heavy}'.split() if m in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{script}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()


def test_import_autotl_loads_nothing_heavy():
    assert loaded_after("import autotl") == []


def test_help_loads_nothing_heavy():
    code = textwrap.dedent("""
        from autotl.cli import main
        try:
            main(['--help'])
        except SystemExit as end:
            assert end.code == 0
    """)
    assert loaded_after(code) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_loads_no_engine(command):
    code = textwrap.dedent(f"""
        from autotl.cli import main
        try:
            main(['{command}', '--help'])
        except SystemExit as end:
            assert end.code == 0
    """)
    assert not {"torch", "sklearn", "optuna", "timm", "transformers"} & set(loaded_after(code))


def test_help_lists_every_command(runner):
    result = runner.invoke(main, ["--help"])
    assert result.exit_code == 0
    assert all(f"  {name} " in result.stdout for name in COMMANDS)


def test_table_names_existing_commands(runner):
    for name in COMMANDS:
        assert runner.invoke(main, [name, "--help"]).exit_code == 0


def test_unknown_command_is_usage_error_with_suggestion(runner):
    result = runner.invoke(main, ["serch"])
    assert result.exit_code == 2
    assert "'serch'" in result.stderr
    assert "Did you mean 'search'?" in result.stderr


def test_autotl_error_exits_1_in_one_line(runner):
    group = failing_group(InvalidDataError("X has 3 samples but y has 2 labels."))
    result = runner.invoke(group, ["fail"])
    assert result.exit_code == 1
    assert result.stderr == "Error: X has 3 samples but y has 2 labels.\n"
    assert result.stdout == ""


@pytest.mark.parametrize("arguments", [["--debug", "fail"], ["fail", "--debug"]])
def test_debug_shows_the_traceback(runner, arguments):
    result = runner.invoke(failing_group(InvalidDataError("bad value")), arguments)
    assert result.exit_code == 1
    assert "Traceback" in result.stderr
    assert "Error: bad value" in result.stderr


def test_unexpected_error_shows_traceback_and_exits_1(runner):
    result = runner.invoke(failing_group(ZeroDivisionError("oops")), ["fail"])
    assert result.exit_code == 1
    assert "Traceback" in result.stderr
    assert "please report it" in result.stderr


def test_interrupt_exits_130(runner):
    result = runner.invoke(failing_group(KeyboardInterrupt()), ["fail"])
    assert result.exit_code == 130
    assert "Interrupted" in result.stderr


def test_version_names_the_package(runner):
    from autotl import __version__

    assert runner.invoke(main, ["--version"]).stdout.strip() == f"autotl, version {__version__}"


def test_plugins_json_is_pure_and_stable(runner):
    result = runner.invoke(main, ["plugins", "--json"])
    content = json.loads(result.stdout)
    assert result.exit_code == 0
    assert content["schema"] == 1
    keys = {"name", "distribution", "status", "counts", "problems"}
    assert all(set(row) == keys for row in content["plugins"])


def test_backbones_json_tells_who_is_usable(runner):
    result = runner.invoke(main, ["backbones", "--json"])
    rows = {row["name"]: row for row in json.loads(result.stdout)["backbones"]}
    assert rows["embedded/glyphs"]["usable"] is True
    assert rows["embedded/glyphs"]["license"] == "Apache-2.0"
    assert all(row["usable"] == (row["reason"] is None) for row in rows.values())


def test_backbones_permissive_only_says_why_not(runner, monkeypatch):
    catalog = get_registry().backbones
    free = fake_backbone("fake/free")
    limited = dataclasses.replace(free, name="fake/limited", permissive=False, source_terms="lab")
    for spec in (free, limited):
        monkeypatch.setitem(catalog._specs, spec.name, spec)
        monkeypatch.setitem(catalog._aliases, spec.name, spec.name)
        monkeypatch.setitem(catalog._owners, spec.name, "fake 1")

    result = runner.invoke(main, ["backbones", "--permissive-only", "--json"])

    rows = {row["name"]: row for row in json.loads(result.stdout)["backbones"]}
    assert rows["fake/free"]["usable"] is True
    assert rows["fake/free"]["permissive"] is True
    assert rows["fake/limited"]["usable"] is False
    assert rows["fake/limited"]["permissive"] is False
    assert "(Apache-2.0; lab)" in rows["fake/limited"]["reason"]
    assert all(row["permissive"] for row in rows.values() if row["usable"])


def test_backbones_shows_licence_and_terms(runner):
    lines = runner.invoke(main, ["backbones", "--modality", "image"]).stdout.splitlines()
    assert lines[0] == "Usable now"
    assert {"license", "permissive"} <= set(lines[1].split())
    (glyphs,) = [line for line in lines if line.startswith("embedded/glyphs ")]
    assert glyphs.split()[-2:] == ["Apache-2.0", "yes"]
    (terms,) = [line for line in lines if line.startswith("rendered-glyphs ")]
    assert "fonts" in terms


def test_backbones_piped_is_never_truncated(runner, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    result = runner.invoke(main, ["backbones", "--modality", "image"])
    names = [line.split()[0] for line in result.stdout.splitlines() if line]
    assert "timm/vit_small_patch14_dinov2.lvd142m" in names
    assert "\x1b[" not in result.stdout


def test_backbones_unknown_modality_suggests(runner):
    result = runner.invoke(main, ["backbones", "--modality", "imgae"])
    assert result.exit_code == 1
    assert "Did you mean 'image'?" in result.stderr


def test_doctor_json_has_versions_devices_and_reasons(runner):
    result = runner.invoke(main, ["doctor", "--json"])
    content = json.loads(result.stdout)
    assert content["packages"]["torch"]
    assert content["devices"][0]["name"] == "cpu"
    assert content["cache"]["size_bytes"] >= 0
    assert all(row["usable"] or row["reason"] for row in content["backbones"])
