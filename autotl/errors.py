"""Errors: each is an `AutotlError` and the builtin that a caller would already catch."""

from collections.abc import Iterable

__all__ = [
    "AmbiguousModalityError",
    "AutotlError",
    "BackboneUnavailableError",
    "BudgetTooSmallError",
    "DuplicateNameError",
    "InvalidDataError",
    "MissingDependencyError",
    "ModelFormatError",
    "NoTrialFinishedError",
    "OutputExistsError",
    "PluginError",
    "SearchError",
    "SpaceChangedError",
    "UnknownNameError",
]


class AutotlError(Exception):
    """Base of every error that autotl raises on purpose."""


class InvalidDataError(AutotlError, ValueError):
    """The data or an argument about it cannot be used as given."""


class AmbiguousModalityError(InvalidDataError):
    """More than one reading of the data is possible; a flag decides."""


class OutputExistsError(AutotlError, FileExistsError):
    """The output folder already holds something that would be overwritten."""


class ModelFormatError(AutotlError, ValueError):
    """A saved model or run folder is damaged or was written by another format version."""


class MissingDependencyError(AutotlError, ImportError):
    """A backbone or command needs a package that is not installed."""


class BackboneUnavailableError(AutotlError, RuntimeError):
    """A backbone cannot be used now, for the reason that the message gives."""


class UnknownNameError(AutotlError, LookupError):
    """A name is not registered; the message suggests the nearest known ones.

    Args:
        kind: What was looked up, such as "backbone".
        name: The name that was given.
        known: The names that would have been accepted.
        hint: What to do when no near match exists.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        import difflib

        self.kind, self.name, self.known = kind, name, sorted(known)
        near = difflib.get_close_matches(name, self.known, n=3, cutoff=0.5)
        message = f"Unknown {kind} {name!r}."
        if near:
            message += f" Did you mean {' or '.join(repr(n) for n in near)}?"
        elif self.known and len(self.known) <= 20:
            message += f" Known: {', '.join(repr(n) for n in self.known)}."
        super().__init__(f"{message} {hint}".rstrip())


class PluginError(AutotlError):
    """A plugin broke the contract or failed; the message names its distribution."""


class DuplicateNameError(PluginError):
    """Two distributions registered the same name."""


class SearchError(AutotlError):
    """A search could not be carried out."""


class BudgetTooSmallError(SearchError):
    """The budget does not allow the smallest piece of work."""


class NoTrialFinishedError(SearchError, RuntimeError):
    """Nothing was fitted, not even the floor."""


class SpaceChangedError(SearchError):
    """A stored study's search space differs from today's.

    Args:
        changes: What was added, removed or changed, one clause each.
    """

    def __init__(self, changes: Iterable[str]) -> None:
        self.changes = list(changes)
        super().__init__(
            f"The search space has changed since the run was started: {'; '.join(self.changes)}. "
            "Restore what is missing (plugins, weights, the named backbones and methods) to go on "
            "as before, or resume with --accept-changes (accept_changes=True) to go on in the "
            "changed space from the results so far."
        )
