import dataclasses
import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from autotl.errors import InvalidDataError, UnknownNameError
from autotl.registry import Registry
from autotl.shelf import open_shelf
from autotl.specs import BackboneSourceSpec, BackboneSpec
from autotl.testing import fake_backbone


def fail() -> str | None:
    raise ZeroDivisionError


def registry() -> Registry:
    tiny = fake_backbone("fake/tiny")
    specs = [
        tiny,
        dataclasses.replace(tiny, name="fake/small", aliases=("fake/old",)),
        dataclasses.replace(tiny, name="fake/words", modality="text"),
        dataclasses.replace(
            tiny, name="fake/far", unavailable=lambda: "not here", download_bytes=22_400_000
        ),
        dataclasses.replace(tiny, name="fake/gone", unavailable=lambda: "no file"),
        dataclasses.replace(tiny, name="fake/broken", unavailable=fail),
        dataclasses.replace(tiny, name="fake/cached", download_bytes=22_400_000),
    ]

    def resolve(name: str) -> BackboneSpec | None:
        known = name == "made/up"
        return dataclasses.replace(tiny, name=name, download_bytes=1) if known else None

    found = Registry([])
    for spec in specs:
        found.backbones.add(spec, "fake 1")
    found.sources.add(BackboneSourceSpec(name="made", prefix="made/", resolve=resolve), "fake 1")
    return found


def names(shelf) -> list[str]:
    return [spec.name for spec in shelf.usable]


def reasons(shelf) -> dict[str, str]:
    return {skip.name: skip.reason for skip in shelf.skipped}


def test_shelf_lists_what_is_usable():
    shelf = open_shelf(registry=registry())

    assert names(shelf) == ["fake/tiny", "fake/small", "fake/words", "fake/cached"]
    assert reasons(shelf) == {
        "fake/far": "needs a download; name it with --backbones and --download",
        "fake/gone": "no file",
        "fake/broken": "ZeroDivisionError()",
    }
    assert shelf.directories == []
    assert shelf.downloads == []


def test_shelf_keeps_one_modality():
    assert names(open_shelf(modality="text", registry=registry())) == ["fake/words"]


def test_shelf_takes_names_in_order():
    shelf = open_shelf(backbones=["fake/small", "tiny", "fake/old"], registry=registry())

    assert names(shelf) == ["fake/small", "fake/tiny"]
    assert not shelf.skipped


def test_shelf_takes_patterns():
    shelf = open_shelf(modality="image", backbones="fake/*", registry=registry())

    assert names(shelf) == ["fake/tiny", "fake/small", "fake/cached"]


def test_shelf_resolves_names_of_sources():
    assert names(open_shelf(backbones=["made/up"], registry=registry())) == ["made/up"]


def test_download_needs_name_and_leave():
    listed = open_shelf(download=True, registry=registry())
    named = open_shelf(backbones=["fake/far"], registry=registry())
    allowed = open_shelf(backbones=["fake/f*"], download=True, registry=registry())

    assert "fake/far" in reasons(listed)
    assert "--download" in reasons(named)["fake/far"]
    assert names(allowed) == ["fake/far"]
    assert allowed.downloads == ["fake/far"]


def test_cached_weights_need_no_download():
    shelf = open_shelf(backbones=["fake/cached"], registry=registry())

    assert names(shelf) == ["fake/cached"]
    assert shelf.downloads == []


def with_restricted() -> Registry:
    found = registry()
    tiny = dataclasses.replace(fake_backbone("fake/tiny"), permissive=False)
    for spec in (
        dataclasses.replace(tiny, name="fake/lab", source_terms="scans: research only."),
        dataclasses.replace(tiny, name="fake/unknown", license=""),
        dataclasses.replace(
            tiny, name="fake/distant", unavailable=lambda: "not here", download_bytes=22_400_000
        ),
    ):
        found.backbones.add(spec, "fake 1")
    return found


def test_permissive_only_names_the_terms_of_what_it_leaves_out():
    everything = open_shelf(registry=with_restricted())
    shelf = open_shelf(permissive_only=True, registry=with_restricted())

    assert {"fake/lab", "fake/unknown"} <= set(names(everything))
    assert everything.restricted == []
    assert names(shelf) == ["fake/tiny", "fake/small", "fake/words", "fake/cached"]
    assert reasons(shelf)["fake/lab"] == (
        "not known to allow commercial use (Apache-2.0; scans: research only), "
        "left out by --permissive-only"
    )
    assert "(licence unknown)" in reasons(shelf)["fake/unknown"]
    assert reasons(shelf)["fake/gone"] == "no file"


def test_restricted_are_those_that_only_their_terms_keep_out():
    shelf = open_shelf(permissive_only=True, registry=with_restricted())

    assert shelf.restricted == ["fake/lab", "fake/unknown"]
    assert "--permissive-only" in reasons(shelf)["fake/distant"]  # no advice to download it


def test_permissive_only_downloads_nothing_restricted():
    found = with_restricted()
    wanted = ["fake/far", "fake/distant"]

    shelf = open_shelf(backbones=wanted, download=True, permissive_only=True, registry=found)

    assert names(shelf) == shelf.downloads == ["fake/far"]
    assert shelf.restricted == ["fake/distant"]


