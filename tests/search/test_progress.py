import io

import pytest
from rich.console import Console

from autotl.search.progress import RichProgress, SilentProgress, make_progress


def row(trial, validation=0.9, state="complete", **more):
    gap = None if validation is None else validation - 0.88
    return {
        "trial": trial,
        "backbone": "embedded/glyphs",
        "adaptation": "lp_ft",
        "validation": validation,
        "gap": gap,
        "state": state,
        **more,
    }


def plain():
    return Console(file=io.StringIO(), width=20, markup=False, highlight=False)


def terminal():
    return Console(file=io.StringIO(), width=100, height=30, force_terminal=True, markup=False)


def drive(progress):
    progress.stage("Floor", "hog")
    progress.advance("hog", 1, 3)
    progress.trial(row(0))
    progress.trial(row(1, 0.95))
    progress.trial(row(2, None, "pruned", reason="too slow"))
    progress.message("Note: one class is rare")


def test_make_progress_is_silent_unless_asked(capsys):
    progress = make_progress(False, 10.0)
    drive(progress)
    progress.close()
    assert isinstance(progress, SilentProgress)
    assert capsys.readouterr() == ("", "")


def test_make_progress_writes_to_stderr_only(capsys):
    progress = make_progress(True, 10.0)
    drive(progress)
    progress.close()
    out, err = capsys.readouterr()
    assert out == ""
    assert "Floor: hog" in err


def test_plain_lines_are_rare_and_whole():
    console = plain()
    progress = RichProgress(60.0, console)
    progress.stage("Search", "a stage detail that is longer than the console is wide")
    for i in range(100):
        progress.trial(row(i))
    progress.message("a note that always appears, however soon")
    progress.close()
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0].endswith("longer than the console is wide")


def test_live_panel_shows_best_against_the_floor():
    progress = RichProgress(60.0, terminal())
    drive(progress)
    reader = Console(file=io.StringIO(), width=100)
    reader.print(progress._render())
    progress.close()
    text = reader.file.getvalue()
    assert "95.0 %" in text
    assert "+7.0 against the floor's 88.0 %" in text
    assert "2 done, 1 stopped early" in text
    assert "of 60 s" in text


def test_live_panel_gives_the_cursor_back():
    console = terminal()
    progress = RichProgress(None, console)
    drive(progress)
    progress.close()
    progress.close()
    assert console.file.getvalue().rfind("\x1b[?25h") > console.file.getvalue().rfind("\x1b[?25l")


def test_control_characters_stay_out():
    console = plain()
    progress = RichProgress(None, console)
    progress.message("label \x1b[31mred")
    progress.close()
    assert "\x1b" not in console.file.getvalue()


def test_a_broken_stream_ends_the_display_not_the_run():
    class Broken(io.StringIO):
        def write(self, _text):
            raise OSError("gone")

    progress = RichProgress(10.0, Console(file=Broken(), force_terminal=True))
    drive(progress)
    progress.close()


@pytest.mark.parametrize("console", [plain, terminal])
def test_odd_rows_never_raise(console):
    progress = RichProgress(0.0, console())
    progress.trial({})
    progress.trial(row(1, float("nan")))
    progress.trial(row(None, -0.3, gap=None))
    progress.trial(row("x", None, "unheard of", reason="a\nb"))
    progress._render()
    progress.close()
