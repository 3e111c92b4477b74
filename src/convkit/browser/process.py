"""A headless browser that runs models as `javascript.node.NodeProcess` does: calls go in, arrays come out."""

from __future__ import annotations

import atexit
import itertools
import queue
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convkit.browser.chromium import SOFTWARE_WEBGPU, Chromium
from convkit.browser.server import PageServer
from convkit.browser.site import add_page, add_tfjs
from convkit.errors import ConversionError, ToolchainError
from convkit.javascript.wire import WireError, pack_message, unpack_message

if TYPE_CHECKING:
    import numpy as np

    from convkit.workers.node_environments import NodeEnvironment

__all__ = ["BrowserProcess"]

_POLL = 10.0
"""Seconds that the server lets the page wait for a call before it has to ask again."""
_LAUNCH = 90.0
"""Seconds until the page has to ask for its first call."""


class BrowserProcess:
    """A page in headless Chromium. Calls are answered one at a time; a dead browser is started by the next call.

    Args:
        toolchain: The packages of the page.
        name: As errors name it.
        patience: Seconds after which a call is given up and the browser ended.
    """

    def __init__(self, toolchain: NodeEnvironment, name: str, patience: float) -> None:
        self._toolchain = toolchain
        self._name = name
        self._patience = patience
        self._server: PageServer | None = None
        self._browser: Chromium | None = None
        self._calls: queue.Queue[bytes] = queue.Queue()
        self._answers: queue.Queue[bytes] = queue.Queue()
        self._numbers = itertools.count()
        self._asked = False
        self.starts = 0
        atexit.register(self.close)

    @property
    def running(self) -> bool:
        return self._browser is not None and self._browser.running

    def address(self, path: Path) -> str:
        """Where the page finds a file; from then on it is served."""
        if not self.running:
            self._start()
        assert self._server is not None
        return self._server.add_file(f"files/{next(self._numbers)}{path.suffix}", path)

    def call(
        self, operation: str, arguments: Mapping[str, Any], tensors: Mapping[str, np.ndarray] | None = None
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Runs an operation of the page (`agent.mjs`); arguments and result as for `NodeProcess.call`.

        Raises:
            ConversionError: It failed, the browser died, or there was no answer in time.
            ToolchainError: There is no browser, or the toolchain is not installed.
        """
        if not self.running:
            self._start()
        self._calls.put(b"".join(pack_message({"operation": operation, **arguments}, tensors or {})))
        try:
            header, results = unpack_message(self._receive())
        except WireError as error:
            self.close()
            raise self._failure(str(error)) from None
        except BaseException:
            self.close()
            raise
        if "error" in header:
            raise self._failure(" ".join(str(header["error"]).split())[:600])
        return header, results

    def close(self) -> None:
        """Ends the browser and its server."""
        if self._browser is not None:
            self._browser.close()
        if self._server is not None:
            self._server.close()
        self._browser = self._server = None

    def _start(self) -> None:
        self.close()
        if not self._toolchain.installed():
            raise ToolchainError(
                f"the toolchain '{self._toolchain.name}' is not installed",
                hint=f"run: convkit toolchain install {self._toolchain.name}",
            )
        self._calls, self._answers, self._asked = queue.Queue(), queue.Queue(), False
        self._server = PageServer()
        add_page(self._server)
        add_tfjs(self._server, self._toolchain)
        self._server.add_answer("next", self._next)
        self._server.add_receiver("answer", self._answers.put)
        try:
            self._browser = Chromium(self._server.url("page/agent.html"), SOFTWARE_WEBGPU)
        except BaseException:
            self.close()
            raise
        self.starts += 1

    def _next(self) -> bytes | None:
        """What the page is to do next; called by the server's threads."""
        self._asked = True
        try:
            return self._calls.get(timeout=_POLL)
        except queue.Empty:
            return None

    def _receive(self) -> bytes:
        started, deadline = time.monotonic(), time.monotonic() + self._patience
        assert self._browser is not None
        while True:
            try:
                return self._answers.get(timeout=0.2)
            except queue.Empty:
                now = time.monotonic()
            if not self._browser.running:
                raise self._failure(f"the browser ended by itself: {self._browser.last_words()}")
            if not self._asked and now > started + _LAUNCH:
                raise self._failure(f"the page does not start: {self._browser.last_words()}")
            if now > deadline:
                raise self._failure(f"no answer within {self._patience:g} s; the browser was ended")

    def _failure(self, message: str) -> ConversionError:
        return ConversionError(f"{self._name}: {message}", stage="validate", component=self._name)
