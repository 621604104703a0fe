import io
import json
import sys

import numpy as np
import pytest

from autotl.cli import render
from autotl.cli.render import Column, number, print_json, print_table


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """Return a function to call inside the test, where pytest has set its own streams."""

    def start():
        screen = Terminal()
        monkeypatch.setattr(sys, "stdout", screen)
        return screen

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return start


def columns():
    return [
        Column(header="name", cells=["timm/resnet18.a1_in1k", "embedded/glyphs"]),
        Column(header="first to go", cells=["x" * 30, "y"], rank=2),
        Column(header="params", cells=["11.2 M", "850 k"], right=True, rank=1),
    ]


def test_table_leaves_out_columns_on_a_narrow_terminal(terminal, capsys):
    screen = terminal()
    print_table(columns())
    shown = screen.getvalue()
    assert "timm/resnet18.a1_in1k" in shown
    assert "params" in shown
    assert "first to go" not in shown
    assert "first to go" in capsys.readouterr().err


def test_table_is_whole_in_a_pipe(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    print_table(columns(), title="Shelf", emphasis={0: "bold red"})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Shelf"
    assert "x" * 30 in lines[3]
    assert all(line == line.rstrip() for line in lines)


def test_table_honours_no_color(terminal, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    screen = terminal()
    print_table(columns(), emphasis={0: "red"})
    assert "\x1b[31m" not in screen.getvalue()


def test_table_has_colour_on_a_terminal(terminal):
    screen = terminal()
    print_table(columns(), emphasis={0: "red"})
    assert "\x1b[31m" in screen.getvalue()


def test_json_is_strict(capsys):
    print_json(
        {
            "a": np.float32(0.5),
            "b": float("inf"),
            "c": np.arange(2),
            "d": {
                1,
            },
            2: "ü",
        }
    )
    assert json.loads(capsys.readouterr().out) == {
        "a": 0.5, "b": None, "c": [0, 1], "d": [1], "2": "ü"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (942, "942"), (340_000, "340 k"), (25_600_000, "25.6 M"), (7e9, "7.0 G")],
)
def test_number_is_short(value, text):
    assert number(value) == text


def test_facts_keep_control_characters_out(capsys):
    render.print_facts([("Label", "a\x1b[31mb")])
    assert "\x1b" not in capsys.readouterr().out
