"""A backbone whose parameters were tuned, with its head."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from autotl.adapt.heads import LinearHead, softmax
from autotl.specs import Inputs, SavedState

if TYPE_CHECKING:
    import torch

_PREFIX = "backbone."
_BATCH_SIZE = 32


class TunedNetwork:
    """Predict with a tuned backbone.

    Args:
        head: Maps the tuned embedding to logits.
        changed: Tensors of the backbone's state dict that differ from its pretrained ones.
        module: The tuned module itself while it is being trained; None rebuilds it on first use.
    """

    def __init__(
        self,
        head: LinearHead,
        changed: "Mapping[str, torch.Tensor]",
        module: "torch.nn.Module | None" = None,
    ) -> None:
        self.head, self.changed, self._module = head, changed, module

    def predict_proba(self, inputs: Inputs) -> np.ndarray:
        """Return class probabilities of shape (n_samples, n_classes)."""
        import torch

        module = self._network(inputs)
        modes = [(m, m.training) for m in module.modules()]
        module.eval()
        logits = np.zeros((len(inputs), len(self.head.bias)), np.float32)
        with torch.no_grad():
            for rows, batch in inputs.batches(_BATCH_SIZE):
                logits[rows] = self.head.logits(module(batch).float().cpu().numpy())
        for m, mode in modes:
            m.training = mode
        return softmax(logits)

    def _network(self, inputs: Inputs) -> "torch.nn.Module":
        if self._module is None:
            self._module = inputs.load_backbone().module
            state = self._module.state_dict()
            state.update(
                {k: v.to(state[k].device, state[k].dtype) for k, v in self.changed.items()}
            )
            self._module.load_state_dict(state)
        return self._module

    def save(self) -> SavedState:
        """Return the head and the changed tensors, copied."""
        tensors: dict[str, np.ndarray | torch.Tensor] = dict(self.head.tensors())
        for name, value in self.changed.items():
            tensors[_PREFIX + name] = value.detach().cpu().clone().contiguous()
        return SavedState(tensors=tensors, config={})

    @classmethod
    def restore(cls, saved: SavedState) -> "TunedNetwork":
        """Rebuild a predictor from what `save` returned."""
        import torch

        changed = {
            name.removeprefix(_PREFIX): torch.as_tensor(value)
            for name, value in saved.tensors.items()
            if name.startswith(_PREFIX)
        }
        return cls(LinearHead.restore(saved), changed)
