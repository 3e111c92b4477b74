"""TF.js in headless Chromium: the runtime that `validate --browser` compares with. Runs in a worker."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from convkit.artifact import Artifact

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from convkit.browser.process import BrowserProcess
    from convkit.runtimes.tfjs import TfjsSession
    from convkit.traces import Recorder

__all__ = ["close", "drivers", "load", "trace"]

_PATIENCE = 900.0
"""Seconds that a run may take: a software driver compiles every shader of a model first."""


@cache
def _process() -> BrowserProcess:
    """The worker's browser."""
    from convkit.browser.process import BrowserProcess
    from convkit.workers import toolchains

    return BrowserProcess(toolchains.node_toolchain("browser"), "TF.js in Chromium", _PATIENCE)


def load(artifact: Artifact, backend: str) -> TfjsSession:
    """Loads a model on a backend of the page; raises as `runtimes.tfjs.session`.

    Raises:
        ToolchainError: There is no Chromium, or the toolchain "browser" is not installed.
    """
    from convkit.runtimes.tfjs import session

    return session(_process(), artifact, backend)


def trace(artifact: Artifact, feeds: Mapping[str, np.ndarray], record: Recorder, backend: str) -> None:
    """Records every node of a graph model on a backend of the page; raises as `tracing.tfjs.trace`."""
    from convkit.tracing.tfjs import recorded

    recorded(load(artifact, backend), artifact, feeds, record)


def drivers() -> dict[str, str]:
    """What computes for the backends webgl and webgpu in the browser: a driver, an adapter; "" where there is none."""
    told = _process().call("describe", {})[0]
    return {"webgl": str(told["driver"]), "webgpu": str(told["adapter"])}


def close() -> None:
    """Ends the browser; the next call starts another."""
    _process().close()
