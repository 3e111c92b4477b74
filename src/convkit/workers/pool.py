"""The parent's side: starts workers, keeps them warm, calls them, and turns their deaths into errors."""

from __future__ import annotations

import atexit
import itertools
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convkit import errors
from convkit.components import Host
from convkit.workers.locations import log_file

__all__ = ["Answer", "Worker", "WorkerPool", "default_pool"]

_BOOTSTRAP = Path(__file__).with_name("bootstrap.py")

# Quiet, reproducible and local: what every worker's environment says unless the user's own says otherwise.
_ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "-1",
    "HF_HUB_OFFLINE": "1",
    "KERAS_BACKEND": "tensorflow",  # importing TensorFlow imports Keras; its files are SavedModel's variants
    "PYTHONHASHSEED": "0",
    "PYTHONWARNINGS": "ignore",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    # oneDNN's reordered sums change numbers from machine to machine.
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "TOKENIZERS_PARALLELISM": "false",
}


@dataclass(frozen=True)
class Answer:
    """The result of a call, how long it took in the worker (seconds), and the worker's peak memory so far (bytes)."""

    result: Any
    seconds: float
    peak_memory: int


class Worker:
    """One process. Calls are served one at a time, in order; a dead worker is started again by its next call."""

    def __init__(self, group: str, python: Path, environment: Mapping[str, str], isolated: bool) -> None:
        self.group = group
        self._python = python
        self._environment = dict(environment)
        self._isolated = isolated
        self._ids = itertools.count()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._requests = -1
        self._answers = -1
        self._buffer = b""
        self._pending: set[int] = set()
        self._preloaded: set[str] = set()
        self.log = log_file(group)

    @property
    def pid(self) -> int | None:
        """The process id of the running worker, None when it does not run."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self, preload: tuple[str, ...] = ()) -> None:
        """Starts the process if it does not run, and has it import `preload`; returns at once."""
        with self._lock:
            self._start(preload)

    def _start(self, preload: tuple[str, ...]) -> None:
        if self.pid is None:
            self._discard()
            child_reads, self._requests = os.pipe()
            self._answers, child_writes = os.pipe()
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    [
                        str(self._python),
                        *(["-I"] if self._isolated else []),
                        str(_BOOTSTRAP),
                        str(child_reads),
                        str(child_writes),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(child_reads, child_writes),
                    env={**_ENVIRONMENT, **os.environ, **self._environment},
                    start_new_session=True,  # Ctrl-C is the parent's to handle; a kill takes the whole group
                )
            os.close(child_reads)
            os.close(child_writes)
        wanted = [m for m in preload if m not in self._preloaded]
        if wanted:
            self._preloaded.update(wanted)
            self._send("convkit.workers.host:preload", {"modules": wanted})

    def call(
        self,
        target: str,
        arguments: Mapping[str, Any],
        *,
        stage: str,
        component: str = "",
        timeout: float | None = None,
    ) -> Answer:
        """Runs `module:function` in the worker.

        Args:
            target: The function; it gets `arguments` as keywords and returns what JSON holds.
            stage: The stage that errors name.
            component: The converter or runtime that errors name.
            timeout: Seconds after which the worker is ended; None for no limit.

        Raises:
            WorkerCrashError: The process died.
            WorkerTimeoutError: It took longer than `timeout`.
            ConvkitError: What the function raised; an exception of another library becomes a ConversionError.
        """
        with self._lock:
            self._start(())
            number = self._send(target, arguments)
            deadline = None if timeout is None else time.monotonic() + timeout
            try:
                answer = self._receive(number, deadline)
            except TimeoutError:
                self._kill()
                raise errors.WorkerTimeoutError(
                    f"{component or self.group}: no answer within {timeout:g} s in stage {stage}; the worker was ended",
                    stage=stage,
                    component=component,
                    hint="give a larger --timeout",
                    log=self.log,
                ) from None
            except EOFError:
                raise self._death(stage, component) from None
            except BaseException:
                # Interrupted half-way: the worker still computes an answer that nobody waits for.
                self._kill()
                raise
        if "error" in answer:
            raise self._rebuild(answer["error"], stage, component)
        return Answer(answer["result"], answer["seconds"], answer["peak_memory"])

    def close(self) -> None:
        """Ends the process."""
        with self._lock:
            self._kill()

    def abandon(self) -> None:
        """Ends the process although another thread waits for its answer: that thread gets a WorkerCrashError."""
        process = self._process
        if process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)

    def _send(self, target: str, arguments: Mapping[str, Any]) -> int:
        number = next(self._ids)
        data = json.dumps({"id": number, "target": target, "arguments": dict(arguments)}).encode() + b"\n"
        try:
            while data:
                data = data[os.write(self._requests, data) :]
        except (BrokenPipeError, OSError):
            pass  # it died: the read that follows says so
        return number

    def _receive(self, number: int, deadline: float | None) -> dict[str, Any]:
        """The answer of that number; answers of preloads that come before it are dropped."""
        process = self._process
        assert process is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._answers, selectors.EVENT_READ)
            while True:
                while b"\n" in self._buffer:
                    line, _, self._buffer = self._buffer.partition(b"\n")
                    answer: dict[str, Any] = json.loads(line)
                    if answer["id"] == number:
                        return answer
                wait = 0.2 if deadline is None else min(0.2, deadline - time.monotonic())
                if wait <= 0:
                    raise TimeoutError
                if selector.select(wait):
                    block = os.read(self._answers, 1 << 16)
                    if not block:
                        raise EOFError
                    self._buffer += block
                elif process.poll() is not None:
                    # A grandchild may hold the pipe open: the death itself is the end.
                    raise EOFError

    def _death(self, stage: str, component: str) -> errors.WorkerCrashError:
        process = self._process
        assert process is not None
        try:
            status = process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            status = None
        self._kill()
        who = component or self.group
        if status is not None and status < 0:
            name = signal.Signals(-status).name
            hint = "the last lines of the log say what it did"
            if -status == signal.SIGKILL:
                hint = "the system kills a process that runs out of memory; see the log, and free memory"
            return errors.WorkerCrashError(
                f"{who}: the worker died of {name} in stage {stage}",
                signal=-status,
                stage=stage,
                hint=hint,
                log=self.log,
            )
        return errors.WorkerCrashError(
            f"{who}: the worker ended by itself (status {status}) in stage {stage}",
            stage=stage,
            hint="the last lines of the log say why",
            log=self.log,
        )

    def _rebuild(self, error: Mapping[str, Any], stage: str, component: str) -> errors.ConvkitError:
        if error["convkit"] is None:
            text = error["message"] or "no message"
            return errors.ConversionError(
                f"{component or self.group} failed: {error['type']}: {text}",
                stage=stage,
                component=component,
                log=self.log,
            )
        kind: type[errors.ConvkitError] = getattr(errors, error["convkit"], errors.ConversionError)
        rebuilt = kind(error["message"])
        for name, value in error["fields"].items():
            setattr(rebuilt, name, tuple(value) if isinstance(value, list) else value)
        rebuilt.log = self.log
        if isinstance(rebuilt, errors.ConversionError):
            rebuilt.stage = stage
            rebuilt.component = rebuilt.component or component
        return rebuilt

    def _kill(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._discard()

    def _discard(self) -> None:
        for descriptor in (self._requests, self._answers):
            if descriptor >= 0:
                os.close(descriptor)
        self._requests = self._answers = -1
        self._buffer = b""
        self._preloaded.clear()
        self._process = None


class WorkerPool:
    """One warm worker per (toolchain, group), for the life of the pool."""

    def __init__(self) -> None:
        self._workers: dict[tuple[str, str], Worker] = {}
        self._lock = threading.Lock()

    def worker(self, host: Host) -> Worker:
        """The worker for a host; started, with its preloads under way, when this returns.

        Raises:
            ToolchainError: The host's toolchain is not installed.
        """
        key = (host.toolchain, host.group)
        with self._lock:
            if key not in self._workers:
                self._workers[key] = self._create(host)
            worker = self._workers[key]
        if not worker._lock.locked():  # a busy worker has started already, and imports what it needs when it needs it
            worker.start(host.preload)
        return worker

    @staticmethod
    def _create(host: Host) -> Worker:
        if host.toolchain == "main":
            return Worker(host.group, Path(sys.executable), {}, isolated=False)
        from convkit.workers import toolchains

        toolchain = toolchains.get(host.toolchain)
        assert isinstance(toolchain, toolchains.PythonEnvironment), f"no worker runs in {toolchain.name}"
        if not toolchain.installed():
            raise errors.ToolchainError(
                f"the toolchain '{host.toolchain}' is not installed",
                hint=f"run: convkit toolchain install {host.toolchain}",
            )
        return Worker(host.group, toolchain.python, toolchain.environment(), isolated=True)

    def running(self) -> dict[str, int]:
        """The process ids of the workers that run, by group."""
        return {group: w.pid for (_, group), w in self._workers.items() if w.pid is not None}

    def close(self) -> None:
        """Ends all workers."""
        with self._lock:
            for worker in self._workers.values():
                worker.close()
            self._workers.clear()


_default: WorkerPool | None = None


def default_pool() -> WorkerPool:
    """The pool of this process: made at the first call, closed at exit."""
    global _default
    if _default is None:
        _default = WorkerPool()
        atexit.register(_default.close)
    return _default


@contextmanager
def fresh_pool() -> Iterator[WorkerPool]:
    """A pool of its own that ends with the block; for tests and for callers that must leave no process behind."""
    pool = WorkerPool()
    try:
        yield pool
    finally:
        pool.close()
