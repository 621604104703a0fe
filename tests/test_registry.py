"""A registry of plugins written on the spot, found through real entry points."""

import importlib
import sys
import textwrap
from importlib.metadata import Distribution, EntryPoint, PathDistribution

import pytest

from autotl.errors import DuplicateNameError, PluginError, UnknownNameError
from autotl.registry import Catalog, Registry, get_registry
from autotl.specs import BackboneSpec, ScoreSpec


@pytest.fixture
def write_plugin(tmp_path, monkeypatch):
    """Write a module and a distribution's metadata; return its entry points."""
    monkeypatch.syspath_prepend(tmp_path)
    written = []

    def write(provider, body, *, module=None, distribution=None, version="1.0"):
        module = module or f"plugin_{provider}_{len(written)}"
        distribution = distribution or module.replace("_", "-")
        head = "import autotl\nfrom autotl.specs import *\nhookimpl = autotl.hookimpl\n"
        (tmp_path / f"{module}.py").write_text(head + textwrap.dedent(body))
        # The part before the first dash is the name by which duplicates are dropped.
        info = tmp_path / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        )
        (info / "entry_points.txt").write_text(f"[autotl]\n{provider} = {module}\n")
        written.append(module)
        importlib.invalidate_caches()
        found: Distribution = PathDistribution(info)
        return list(found.entry_points)

    yield write
    for module in written:
        sys.modules.pop(module, None)


def scores(*names):
    lines = [f"    yield ScoreSpec(name={n!r}, compute=lambda _: 0.0)\n" for n in names]
    return "@hookimpl\ndef autotl_scores():\n" + "".join(lines)


def backbones(*names):
    lines = [
        f"    yield BackboneSpec(name={n!r}, modality='image', embed_dim=1, load=None)\n"
        for n in names
    ]
    return "@hookimpl\ndef autotl_backbones():\n" + "".join(lines)


def load(*points, **kwargs):
    return Registry([p for group in points for p in group], **kwargs)


def load_with_warning(*points, match):
    with pytest.warns(RuntimeWarning, match=match):
        return load(*points)


def row(registry, name):
    return next(r for r in registry.plugins if r.name == name)


def test_registry_lists_what_a_plugin_yields(write_plugin):
    registry = load(write_plugin("good", scores("a", "b") + backbones("good/x")))

    assert registry.scores.names() == ["a", "b"]
    assert registry.backbones.names() == ["good/x"]
    found = row(registry, "good")
    assert found.status == "loaded"
    assert found.counts == {"score": 2, "backbone": 1}
    assert found.distribution == "plugin-good-0 1.0"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        pytest.param("import no_such_module", "ModuleNotFoundError", id="import error"),
        pytest.param("this is no python", "SyntaxError", id="syntax error"),
        pytest.param(
            "@hookimpl\ndef autotl_scorez():\n    yield 1\n", "autotl_scorez", id="misspelt hook"
        ),
        pytest.param(
            "@hookimpl\ndef autotl_scores(config):\n    yield 1\n", "config", id="hook argument"
        ),
        pytest.param(
            "@hookimpl\ndef autotl_scores():\n    yield 'logme'\n",
            "'logme' is not a ScoreSpec",
            id="wrong type",
        ),
        pytest.param("@hookimpl\ndef autotl_scores():\n    pass\n", "not iterable", id="no yield"),
        pytest.param(scores("bad name"), "'bad name'", id="bad name"),
        pytest.param(backbones("other/x"), "must start with 'bad/'", id="provider prefix"),
    ],
)
def test_registry_isolates_a_plugin_that_is_wrong(write_plugin, body, problem):
    bad, good = write_plugin("bad", body), write_plugin("good", scores("fine"))

    registry = load_with_warning(bad, good, match=r"Plugin 'bad' \(plugin-bad-0 1.0\)")

    assert registry.scores.names() == ["fine"]
    assert len(registry.backbones) == 0
    assert row(registry, "good").status == "loaded"
    assert row(registry, "bad").status == "failed"
    assert problem in row(registry, "bad").problems[0]


def test_registry_keeps_what_came_before_an_exception(write_plugin):
    body = scores("first") + "    raise ValueError('half-way')\n" + backbones("half/x")

    registry = load_with_warning(write_plugin("half", body), match="half-way")

    assert registry.scores.names() == ["first"]
    assert registry.backbones.names() == ["half/x"]
    assert row(registry, "half").status == "loaded"
    assert row(registry, "half").problems == ["in autotl_scores: ValueError: half-way"]


def test_registry_goes_on_after_one_wrong_spec(write_plugin):
    body = backbones("mine/a", "theirs/b", "mine/c")

    registry = load_with_warning(write_plugin("mine", body), match="theirs/b")

    assert registry.backbones.names() == ["mine/a", "mine/c"]


def test_registry_refuses_an_alias_of_another_provider(write_plugin):
    body = """
    @hookimpl
    def autotl_backbones():
        yield BackboneSpec(
            name='mine/a', aliases=('timm/resnet18',), modality='image', embed_dim=1, load=None
        )
    """

    registry = load_with_warning(write_plugin("mine", body), match="timm/resnet18")

    assert len(registry.backbones) == 0


def test_registry_names_both_owners_of_a_name(write_plugin):
    first = write_plugin("a", scores("logme"), distribution="first", version="1.2")
    second = write_plugin("b", scores("logme", "other"), distribution="second", version="3.4")

    registry = load_with_warning(first, second, match=r"first 1\.2 and again by second 3\.4")

    assert registry.scores.owner("logme") == "first 1.2"
    assert registry.scores.names() == ["logme", "other"]
    assert "DuplicateNameError" in row(registry, "b").problems[0]


