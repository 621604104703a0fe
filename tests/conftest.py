import os
import shutil
import tempfile

import pytest

# Tiny tensors gain nothing from threads, and lose much when tests share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Nor may a test read or fill the user's own cache.
_CACHE = tempfile.mkdtemp(prefix="autotl-tests-")
os.environ["AUTOTL_CACHE_DIR"] = _CACHE


@pytest.fixture(scope="session", autouse=True)
def _remove_cache():
    yield
    shutil.rmtree(_CACHE, ignore_errors=True)
