import warnings

import pytest
from click.testing import CliRunner

from autotl.cli import group, main
from autotl.registry import Catalog
from autotl.specs import CommandSpec


@pytest.fixture
def commands(monkeypatch, tmp_path):
    """Register two commands as a plugin would: one that works and one that does not import."""
    source = "import click\n\n@click.command()\ndef greet():\n    click.echo('hello')\n"
    (tmp_path / "stranger_command.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    catalog = Catalog("command")
    for name, target in (
        ("greet", "stranger_command:greet"),
        ("broken", "no_such_module:command"),
        ("search", "stranger_command:greet"),
    ):
        catalog.add(CommandSpec(name=name, summary=f"Runs {name}.", target=target), "stranger 1.0")
    monkeypatch.setattr(group, "_plugin_commands", lambda: catalog)


def test_plugin_command_is_listed_and_runs(commands):
    runner = CliRunner()
    assert "Runs greet." in runner.invoke(main, ["--help"]).stdout
    assert runner.invoke(main, ["greet"]).stdout == "hello\n"


def test_plugin_command_that_fails_names_its_distribution(commands):
    done = CliRunner().invoke(main, ["broken"])
    assert done.exit_code == 1
    assert "stranger 1.0" in done.stderr
    assert "no_such_module" in done.stderr


def test_plugin_command_cannot_shadow_an_own_one(commands):
    done = CliRunner().invoke(main, ["search", "--help"])
    assert "DATA" in done.stdout


@pytest.mark.parametrize(
    ("filename", "shown"),
    [
        ("/env/lib/python3.11/site-packages/autotl/registry.py", True),
        ("/env/lib/python3.11/site-packages/autotl_timm/__init__.py", True),
        ("/env/lib/python3.11/site-packages/sklearn/base.py", False),
        ("/home/me/autotl/autotl/api.py", True),
    ],
)
def test_warnings_of_others_stay_quiet(capsys, filename, shown):
    with group._short_warnings():
        warnings.simplefilter("always")
        warnings.warn_explicit("look out", UserWarning, filename, 1)
    assert capsys.readouterr().err == ("Warning: look out\n" if shown else "")


def test_warnings_are_as_before_afterwards():
    before = warnings.showwarning
    with group._short_warnings():
        pass
    assert warnings.showwarning is before
