import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from autotl.result import wording
from autotl.result.classes import confused_pairs
from autotl.result.plots import Scale
from autotl.result.report import render, write_report

RESULT = Path(__file__).with_name("digits_result.json")
FETCHED = {"src", "srcset", "href", "xlink:href", "data", "action", "poster", "background"}
VOID = {"meta", "wbr", "br", "line", "circle", "rect", "img"}
PICTURE = "data:image/jpeg;base64,"


class Checker(HTMLParser):
    """Collects tags and text, and that every element is closed in order."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.links, self.words, self.styles = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in FETCHED]
        self.styles += [v for k, v in attrs if k == "style"]
        assert not any(k.startswith("on") for k, _ in attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        (self.styles if self.open[-1:] == ["style"] else self.words).append(data)


def checked(page):
    parser = Checker()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    assert "script" not in parser.tags
    assert "could not be drawn" not in page
    assert all(link.startswith(("#", PICTURE)) for link in parser.links)
    # A label may read as an address; only what a browser would fetch must not be one.
    assert parser.styles
    assert not any(re.search(r"url\(|@import", style) for style in parser.styles)
    return " ".join(parser.words)


@pytest.fixture
def result():
    return json.loads(RESULT.read_text(encoding="utf-8"))


def finals(**changes):
    """What the finish leaves in a result."""
    rows = [
        {"trial": 0, "backbone": "embedded/glyphs", "adaptation": "lp_ft", "validation": 0.99,
         "mean": 0.981, "difference": 0.052, "standard_error": 0.009, "chosen": True},
        {"trial": 4, "backbone": "embedded/shapes", "adaptation": "linear_probe",
         "validation": 0.96, "mean": None, "difference": None, "standard_error": None,
         "chosen": False},
    ]  # fmt: skip
    return {
        "finalists": rows, "n_splits": 3, "mean": 0.981, "floor": 0.929, "difference": 0.052,
        "standard_error": 0.009, "low": 0.013, "margin": 0.0, "cautious": False, "reason": "",
    } | changes  # fmt: skip


def guard(**changes):
    return {
        "kind": "certificate", "n_examples": 240, "alpha": 0.05, "detectable_gap": 0.113,
        "n_stopped": 4, "n_audited": 9, "n_doubted": 2, "false_prunes": 1,
        "false_prune_limit": 0.43, "flags": [2],
    } | changes  # fmt: skip


def mistake(**changes):
    return {
        "sample": "sample 7", "row": 7, "true": "seven", "predicted": "one", "probability": 0.991,
        "probability_true": 0.004,
    } | changes  # fmt: skip


def with_classes(result, labels):
    n = len(labels)
    result["task"]["classes"] = labels
    result["confusion"] = [[9 if i == j else (i + j) % 3 // 2 for j in range(n)] for i in range(n)]
    scores = {"precision": 0.9, "recall": 0.9, "f1": 0.9, "support": 10}
    result["per_class"] = [{"label": name, **scores} for name in labels]
    return result


def test_report_says_verdict_model_floor_and_losers(result):
    text = checked(render(result))
    for words in (
        "Transfer helps",
        "5.9 points of accuracy above the floor",
        "hog + logistic_regression",
        "autotl.load('digits-run')",
        "autotl predict digits-run NEW_DATA",
        "below floor",
        "the loss is not finite in epoch 3",
        "ImageNet: research, non-commercial",
        "timm/resnet18.a1_in1k",
        "optuna",
    ):
        assert words in text


def test_report_lists_every_trial(result):
    text = checked(render(result))
    assert all(str(row["reason"]) in text for row in result["leaderboard"])


def test_report_says_the_terms_of_what_is_shipped(result):
    result["best"] |= {"license": "MIT", "source_terms": "scans: research only"}
    said = "Terms of embedded/glyphs: MIT; scans: research only."
    assert f"{said} It is not known to allow commercial use." in checked(render(result))
    result["best"]["permissive"] = True
    assert f"{said} Its authors state" in checked(render(result))
    result["shipped"] = "floor"
    assert said not in checked(render(result))


def test_report_marks_what_is_not_permissive(result):
    assert "not permissive" not in checked(render(result))  # a result of an older version
    result["leaderboard"][1]["permissive"] = False
    assert checked(render(result)).count("not permissive") == 1


def test_report_names_what_permissive_only_left_out(result):
    result["restricted_backbones"] = ["fake/limited"]
    assert "Left out by --permissive-only: fake/limited." in checked(render(result))


def test_report_folds_a_long_list_of_skipped_backbones(result):
    rows = [{"name": f"fake/{i}", "reason": "needs a download"} for i in range(40)]
    page = render(result | {"skipped_backbones": rows})
    assert "Show the other 30" in checked(page)
    assert page.index("fake/9<") < page.index("Show the other 30") < page.index("fake/10<")


def test_report_remembers_permissive_only(result):
    assert "Permissive only" not in checked(render(result))
    assert "Permissive only" in checked(render(result | {"permissive_only": True}))


def test_report_draws_the_interval_beside_zero(result):
    page = render(result)
    assert 'class="band good"' in page
    result["gap"] |= {"low": -0.02}
    assert 'class="band open"' in render(result)
    result["gap"] |= {"value": -0.05, "low": -0.08, "high": -0.01}
    assert 'class="band bad"' in render(result)


def test_report_of_a_shipped_floor_says_why(result):
    result |= {"shipped": "floor", "verdict": "negative"}
    text = checked(render(result))
    assert "Transfer hurts" in text
    assert "does not beat it" in text


def test_report_says_how_the_finalist_was_chosen(result):
    text = checked(render(result | {"shipping": finals()}))
    for words in ("3 fresh splits of train and validation it scores 98.1 %", "± 0.9", "Nadeau",
                  "embedded/shapes + linear_probe", "its mean exceeds the floor's"):  # fmt: skip
        assert words.replace(" %", "\u00a0%") in text
    text = checked(render(result | {"shipping": finals(n_splits=0, cautious=True)}))
    assert "flatters the best of many trials" in text
    assert "lower end of its lead" in text


def test_report_of_a_flagged_finalist_says_so(result):
    reason = "the guard has flagged it as worse than the floor"
    text = checked(render(result | {"shipped": "floor", "shipping": finals(reason=reason)}))
    assert f"was not shipped because {reason}" in text


def test_report_shows_an_ensemble(result):
    member = {"backbone": "embedded/glyphs", "adaptation": "lp_ft", "trial": 0, "weight": 0.75}
    other = member | {"backbone": "embedded/shapes", "trial": 4, "weight": 0.25}
    lead = {"value": 0.011, "low": 0.004, "high": 0.018, "confidence": 0.683}
    ensemble = {"members": [member, other], "validation": 0.99, "lead": lead, "used": True}
    text = checked(render(result | {"shipping": finals(), "ensemble": ensemble}))
    assert "An ensemble of 2 models around" in text
    assert "ahead of the finalist by +1.1 points" in text
    ensemble["used"] = False
    text = checked(render(result | {"shipping": finals(), "ensemble": ensemble}))
    assert "one model does as well" in text


def test_report_says_what_the_guard_can_see(result):
    text = checked(render(result | {"guard": guard()}))
    for words in ("With 240 guard examples, only gaps of about 11.3 points could have been",
                  "It stopped 4 trials", "Of them it would have stopped 2",
                  "false-prune rate, is 11 %, at most 43 %", "trial 2 ("):  # fmt: skip
        assert words.replace(" %", "\u00a0%") in text
    text = checked(render(result | {"guard": guard(kind="advisory", flags=[], n_audited=0)}))
    assert "advisory" in text
    assert "No trial is flagged" in text
    assert "No trial was left to run on" in text
    assert "guard examples" not in checked(render(result | {"guard": {"kind": "none"}}))
    assert "guard examples" not in checked(render(result))


def test_report_counts_why_trials_were_stopped(result):
    row = result["leaderboard"][0]
    stopped = [
        row | {"trial": 90 + i, "state": "pruned", "reason": f"0.{i}1 after {i} of 20 steps"}
        for i in range(4)
    ]
    result["leaderboard"] += stopped
    page = render(result)
    assert 'such as: 0.01 after 0 of 20 steps</bdi></th><td class="n">4</td>' in page
    assert page.count('class="faint good"') >= 4


def test_report_shows_confident_mistakes(result):
    shown = [mistake(text="<b>words</b>"), mistake(image=PICTURE + "AAAA"), mistake()]
    page = render(result | {"mistakes": shown})
    text = checked(page)
    assert "<b>words</b>" in text
    assert f'<img src="{PICTURE}AAAA"' in page
    assert text.count("99.1 %") == 3
    assert "made no mistake" in checked(render(result | {"mistakes": []}))


@pytest.mark.parametrize(
    "image",
    ["https://example.org/x.png", 'data:image/jpeg;base64,AA" onload="x', "data:text/html,x"],
)
def test_report_fetches_no_picture(result, image):
    page = render(result | {"mistakes": [mistake(image=image)]})
    checked(page)
    assert "<img" not in page


def test_report_shows_latencies_where_known(result):
    assert ">ms</th>" not in render(result)
    result["leaderboard"][0]["latency_ms"] = 12.345
    page = render(result)
    checked(page)
    assert ">ms</th>" in page
    assert ">12.3</td>" in page


def test_report_without_a_finished_trial(result):
    result |= {"best": None, "gap": None, "shipped": "floor", "verdict": "inconclusive"}
    result["leaderboard"] = [r for r in result["leaderboard"] if r["state"] != "complete"]
    text = checked(render(result))
    assert "No transfer was tried to the end" in text
    assert "because no trial finished" in text


def test_report_without_anything_but_a_verdict():
    checked(render({"verdict": "inconclusive", "best": None, "leaderboard": []}))


def test_report_with_one_trial_and_equal_scores(result):
    row = result["leaderboard"][0] | {"validation": result["floor"]["validation"], "gap": 0.0}
    result["leaderboard"] = [row]
    checked(render(result))


def test_report_escapes_labels_reasons_and_paths(result):
    evil = "</td><script>alert('x')</script>"
    with_classes(result, [evil, 'a" onload="x', "b"])
    result["leaderboard"][0] |= {"backbone": evil, "reason": evil, "params": {evil: evil}}
    result["skipped_samples"] = [{"sample": evil, "reason": evil}]
    result["skipped_backbones"] = [{"name": evil, "reason": evil}]
    result |= {"warnings": [evil], "out": evil, "metric_reason": evil, "versions": {evil: evil}}
    result["floors"][0] |= {"name": evil, "reason": evil, "state": evil}
    result["best"] |= {"backbone": evil, "license": evil, "source_terms": evil}
    row = {"backbone": evil, "adaptation": evil, "trial": evil, "mean": 0.5, "chosen": True}
    result["shipping"] = finals(finalists=[row], reason=evil)
    result["ensemble"] = {"members": [row | {"weight": 0.5}] * 2, "lead": {}, "used": False}
    result["guard"] = guard(kind=evil)
    keys = ("sample", "true", "predicted", "text", "image")
    result["mistakes"] = [mistake(**dict.fromkeys(keys, evil))]
    assert "alert('x')" in checked(render(result))


def test_report_with_150_classes_stays_small(result):
    page = render(with_classes(result, [f"intent {i}" for i in range(150)]))
    text = checked(page)
    assert "The hardest classes" in text
    assert "Most confused" in text
    assert len(page) < 1_500_000


def test_report_with_hundreds_of_trials_folds_the_rest(result):
    row = result["leaderboard"][0]
    result["leaderboard"] = [row | {"trial": i, "rank": i + 1} for i in range(300)]
    assert "Show the other 276 rows" in checked(render(result))


def test_report_writes_scores_of_other_metrics_as_they_are(result):
    result["metric"] = "neg_log_loss"
    result["gap"] |= {"value": 0.123, "low": 0.1, "high": 0.15}
    assert "0.1230 of neg log loss above the floor" in checked(render(result))


@given(st.lists(st.text(st.characters(), max_size=40), min_size=2, max_size=4))
@example(["", "http://url(x)"])
@settings(max_examples=25, deadline=None)
def test_report_survives_any_label(tmp_path_factory, labels):
    result = with_classes(json.loads(RESULT.read_text(encoding="utf-8")), labels)
    path = tmp_path_factory.mktemp("report") / "r.html"
    write_report(result, path)
    checked(path.read_text(encoding="utf-8"))


def test_write_report_leaves_one_file(result, tmp_path):
    path = tmp_path / "new" / "report.html"
    write_report(result, path)
    write_report(result, path)
    assert list(path.parent.iterdir()) == [path]


def test_confused_pairs_are_sorted_by_samples():
    pairs = confused_pairs([[5, 1, 0], [3, 4, 0], [0, 2, 9]], ["a", "b", "c"])
    assert [(t, p, n) for t, p, n, _ in pairs] == [("b", "a", 3), ("c", "b", 2), ("a", "b", 1)]
    assert pairs[0][3] == pytest.approx(3 / 7)


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(2, 8))
def test_scale_ticks_are_inside_and_few(low, span, n):
    scale = Scale(low, low + span)
    ticks = scale.ticks(n)
    assert len(ticks) <= 3 * n
    assert all(scale.margin <= scale(t) <= 100 - scale.margin for t in ticks)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.44, "0.4 s"), (9.97, "10 s"), (90, "90 s"), (150, "2 min 30 s"), (600, "10 min"),
     (3900, "1 h 05 min"), (7200, "2 h"), (None, "-"), (float("nan"), "-")],
)  # fmt: skip
def test_clock_is_short(seconds, text):
    assert wording.clock(seconds) == text


@pytest.mark.parametrize(
    ("value", "metric", "text"),
    [(0.0592, "accuracy", "+5.9"), (-0.0301, "accuracy", "-3.0"), (-0.0001, "accuracy", "0.0"),
     (0.0592, "roc_auc", "+0.0592"), (None, "accuracy", "-")],
)  # fmt: skip
def test_gap_text_has_sign_and_unit(value, metric, text):
    assert wording.gap_text(value, metric) == text
