"""Search dimensions as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from autotl.errors import PluginError


@dataclass(frozen=True, kw_only=True)
class Range:
    """A numerical search range, both ends included.

    Args:
        low: Smallest value.
        high: Greatest value.
        log: Sample on a logarithmic scale.
        integer: Whole numbers only.
        when: Other parameters of the method with the values under which this one matters; they
            stand before it in the space. Elsewhere it keeps its default.
    """

    low: float
    high: float
    log: bool = False
    integer: bool = False
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if not self.low <= self.high or (self.log and self.low <= 0):
            raise PluginError(
                f"Range(low={self.low!r}, high={self.high!r}, log={self.log}) is empty or not "
                "positive; give low <= high, and low > 0 when log is True."
            )

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return self.low <= value <= self.high and (not self.integer or value == int(value))


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A categorical search dimension.

    Args:
        options: The values: str, int, float, bool or None, at least one.
        when: As in `Range`.
    """

    options: tuple[str | int | float | bool | None, ...]
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if not self.options:
            raise PluginError("Choice has no options; give at least one value.")

    def __contains__(self, value: object) -> bool:
        return value in self.options


Space = Mapping[str, Range | Choice]
"""Search dimensions by name."""


def matters(dimension: Range | Choice, params: Mapping[str, Any]) -> bool:
    """Say whether a dimension matters beside the values of the others."""
    when = dimension.when
    return not when or all(params[name] in options for name, options in when.items())
