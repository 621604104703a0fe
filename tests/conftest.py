import os
import shutil
import tempfile

import pytest
from hypothesis import settings

# The same examples every time, so that a change and nothing else turns a test red;
# `--hypothesis-profile=explore` looks further.
settings.register_profile("repeatable", derandomize=True)
settings.register_profile("explore", max_examples=1000)
settings.load_profile("repeatable")

# Tiny tensors gain nothing from threads, and lose much when tests share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Nor may a test read or fill the user's own cache.
_CACHE = tempfile.mkdtemp(prefix="autotl-tests-")
os.environ["AUTOTL_CACHE_DIR"] = _CACHE


@pytest.fixture(scope="session", autouse=True)
def _remove_cache():
    yield
    shutil.rmtree(_CACHE, ignore_errors=True)
