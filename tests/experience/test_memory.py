"""Experience as a search uses it: it helps or keeps out of the way."""

import pytest

from autotl.experience import ExperienceStore, recall, remember

VALUES = {("timm/good", "linear_probe"): 0.9, ("timm/poor", "linear_probe"): 0.5}


@pytest.fixture
def path(monkeypatch, tmp_path):
    path = tmp_path / "experience.sqlite3"
    monkeypatch.setenv("AUTOTL_EXPERIENCE", str(path))
    return path


def test_what_one_run_leaves_the_next_one_finds(path, make_run, make_data):
    problems = []

    assert remember(lambda: make_run(VALUES), problems.append)
    advice = recall(make_data(seed=1), "cpu", problems.append)

    assert advice.gain("timm/good", "linear_probe").mean > 0
    assert advice.configurations(1)[0].backbone == "timm/good"
    assert problems == []


def test_only_the_most_similar_runs_are_read(path, make_run, make_data):
    alike = make_run(VALUES, data=make_data(0.3), ended=1.0)
    others = [
        make_run(VALUES, data=make_data(2.0, seed=seed), ended=1e9 + seed) for seed in range(80)
    ]
    ExperienceStore(path).add([alike, *others])

    assert recall(make_data(), "cpu").similar[0].run == alike


def test_switched_off_keeps_and_finds_nothing(monkeypatch, path, make_run, make_data):
    remember(lambda: make_run(VALUES))
    monkeypatch.setenv("AUTOTL_EXPERIENCE", "off")
    problems = []

    def build():
        raise AssertionError("needless work")

    assert not remember(build, problems.append)
    assert recall(make_data(), "cpu", problems.append).configurations() == []
    assert problems == []


@pytest.mark.parametrize("content", [b"damaged" * 1000, None])
def test_trouble_with_the_file_is_a_problem_told(path, make_run, make_data, content):
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    problems = []

    assert not remember(lambda: make_run(VALUES), problems.append)
    assert recall(make_data(), "cpu", problems.append).gain("timm/good") == (0.0, 0.0)
    assert [p.split(":")[0] for p in problems] == [
        "Later runs will not learn from this one",
        "Nothing was learnt from earlier runs",
    ]
    assert all(str(path) in p for p in problems)


def test_record_that_cannot_be_made_costs_no_search(path):
    problems = []

    assert not remember(lambda: 1 / 0, problems.append)
    assert problems == ["Later runs will not learn from this one: division by zero"]
    assert not path.exists()
