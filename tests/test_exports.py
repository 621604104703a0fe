import importlib
import pkgutil

import pytest

import autotl

MODULES = sorted(
    m.name for m in pkgutil.walk_packages(autotl.__path__, "autotl.") if "__main__" not in m.name
)


def test_autotl_all_is_sorted_and_unique():
    assert autotl.__all__ == sorted(set(autotl.__all__))


def test_autotl_all_is_complete():
    public = {
        name
        for name, value in vars(autotl).items()
        if not name.startswith("_") and getattr(value, "__module__", "").startswith("autotl.")
    }

    assert public | set(autotl._LAZY) | {"hookimpl", "__version__"} == set(autotl.__all__)


@pytest.mark.parametrize("name", autotl.__all__)
def test_autotl_exports_resolve(name):
    assert getattr(autotl, name) is not None


def test_autotl_refuses_unknown_attributes():
    with pytest.raises(AttributeError, match="'no_such_name'"):
        _ = autotl.no_such_name


@pytest.mark.parametrize("name", MODULES)
def test_module_all_resolves(name):
    module = importlib.import_module(name)

    exported = getattr(module, "__all__", [])

    assert [n for n in exported if not hasattr(module, n)] == []


@pytest.mark.parametrize("name", ["autotl.errors", "autotl.specs", "autotl.testing.fakes"])
def test_public_module_all_is_complete(name):
    module = importlib.import_module(name)

    defined = {
        key
        for key, value in vars(module).items()
        if not key.startswith("_") and getattr(value, "__module__", "") == name
    }

    assert defined - set(module.__all__) == set()
