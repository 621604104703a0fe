import click
import pytest
from click.testing import CliRunner

from autotl.cli import main
from autotl.cli.options import duration, named_sources, split_commas


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("1h30m", 5400), ("45", 45), ("1.5m", 90), ("1H 0m", None)],
)
def test_duration_reads_usual_spellings(text, seconds):
    if seconds is None:
        with pytest.raises(click.BadParameter):
            duration(text)
    else:
        assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "abc", "10x", "-5s", "0s", "nan", "inf", "m", "s10"])
def test_duration_refusal_shows_the_value(text):
    with pytest.raises(click.BadParameter) as caught:
        duration(text)
    assert repr(text) in caught.value.message


def test_bad_budget_is_a_usage_error():
    result = CliRunner().invoke(main, ["search", "x", "--budget", "10x"])
    assert result.exit_code == 2
    assert "'10x'" in result.stderr
    assert "90s" in result.stderr


def test_split_commas_joins_repeats():
    param = click.Option(["--backbones"])
    context = click.Context(click.Command("search"))
    assert split_commas(context, param, ("a, b", "c")) == ["a", "b", "c"]
    assert split_commas(context, param, ()) is None


def test_split_commas_refuses_empty_names():
    result = CliRunner().invoke(main, ["search", "x", "--backbones", "a,,b"])
    assert result.exit_code == 2
    assert "'a,,b'" in result.stderr


def test_search_options_cover_the_parameters_of_fit():
    import inspect

    from autotl.api import fit
    from autotl.cli.search import search

    names = {p.name for p in search.params}
    renamed = {"X": "data", "y": "label", "X_holdout": "holdout", "y_holdout": "holdout"}
    renamed |= {"groups": "groups_column", "X_unlabeled": "unlabeled_data"}
    renamed["source"] = "other_sources"
    for name in inspect.signature(fit).parameters:
        assert renamed.get(name, name) in names


def test_search_help_states_the_defaults_of_fit():
    import inspect

    from autotl.api import fit

    text = CliRunner().invoke(main, ["search", "--help"]).stdout
    defaults = inspect.signature(fit).parameters
    assert f"[default: {defaults['budget_seconds'].default:g}s]" in text
    assert f"[default: {defaults['seed'].default}]" in text


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((), None),
        (("photos=a/b", "drawings=c.csv"), {"photos": "a/b", "drawings": "c.csv"}),
        (("a/b",), {"b": "a/b"}),
    ],
)
def test_sources_are_named(values, expected):
    assert named_sources(None, None, values) == expected


@pytest.mark.parametrize("values", [("=a",), ("x=",), ("x=a", "x=b"), ("a/x", "b/x")])
def test_sources_without_a_name_of_their_own_are_refused(values):
    with pytest.raises(click.BadParameter, match="NAME=DATA"):
        named_sources(None, click.Option(["--source"]), values)


def test_a_path_with_an_equals_sign_is_a_path(tmp_path):
    place = tmp_path / "a=b"
    place.mkdir()

    assert named_sources(None, None, (str(place),)) == {"a=b": str(place)}
