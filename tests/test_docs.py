"""The documentation says what the code says."""

import dataclasses
import inspect
import re
from pathlib import Path

import pytest

import autotl
from autotl import errors, hookspecs, specs

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
EXAMPLE = ROOT / "plugins" / "autotl_example"
PLUGINS = (DOCS / "plugins.md").read_text()
HOOKS = [value for name, value in vars(hookspecs).items() if name.startswith("autotl_")]
SPECS = [
    value
    for name in specs.__all__
    if inspect.isclass(value := getattr(specs, name)) and dataclasses.is_dataclass(value)
]
PROTOCOLS = [specs.Cuts, specs.Inputs, specs.Predictor]


def section(heading):
    """Return the text under one `###` heading of the plugin page."""
    found = re.search(rf"(?ms)^### {re.escape(heading)}\n(.*?)(?=^##|\Z)", PLUGINS)
    assert found, f"docs/plugins.md has no heading '### {heading}'"
    return found[1]


def code_blocks(language):
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", PLUGINS)


@pytest.mark.parametrize("hook", HOOKS, ids=lambda h: h.__name__)
def test_hook_has_a_heading_with_its_signature(hook):
    (item,) = inspect.signature(hook).return_annotation.__args__

    assert section(f"`{hook.__name__}() -> Iterable[{item.__name__}]`").strip()


def test_docs_know_no_other_hook():
    documented = re.findall(r"(?m)^### `(\w+)\(", PLUGINS)

    assert documented == [hook.__name__ for hook in HOOKS]


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.__name__)
def test_spec_fields_are_documented(spec):
    shared = {f.name for f in dataclasses.fields(specs.Spec)} if spec is not specs.Spec else set()
    fields = {f.name: f for f in dataclasses.fields(spec)}
    own = [n for n in fields if not (issubclass(spec, specs.Spec) and n in shared)]

    documented = dict(re.findall(r"(?m)^- `(\w+)`( \(optional\))?:", section(spec.__name__)))

    assert list(documented) == own
    missing = dataclasses.MISSING
    for name, marked in documented.items():
        default = (
            fields[name].default is not missing or fields[name].default_factory is not missing
        )
        assert bool(marked) == default, name


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda p: p.__name__)
def test_protocol_methods_are_documented(protocol):
    text = section(protocol.__name__)

    public = [n for n, v in vars(protocol).items() if not n.startswith("_") and callable(v)]

    assert public
    assert [n for n in public if f"`{n}(" not in text] == []


@pytest.mark.parametrize(
    ("language", "file"),
    [
        ("python", "autotl_example.py"),
        ("toml", "pyproject.toml"),
        ("python", "tests/test_tiny.py"),
    ],
)
def test_tutorial_shows_the_example(language, file):
    assert (EXAMPLE / file).read_text() in code_blocks(language)


def test_tutorial_plugin_is_short():
    lines = (EXAMPLE / "autotl_example.py").read_text().splitlines()
    assert len([line for line in lines if line.strip()]) <= 25


def test_suites_are_documented():
    from autotl import testing

    assert [name for name in testing.__all__ if f"`{name}" not in PLUGINS] == []


def test_errors_are_documented():
    rows = re.findall(r"(?m)^\| `(\w+)` \|", (DOCS / "errors.md").read_text())

    assert sorted(rows) == errors.__all__


def test_errors_page_draws_the_tree():
    tree = re.search(r"(?ms)^```\n(.*?)^```$", (DOCS / "errors.md").read_text())[1]

    drawn = {}
    path = []
    for line in tree.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        name = line.split()[0]
        drawn[name] = path[depth - 1] if depth else "Exception"
        path[depth:] = [name]

    assert drawn == {n: getattr(errors, n).__bases__[0].__name__ for n in errors.__all__}


def test_changelog_starts_with_the_package_version():
    versions = re.findall(r"(?m)^## \[?(\d[\w.]*)", (DOCS / "changelog.md").read_text())

    assert versions[0] == autotl.__version__


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda p: p.name)
def test_relative_links_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())

    assert [link for link in links if not (page.parent / link).exists()] == []
