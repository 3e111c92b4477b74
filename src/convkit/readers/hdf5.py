"""Reads what a Keras HDF5 file says about itself, in a process of its own.

libhdf5 crashes on some damaged files (its list of CVEs is long), and a crash must not end the caller's process. The child
runs this module as a script and prints JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from convkit.errors import ToolchainError
from convkit.readers.damage import DamagedFileError

__all__ = ["SIGNATURE", "describe_file"]

SIGNATURE = b"\x89HDF\r\n\x1a\n"
# Seconds; reading the attributes of a good file takes a fraction of one, whatever its size.
_TIMEOUT = 30
_MAX_DATASETS = 1_000_000


def describe_file(path: Path) -> dict[str, Any]:
    """The file's Keras attributes.

    Returns:
        `config`: the model's configuration, None where the file has none; `weights`: whether it has Keras weights;
        `parameters`: number of weight elements; `keras_version`, `backend`.

    Raises:
        DamagedFileError: when h5py cannot read it, or crashes over it.
        ToolchainError: when h5py is not installed.
    """
    if find_spec("h5py") is None:
        raise ToolchainError(
            f"reading {path} needs h5py, which is not installed",
            hint="install it with: pip install 'convkit-models[savedmodel]'",
        )
    # -P keeps the current directory off the child's path: a module that lies there is not ours to import.
    command = [sys.executable, "-P", "-m", __name__, str(path.resolve())]
    try:
        child = subprocess.run(command, capture_output=True, timeout=_TIMEOUT, check=False, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise DamagedFileError(f"libhdf5 did not come to an end with it in {_TIMEOUT} s") from None
    if child.returncode != 0:
        said = child.stderr.decode("utf-8", "replace").strip().splitlines()
        how = f"signal {-child.returncode}" if child.returncode < 0 else said[-1] if said else "no message"
        raise DamagedFileError(f"libhdf5 cannot read it: {how}")
    answer: dict[str, Any] = json.loads(child.stdout)
    return answer


def _describe_here(path: str) -> dict[str, Any]:
    import h5py

    with h5py.File(path, "r") as file:
        found: dict[str, Any] = {"config": None}
        if "model_config" in file.attrs:
            config = json.loads(_text(file.attrs["model_config"]))
            if not isinstance(config, dict):
                raise ValueError("model_config is no JSON object")
            found["config"] = config
        for key in ("keras_version", "backend"):
            if key in file.attrs:
                found[key] = _text(file.attrs[key])
        group = file.get("model_weights", file)
        found["weights"] = "layer_names" in group.attrs or "layers" in group
        found["parameters"] = _elements(group, h5py.Dataset)
    return found


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _elements(group: Any, dataset_class: Any) -> int:
    """Elements of all datasets below; links to other files are not followed."""
    seen = total = 0

    def visit(name: str, item: Any) -> None:
        nonlocal seen, total
        seen += 1
        if seen > _MAX_DATASETS:
            raise ValueError("too many datasets")
        # The optimizer's state and the seeds of random layers are no weights.
        if isinstance(item, dataset_class) and not name.startswith("optimizer") and "seed_generator" not in name:
            total += item.size or 0

    group.visititems(visit)
    return total


if __name__ == "__main__":
    print(json.dumps(_describe_here(sys.argv[1])))
