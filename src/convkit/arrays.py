"""Named arrays on disk: how tensors travel between processes, and how users hand them in.

Plain `.npz` without pickled objects. Written by hand because `numpy.savez` cannot store a tensor that is called "file".
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from convkit.errors import UsageError

__all__ = ["load_arrays", "save_arrays"]


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays under their names, in order."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, np.asanyarray(array), allow_pickle=False)


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Reads an `.npz` (arrays under their names) or an `.npy` (one array, under the name "").

    Raises:
        UsageError: The file is none of the two, or holds pickled objects.
    """
    try:
        with path.open("rb") as stream:
            loaded = np.load(stream, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {"": loaded}
            with loaded:
                if other := [n for n in loaded.zip.namelist() if not n.endswith(".npy")]:
                    raise ValueError(f"it is a zip archive that holds {other[0]}")
                return {name: loaded[name] for name in loaded.files}
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}", hint="--inputs takes an .npz or .npy file") from None
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise UsageError(
            f"cannot read arrays from {path}: {error}",
            hint="--inputs takes an .npz or .npy file without pickled objects",
        ) from None
