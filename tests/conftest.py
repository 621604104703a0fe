import dataclasses
import os
import shutil
import tempfile

import numpy as np
import pytest
from hypothesis import settings

# The same examples every time, so that a change and nothing else turns a test red;
# `--hypothesis-profile=explore` looks further.
settings.register_profile("repeatable", derandomize=True)
settings.register_profile("explore", max_examples=1000)
settings.load_profile("repeatable")

# Tiny tensors gain nothing from threads, and lose much when tests share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Nor may a test read or fill the user's own cache, or learn from the user's own runs.
_CACHE = tempfile.mkdtemp(prefix="autotl-tests-")
os.environ["AUTOTL_CACHE_DIR"] = _CACHE
os.environ["AUTOTL_EXPERIENCE"] = "off"


@pytest.fixture(scope="session", autouse=True)
def _remove_cache():
    yield
    shutil.rmtree(_CACHE, ignore_errors=True)


@pytest.fixture
def noise_backbone():
    """A backbone whose embeddings say nothing about the image."""
    from autotl.testing.fakes import fake_backbone

    spec = fake_backbone("fake/noise")

    def load(device):
        import torch

        loaded = spec.load(device)

        class Noise(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.scale = torch.nn.Parameter(torch.ones(1))

            def forward(self, batch):
                seeds = (batch.abs().sum(dim=(1, 2, 3)) * 1e4).long() % 2**31
                rows = [np.random.default_rng(int(s)).normal(size=12) for s in seeds]
                return torch.tensor(np.array(rows), dtype=torch.float32) * self.scale

        return dataclasses.replace(loaded, module=Noise(), layer_groups=(("scale",),))

    return dataclasses.replace(spec, load=load)
