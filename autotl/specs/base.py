"""What every spec has, and what may be saved."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autotl.errors import PluginError

if TYPE_CHECKING:
    import numpy as np
    import torch

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+/@-]*")

Json = Any
"""Anything `json.dumps` accepts: dicts with str keys, lists, strings, numbers, booleans, None."""


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What every plugin object says about itself.

    Args:
        name: Registered name; backbones are `provider/name`, all others one bare word.
        summary: One sentence for listings.
        reference: Paper or library it comes from.
        aliases: Other names that resolve to it, hidden from listings.
    """

    name: str
    summary: str = ""
    reference: str = ""
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(str(self.name)):
            raise PluginError(
                f"{type(self).__name__} has the name {self.name!r}; expected letters, digits and "
                "any of _ . : + / @ -, starting with a letter or digit. Rename it."
            )


@dataclass(frozen=True, kw_only=True)
class SavedState:
    """Tensors and JSON: all that is ever written to disk.

    Args:
        tensors: Arrays or tensors by name.
        config: Anything JSON can hold.
    """

    tensors: "Mapping[str, np.ndarray | torch.Tensor]"
    config: Mapping[str, Json]


@dataclass(frozen=True, kw_only=True)
class CommandSpec(Spec):
    """A subcommand of `autotl`, imported only when it is run.

    Args:
        target: "module:attribute" of a `click.Command`.
    """

    target: str
