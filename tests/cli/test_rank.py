"""`autotl rank` and `autotl similarity` on real files with the backbones inside the package."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from autotl.cli import main
from autotl.testing.fakes import toy_images


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    images, y = toy_images(48)
    for i, (image, code) in enumerate(zip(images, y, strict=True)):
        place = folder / f"class{code}"
        place.mkdir(exist_ok=True)
        image.save(place / f"{i}.png")
    return folder


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def rank(photos, *options):
    return run("rank", photos, "--backbones", "embedded/glyphs,embedded/shapes", *options)


def test_rank_prints_a_line_for_each_backbone(photos):
    found = rank(photos)

    assert found.exit_code == 0, found.output
    assert "Backbones by the accuracy to expect after transfer" in found.stdout
    assert "embedded/glyphs" in found.stdout
    assert "embedded/shapes" in found.stdout
    assert "samples apart" in found.stdout
    assert "After 39 samples" in found.stderr


def test_rank_json_has_what_the_table_has(photos):
    found = rank(photos, "--json", "--no-progress")

    lines = json.loads(found.stdout)["backbones"]
    assert [b["rank"] for b in lines] == [1, 2]
    for line in lines:
        assert 0 < line["expected"] < 1
        assert line["spread"] > 0
        assert {"ridge_loo", "logme"} <= line["scores"].keys()
        assert line["similarity"]
        assert line["seconds_per_1000"] > 0
        assert line["why"]


def test_rank_passes_choices_on(photos):
    found = rank(
        photos, "--json", "--no-progress", "--scores", "knn_*", "--similarities", "frechet"
    )

    (first, _) = json.loads(found.stdout)["backbones"]
    assert first["scores"].keys() == {"knn_loo"}
    assert first["similarity"].keys() == {"frechet"}


def test_rank_writes_a_page(photos, tmp_path):
    page = tmp_path / "new" / "ranking.html"

    found = rank(photos, "--no-progress", "--report", page)

    text = page.read_text(encoding="utf-8")
    assert str(page) in found.stderr
    assert "embedded/shapes" in text
    assert "Facts alone" in text
    assert "could not be drawn" not in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--scores", "ridgeloo"), "ridge_loo"),
        (("--backbones", "embedded/nothing"), "embedded/nothing"),
        (("--samples", "2"), "--samples"),
        (("--source", "nowhere"), "nowhere"),
    ],
)
def test_rank_names_what_is_wrong(photos, options, words):
    found = run("rank", photos, "--no-progress", *options)

    assert found.exit_code != 0
    assert words in found.stderr
    assert "Traceback" not in found.stderr


def test_similarity_knows_its_own(photos, tmp_path):
    images, y = toy_images(48, seed=3)
    for i, (image, code) in enumerate(zip(images, y, strict=True)):
        place = tmp_path / f"class{code}"
        place.mkdir(exist_ok=True)
        image.point(lambda v: 255 - v).save(place / f"{i}.png")

    def measures(other):
        found = run("similarity", photos, other, "--backbone", "embedded/glyphs", "--json")
        assert found.exit_code == 0, found.output
        return json.loads(found.stdout)["measures"]

    own, far = measures(photos), measures(tmp_path)

    assert {"frechet", "mmd", "otdd", "class_emd", "proxy_a_distance"} <= own.keys()
    closer = [
        (own[name]["value"] > far[name]["value"]) == own[name]["greater_is_closer"] for name in own
    ]
    assert np.mean(closer) > 0.8


def test_similarity_prints_a_table(photos):
    found = run("similarity", photos, photos, "--backbone", "embedded/glyphs")

    assert "embedded/glyphs" in found.stdout
    assert "closer is" in found.stdout


def test_source_may_lack_the_label_column(tmp_path):
    own, other = tmp_path / "own.csv", tmp_path / "other.csv"
    lines = [f"{'good' if i % 2 else 'bad'} film number {i}" for i in range(40)]
    own.write_text("text,label\n" + "".join(f"{t},{i % 2}\n" for i, t in enumerate(lines)))
    other.write_text("text\n" + "".join(f"{t} again\n" for t in lines))

    found = run(
        "rank", own, "--text", "text", "--label", "label", "--source", other, "--json",
        "--backbones", "embedded/words", "--no-progress",
    )  # fmt: skip

    assert found.exit_code == 0, found.stderr
    (line,) = json.loads(found.stdout)["backbones"]
    assert {"word_js", "mmd"} <= line["similarity"].keys()


def test_page_that_cannot_be_written_costs_no_ranking(photos, tmp_path):
    (tmp_path / "file").touch()

    found = rank(photos, "--no-progress", "--report", tmp_path / "file" / "ranking.html")

    assert found.exit_code == 1
    assert "embedded/glyphs" in found.stdout
