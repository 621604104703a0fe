"""References to methods that load them when called; unlike lambdas, they can be pickled."""

import importlib
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

from autotl.specs import AdaptationTask, Predictor, SavedState, Step

__all__ = ["call", "restore_head", "restore_network", "restored_by", "steps_of"]


def call(module: str, attribute: str, *args: Any) -> Any:
    """Call a function of one of this plugin's modules."""
    return getattr(importlib.import_module(f"autotl_adaptation.{module}"), attribute)(*args)


def steps_of(module: str, attribute: str = "steps") -> Callable[..., Generator[Step, None, None]]:
    """Refer to a method's generator."""
    return partial(_generate, module, attribute)


def _generate(
    module: str, attribute: str, task: AdaptationTask, state: SavedState | None = None
) -> Generator[Step, None, None]:
    steps: Generator[Step, None, None] = call(module, attribute, task, state)
    return steps


def restored_by(module: str) -> Callable[[SavedState], Predictor]:
    """Refer to a module's own `restore`."""
    return partial(call, module, "restore")


def restore_head(saved: SavedState) -> Predictor:
    """Rebuild a linear head."""
    from autotl.adapt import LinearHead

    return LinearHead.restore(saved)


def restore_network(saved: SavedState) -> Predictor:
    """Rebuild a tuned network."""
    from autotl.adapt import TunedNetwork

    return TunedNetwork.restore(saved)
