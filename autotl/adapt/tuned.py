"""A backbone whose parameters were tuned, with its head."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from autotl.adapt.heads import LinearHead, softmax
from autotl.specs import Inputs, LoadedBackbone, SavedState

if TYPE_CHECKING:
    import torch

_PREFIX = "backbone."
_BATCH_SIZE = 32


def embed(module: "torch.nn.Module", inputs: Inputs, start: int) -> np.ndarray:
    """Return embeddings of shape (n_samples, embed_dim) by a tail that begins at a cut.

    The module's layers run in eval mode and are left in the modes that they had.
    """
    import torch

    modes = [(m, m.training) for m in module.modules()]
    module.eval()
    found: np.ndarray | None = None
    with torch.no_grad():
        for rows, batch in inputs.batches(_BATCH_SIZE, start=start):
            values = module(batch).float().cpu().numpy()
            if found is None:
                found = np.zeros((len(inputs), values.shape[1]), np.float32)
            found[rows] = values
    for m, mode in modes:
        m.training = mode
    if found is None:
        raise ValueError("There is nothing to embed; expected at least one sample.")
    return found


class TunedNetwork:
    """Predict with a tuned backbone.

    Args:
        head: Maps the tuned embedding to logits.
        changed: Tensors of the backbone's state dict that differ from its pretrained ones.
        freeze_depth: Leading layer groups that are as they were pretrained.
        tail: The tuned part itself while it is being trained; None rebuilds it on first use.
    """

    def __init__(
        self,
        head: LinearHead,
        changed: "Mapping[str, torch.Tensor]",
        freeze_depth: int = 0,
        tail: LoadedBackbone | None = None,
    ) -> None:
        self.head, self.changed, self.freeze_depth = head, changed, freeze_depth
        self._tail = tail

    def predict_proba(self, inputs: Inputs) -> np.ndarray:
        """Return class probabilities of shape (n_samples, n_classes)."""
        return softmax(self.head.logits(self.embed(inputs)))

    def embed(self, inputs: Inputs) -> np.ndarray:
        """Return tuned embeddings of shape (n_samples, embed_dim)."""
        tail = self._rebuilt(inputs)
        return embed(tail.module, inputs, tail.start)

    def _rebuilt(self, inputs: Inputs) -> LoadedBackbone:
        if self._tail is None:
            self._tail = inputs.load_backbone(self.freeze_depth)
            state = self._tail.module.state_dict()
            # What lies before the tail was frozen, so that nothing of it can have changed.
            state |= {
                name: value.to(state[name].device, state[name].dtype)
                for name, value in self.changed.items()
                if name in state
            }
            self._tail.module.load_state_dict(state)
        return self._tail

    def save(self) -> SavedState:
        """Return the head and the changed tensors, copied."""
        tensors: dict[str, np.ndarray | torch.Tensor] = dict(self.head.tensors())
        for name, value in self.changed.items():
            tensors[_PREFIX + name] = value.detach().cpu().clone().contiguous()
        return SavedState(tensors=tensors, config={"freeze_depth": self.freeze_depth})

    @classmethod
    def restore(cls, saved: SavedState) -> "TunedNetwork":
        """Rebuild a predictor from what `save` returned."""
        import torch

        changed = {
            name.removeprefix(_PREFIX): torch.as_tensor(value)
            for name, value in saved.tensors.items()
            if name.startswith(_PREFIX)
        }
        return cls(LinearHead.restore(saved), changed, int(saved.config.get("freeze_depth", 0)))
