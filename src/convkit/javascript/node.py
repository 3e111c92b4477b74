"""One warm Node process that runs models: calls and arrays go in, arrays come out, and its death is an error.

It is a child of the worker that uses it and ends with it, however that one ends.
"""

from __future__ import annotations

import atexit
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convkit.errors import ConversionError, ToolchainError
from convkit.javascript.wire import PREFIX, WireError, pack_message, unpack_message

if TYPE_CHECKING:
    import numpy as np

    from convkit.workers.node_environments import NodeEnvironment

__all__ = ["NodeProcess"]

_SERVER = Path(__file__).with_name("node_server.mjs")
_BLOCK = 1 << 20
_MOST_BYTES = (1 << 32) - (1 << 20)
"""What one buffer of Node holds, with room for a header."""


class NodeProcess:
    """Node with the packages of a toolchain. Calls are answered one at a time; a dead process is started by the next call.

    Args:
        toolchain: Whose packages it loads.
        name: As errors name it.
        patience: Seconds after which a call is given up and the process ended.
    """

    def __init__(self, toolchain: NodeEnvironment, name: str, patience: float) -> None:
        self._toolchain = toolchain
        self._name = name
        self._patience = patience
        self._process: subprocess.Popen[bytes] | None = None
        self._requests = self._answers = -1
        self.starts = 0
        """How often it was started: what an earlier process had loaded is gone."""
        atexit.register(self.close)

    @property
    def running(self) -> bool:
        return self.pid is not None

    def address(self, path: Path) -> str:
        """What Node is told to read a file by."""
        return str(path)

    @property
    def pid(self) -> int | None:
        """The process id, None when it does not run."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def call(
        self, operation: str, arguments: Mapping[str, Any], tensors: Mapping[str, np.ndarray] | None = None
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Runs an operation of `node_server.mjs`.

        Args:
            operation: Its name.
            arguments: What JSON holds.
            tensors: Arrays of the dtypes that `wire.pack_message` takes.

        Returns:
            The answer's header and its tensors.

        Raises:
            ConversionError: It failed, the process died, or there was no answer in time.
            ToolchainError: The toolchain is not installed.
        """
        if self.pid is None:
            self._start()
        parts = pack_message({"operation": operation, **arguments}, tensors or {})
        if sum(map(len, parts)) > _MOST_BYTES:
            raise self._failure("the inputs are larger than the 4 GB that Node takes at once")
        deadline = time.monotonic() + self._patience
        try:
            self._send(parts, deadline)
            header, results = unpack_message(self._receive(deadline))
        except TimeoutError:
            self.close()
            raise self._failure(f"no answer within {self._patience:g} s; its process was ended") from None
        except (EOFError, BrokenPipeError):
            raise self._death() from None
        except WireError as error:
            self.close()
            raise self._failure(str(error)) from None
        except BaseException:
            self.close()  # interrupted half-way: what it answers nobody waits for
            raise
        if "error" in header:
            raise self._failure(" ".join(str(header["error"]).split())[:600])
        return header, results

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        for descriptor in (self._requests, self._answers):
            if descriptor >= 0:
                os.close(descriptor)
        self._requests = self._answers = -1

    def _start(self) -> None:
        self.close()
        if not self._toolchain.installed():
            raise ToolchainError(
                f"the toolchain '{self._toolchain.name}' is not installed",
                hint=f"run: convkit toolchain install {self._toolchain.name}",
            )
        child_reads, self._requests = os.pipe()
        self._answers, child_writes = os.pipe()
        try:
            self._process = subprocess.Popen(
                [
                    str(self._toolchain.node),
                    str(_SERVER),
                    str(self._toolchain.directory),
                    str(child_reads),
                    str(child_writes),
                ],
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno() if _has_descriptor(sys.stderr) else subprocess.DEVNULL,
                pass_fds=(child_reads, child_writes),
            )
        except OSError as error:
            raise ToolchainError(f"Node does not start: {error}", hint="convkit doctor") from None
        finally:
            os.close(child_reads)
            os.close(child_writes)
        self.starts += 1

    def _send(self, parts: list[bytes | memoryview], deadline: float) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._requests, selectors.EVENT_WRITE)
            for part in parts:
                view = memoryview(part)
                while view:
                    self._await(selector, deadline)
                    view = view[os.write(self._requests, view[:_BLOCK]) :]

    def _receive(self, deadline: float) -> bytearray:
        data = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(self._answers, selectors.EVENT_READ)
            wanted = PREFIX.size
            while len(data) < wanted:
                self._await(selector, deadline)
                block = os.read(self._answers, min(_BLOCK, wanted - len(data)))
                if not block:
                    raise EOFError
                data += block
                if len(data) == PREFIX.size:
                    wanted += sum(PREFIX.unpack(data))
        return data

    def _await(self, selector: selectors.BaseSelector, deadline: float) -> None:
        """Waits until the pipe is ready.

        Raises:
            TimeoutError: The time is up.
            EOFError: The process has died meanwhile.
        """
        while not selector.select(min(0.5, max(0.0, deadline - time.monotonic()))):
            if time.monotonic() >= deadline:
                raise TimeoutError
            if self.pid is None:
                raise EOFError

    def _death(self) -> ConversionError:
        process = self._process
        assert process is not None
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5)
        status = process.poll()
        self.close()
        how = f"of {signal.Signals(-status).name}" if status is not None and status < 0 else f"(exit status {status})"
        hint = "it may have run out of memory: V8 aborts then; the log says what it did"
        return self._failure(f"its Node process died {how}", hint)

    def _failure(self, message: str, hint: str = "") -> ConversionError:
        return ConversionError(f"{self._name}: {message}", stage="validate", component=self._name, hint=hint)


def _has_descriptor(stream: Any) -> bool:
    """Whether a stream is a file of the system's; under a test runner or a notebook it may not be."""
    try:
        return int(stream.fileno()) >= 0
    except (OSError, ValueError, AttributeError):
        return False
