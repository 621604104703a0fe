"""Where the activation cache is and how large it may grow, as the environment says."""

import os
import re
import shutil
from pathlib import Path

from autotl.errors import InvalidDataError
from autotl.features.eviction import Ledger

__all__ = ["cache_folder", "cache_limit_bytes"]

_LIMIT_VARIABLE, _FOLDER_VARIABLE = "AUTOTL_CACHE_BYTES", "AUTOTL_CACHE_DIR"
_FREE_SHARE = 10  # the default limit is this part of the free disk
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_SIZE = re.compile(r"(\d{1,30}(?:\.\d{1,30})?)\s*([kmgt]?)(i?)b?")


def cache_folder() -> Path:
    """Return where the cache of this user is: AUTOTL_CACHE_DIR, or the system's place for it."""
    import platformdirs

    given = os.environ.get(_FOLDER_VARIABLE, "")
    if given.strip():
        try:
            return Path(given).expanduser().absolute()
        except RuntimeError as error:  # "~name" of nobody
            raise InvalidDataError(
                f"{_FOLDER_VARIABLE} is {given!r}, and there is no such home folder; "
                "expected the path of a folder."
            ) from error
    return Path(platformdirs.user_cache_dir("autotl")) / "activations"


def cache_limit_bytes(root: Path) -> int:
    """Return AUTOTL_CACHE_BYTES, by default a tenth of what is free or already the cache's.

    Raises:
        InvalidDataError: The variable is no number of bytes.
    """
    given = os.environ.get(_LIMIT_VARIABLE, "").strip()
    if not given:
        there = next(folder for folder in (root, *root.parents) if folder.exists())
        held = Ledger(root, 0).total_bytes() or 0
        return (shutil.disk_usage(there).free + held) // _FREE_SHARE
    match = _SIZE.fullmatch(given.lower())
    if match is None or (match[3] and not match[2]):
        raise InvalidDataError(
            f"{_LIMIT_VARIABLE} is {given!r}; expected a number of bytes such as 5000000000, 5GB "
            "or 500MB, or 0 for no cache."
        )
    unit = _UNITS[match[2]]
    if match[3]:
        unit = 2 ** (10 * (list(_UNITS).index(match[2])))
    return int(float(match[1]) * unit)
