"""Probe first, then fine-tune from the probe.

References:
    Kumar, Raghunathan, Jones, Ma, Liang: Fine-Tuning can Distort Pretrained Features and
    Underperform Out-of-Distribution. ICLR 2022.
"""

from collections.abc import Generator
from dataclasses import replace

from autotl.adapt import LinearHead, train
from autotl.specs import AdaptationTask, SavedState, Step
from autotl_adaptation.supervised import linear_probe
from autotl_adaptation.supervised.regularisers import regularised
from autotl_adaptation.tuning import settings, zero_head

# A fixed middle of the probe's path: the tuning that follows corrects it.
_PROBE_STEPS = 4


def steps(task: AdaptationTask, state: SavedState | None = None) -> Generator[Step, None, None]:
    """Yield after every epoch of fine-tuning that starts from a solved logistic probe."""
    yield from train(task, settings(task, 1.0), solved_head(task), state, regularised(task))


def solved_head(task: AdaptationTask) -> LinearHead:
    """Return a logistic probe of moderate strength on the frozen features."""
    probe_params = {"solver": "logistic", "scaling": "feature"}
    probe_task = replace(task, params=probe_params, n_steps=_PROBE_STEPS)
    head = zero_head(task)
    for step in linear_probe.steps(probe_task):
        head = step.predictor  # type: ignore[assignment]  # the probe yields linear heads
    return head