def test_registry_loads_first_party_plugins_first(write_plugin):
    stranger = write_plugin("a", scores("logme"), module="autotl_a", distribution="stranger")
    own = write_plugin("z", scores("logme"), distribution="autotl")

    registry = load_with_warning(stranger, own, match="stranger")

    assert registry.scores.owner("logme") == "autotl 1.0"


def test_registry_refuses_a_second_owner_of_a_provider(write_plugin):
    first = write_plugin("same", backbones("same/a"), distribution="first")
    second = write_plugin("same", backbones("same/b"), distribution="second")

    registry = load_with_warning(first, second, match=r"first 1\.0 and again by second 1\.0")

    assert registry.backbones.names() == ["same/a"]
    assert [r.status for r in registry.plugins] == ["loaded", "failed"]


def test_registry_blocks_plugins_outside_the_list(write_plugin):
    a, b = write_plugin("a", scores("one")), write_plugin("b", "raise SystemExit('never run')")

    registry = load(a, b, only=frozenset({"a"}))

    assert registry.scores.names() == ["one"]
    assert [r.status for r in registry.plugins] == ["loaded", "blocked"]


@pytest.mark.parametrize("body", ["import no_such_module", scores("a") + "    raise OSError\n"])
def test_registry_raises_when_strict(write_plugin, body):
    points = write_plugin("bad", body)

    with pytest.raises((ModuleNotFoundError, OSError)):
        load(points, strict=True)


def test_registry_raises_a_plugin_error_when_strict(write_plugin):
    points = write_plugin("bad", backbones("other/x"))

    with pytest.raises(PluginError, match="bad/"):
        load(points, strict=True)


@pytest.fixture
def fresh_registry():
    get_registry.cache_clear()
    yield get_registry
    get_registry.cache_clear()


@pytest.mark.parametrize(
    ("value", "loaded"), [("one, two", {"one", "two"}), ("two", {"two"}), ("", set())]
)
def test_get_registry_loads_exactly_the_named(
    write_plugin, fresh_registry, monkeypatch, value, loaded
):
    for name in ("one", "two", "three"):
        write_plugin(name, scores(f"score_{name}"))
    monkeypatch.setenv("AUTOTL_PLUGINS", value)

    registry = fresh_registry()

    assert {r.name for r in registry.plugins if r.status == "loaded"} == loaded
    assert set(registry.scores.names()) == {f"score_{name}" for name in loaded}


def test_get_registry_is_strict_when_told(write_plugin, fresh_registry, monkeypatch):
    write_plugin("bad", "import no_such_module")
    monkeypatch.setenv("AUTOTL_PLUGINS", "bad")
    monkeypatch.setenv("AUTOTL_STRICT_PLUGINS", "1")

    with pytest.raises(ModuleNotFoundError):
        fresh_registry()


def backbone(name, **kwargs):
    return BackboneSpec(name=name, modality="image", embed_dim=1, load=None, **kwargs)


@pytest.fixture
def catalog():
    found = Catalog("backbone")
    for name in ("timm/resnet18", "embedded/glyphs", "one/tiny", "two/tiny"):
        found.add(backbone(name), "someone")
    found.add(backbone("embedded/new", aliases=("embedded/old",)), "someone")
    return found


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("embedded/glyphs", "embedded/glyphs"),
        ("glyphs", "embedded/glyphs"),
        ("embedded/old", "embedded/new"),
    ],
)
def test_catalog_resolves_names_tails_and_aliases(catalog, given, name):
    assert catalog.get(given).name == name


def test_catalog_hides_aliases_from_listings(catalog):
    assert "embedded/old" in catalog
    assert "embedded/old" not in catalog.names()
    assert len(list(catalog)) == len(catalog) == 5


def test_catalog_suggests_the_nearest_name(catalog):
    with pytest.raises(UnknownNameError, match="Did you mean 'timm/resnet18'") as caught:
        catalog.get("timm/resnet81")

    assert caught.value.name == "timm/resnet81"


def test_catalog_refuses_an_ambiguous_tail(catalog):
    with pytest.raises(UnknownNameError, match="give it in full") as caught:
        catalog.get("tiny")

    assert caught.value.known == ["one/tiny", "two/tiny"]


def test_catalog_refuses_a_taken_alias(catalog):
    with pytest.raises(DuplicateNameError, match="embedded/old"):
        catalog.add(backbone("embedded/old"), "someone else")


def test_catalog_matches_shell_patterns(catalog):
    assert [s.name for s in catalog.match("embedded/*")] == ["embedded/glyphs", "embedded/new"]
    assert catalog.match("nothing*") == []


SOURCE = """
@hookimpl
def autotl_backbone_sources():
    def resolve(name):
        if name.endswith('broken'):
            raise KeyError(name)
        if name.endswith('known'):
            return BackboneSpec(name=name, modality='image', embed_dim=1, load=None)
    yield BackboneSourceSpec(name='hub', prefix='hub/', resolve=resolve)
"""


def test_registry_resolves_names_through_sources(write_plugin):
    registry = load(write_plugin("hub", SOURCE + backbones("hub/listed")))

    assert registry.resolve_backbone("hub/known").name == "hub/known"
    assert registry.resolve_backbone("listed").name == "hub/listed"
    with pytest.raises(UnknownNameError, match="hub/listed"):
        registry.resolve_backbone("hub/lisetd")
    with pytest.raises(PluginError, match=r"plugin-hub-0 1\.0.*hub/broken"):
        registry.resolve_backbone("hub/broken")


def test_registry_takes_an_entry_point_without_distribution(write_plugin):
    (point,) = write_plugin("bare", scores("one"))

    registry = load([EntryPoint(point.name, point.value, "autotl")])

    assert row(registry, "bare").distribution == point.value
    assert isinstance(registry.scores.get("one"), ScoreSpec)