@pytest.mark.parametrize("name", ["fake/tinny", "fake/x*", "made/down", "nothing"])
def test_unknown_name_is_an_error(name):
    with pytest.raises(UnknownNameError) as caught:
        open_shelf(backbones=[name], registry=registry())

    assert caught.value.name == name
    assert "fake/tiny" in caught.value.known


def test_unknown_name_is_suggested():
    with pytest.raises(UnknownNameError, match="Did you mean 'fake/tiny'"):
        open_shelf(backbones=["fake/tinny"], registry=registry())


@pytest.mark.parametrize("name", ["fake/words", "*/words"])
def test_other_modality_is_an_error(name):
    with pytest.raises(InvalidDataError, match="'text'"):
        open_shelf(modality="image", backbones=[name], registry=registry())


def test_no_names_are_an_error():
    with pytest.raises(InvalidDataError, match="empty"):
        open_shelf(backbones=[], registry=registry())


def local(folder: Path, name: str = "own", facts: str = "") -> Path:
    import numpy as np
    from safetensors.numpy import save_file

    folder.mkdir(exist_ok=True)
    save_file({"w": np.zeros(3, np.float32)}, folder / f"{name}.safetensors")
    (folder / "backbones.toml").write_text(
        f'[[backbone]]\nname = "{name}"\narchitecture = "net"\ninput_size = [1, 8, 8]\n'
        f"mean = [0]\nstd = [1]\n{facts}\n"
    )
    return folder


def with_builder() -> Registry:
    found = registry()
    found.sources.add(
        BackboneSourceSpec(name="nets", prefix="nets/", architectures={"net": lambda: None}),
        "fake 1",
    )
    return found


def test_weights_folders_join_the_shelf(tmp_path, monkeypatch):
    a, b, c = (local(tmp_path / n, n) for n in "abc")
    monkeypatch.setenv("AUTOTL_WEIGHTS", os.pathsep.join([str(b), str(c), ""]))

    shelf = open_shelf(modality="image", weights=a, registry=with_builder())

    assert names(shelf)[-3:] == ["local/a", "local/b", "local/c"]
    assert shelf.directories == [str(f.resolve()) for f in (a, b, c)]


def test_local_names_can_be_chosen(tmp_path):
    weights = [local(tmp_path / "a", "a"), local(tmp_path / "b", "b")]

    assert names(open_shelf(backbones=["local/b"], weights=weights, registry=with_builder())) == [
        "local/b"
    ]
    assert names(open_shelf(backbones=["local/*"], weights=weights, registry=with_builder())) == [
        "local/a",
        "local/b",
    ]


def test_local_skips_are_named(tmp_path):
    weights = local(tmp_path / "a", "a")

    everything = open_shelf(weights=weights, registry=registry())
    texts = open_shelf(modality="text", weights=weights, registry=registry())
    named = open_shelf(backbones=["local/a"], weights=weights, registry=registry())
    other = open_shelf(backbones=["fake/tiny"], weights=weights, registry=registry())

    assert "'net'" in reasons(everything)["local/a"]
    assert "local/a" not in reasons(texts)
    assert list(reasons(named)) == ["local/a"]
    assert not other.skipped


def test_local_weights_are_permissive_where_they_say_so(tmp_path):
    weights = [local(tmp_path / "a", "a", "permissive = true"), local(tmp_path / "b", "b")]

    shelf = open_shelf(
        backbones=["local/*"], weights=weights, permissive_only=True, registry=with_builder()
    )

    assert names(shelf) == ["local/a"]
    (skipped,) = shelf.skipped
    assert (skipped.name, skipped.spec.modality) == ("local/b", "image")


def test_same_name_in_two_folders_counts_once(tmp_path):
    weights = [local(tmp_path / "a"), local(tmp_path / "b")]

    shelf = open_shelf(modality="image", weights=weights, registry=with_builder())

    assert names(shelf).count("local/own") == 1
    assert str(weights[0]) in reasons(shelf)["local/own"]


def test_bad_weights_folder_is_an_error(tmp_path, monkeypatch):
    with pytest.raises(InvalidDataError, match="nowhere"):
        open_shelf(weights=tmp_path / "nowhere", registry=registry())

    monkeypatch.setenv("AUTOTL_WEIGHTS", str(tmp_path))
    with pytest.raises(InvalidDataError, match="holds no weights"):
        open_shelf(registry=registry())


def test_shelf_of_installed_plugins(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    points = [EntryPoint(n, f"autotl_{n}", "autotl") for n in ("text", "timm")]

    found = Registry(points, strict=True)
    shelf = open_shelf(registry=found)
    named = open_shelf(backbones=["timm/resnet34", "text/some/model"], registry=found)

    assert not shelf.usable
    assert len(shelf.skipped) == len(found.backbones) > 0
    assert set(reasons(named)) == {"timm/resnet34.a1_in1k", "text/some/model"}
    assert "needs a download" in reasons(named)["text/some/model"]


def test_opening_imports_nothing_heavy(tmp_path):
    code = (
        "import sys\n"
        "from importlib.metadata import EntryPoint\n"
        "from autotl.registry import Registry\n"
        "from autotl.shelf import open_shelf\n"
        "points = [EntryPoint(n, 'autotl_' + n, 'autotl') for n in ('text', 'timm')]\n"
        f"open_shelf(weights={str(local(tmp_path / 'a'))!r}, registry=Registry(points))\n"
        "heavy = {'torch', 'timm', 'transformers', 'sklearn', 'optuna', 'huggingface_hub'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == "[]"
