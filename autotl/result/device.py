"""Where to compute."""

from autotl.errors import InvalidDataError


def pick_device() -> str:
    """Return "cuda", "mps" or "cpu", the first that works here."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def check_device(device: str | None) -> None:
    """Try a device; None is always right.

    Raises:
        InvalidDataError: It cannot be used here.
    """
    import torch

    if device is None:
        return
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        first = str(error).splitlines()[0]
        raise InvalidDataError(
            f"device is {device!r}, which cannot be used here ({first}). "
            "Give 'cpu', 'cuda' or 'mps', or leave it out to take the best there is."
        ) from error
