"""Workers: warm, quiet, and unable to take the caller down."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from convkit import errors
from convkit.components import Host
from convkit.workers.pool import fresh_pool

HOST = Host(group="numpy", preload=("numpy",))


@pytest.fixture
def worker():
    with fresh_pool() as pool:
        yield pool.worker(HOST)


def call(worker, target, timeout=20.0, **arguments):
    return worker.call(target, arguments, stage="convert", component="tested", timeout=timeout)


def test_a_call_returns_the_result_with_time_and_memory(worker):
    answer = call(worker, "convkit.workers.host:preload", modules=["json"])
    assert answer.result == {}
    assert answer.seconds >= 0
    assert answer.peak_memory > 1_000_000


def test_the_worker_stays_warm(worker):
    first = call(worker, "os:getpid").result
    assert call(worker, "os:getpid").result == first != os.getpid()


def test_an_exception_becomes_a_conversion_error_with_its_log(worker):
    with pytest.raises(errors.ConversionError, match="TypeError") as caught:
        call(worker, "os:getpid", nonsense=1)
    assert caught.value.component == "tested"
    assert "Traceback" in caught.value.log.read_text()


def test_a_convkit_error_crosses_the_pipe_as_itself(worker):
    with pytest.raises(errors.UsageError, match="unknown format") as caught:
        call(worker, "convkit.formats:parse_format", text="nonsense")
    assert "litert" in caught.value.hint


def test_a_library_that_ends_its_process_is_an_error(worker):
    with pytest.raises(errors.ConversionError, match="ended its process"):
        call(worker, "sys:exit")
    assert call(worker, "os:getpid").result


@pytest.mark.parametrize("death", ["os:abort", "faulthandler:_sigsegv"])
def test_a_crash_is_an_error_and_the_next_call_works(worker, death):
    with pytest.raises(errors.WorkerCrashError, match=r"SIGABRT|SIGSEGV") as caught:
        call(worker, death)
    assert caught.value.signal in {signal.SIGABRT, signal.SIGSEGV}
    assert call(worker, "os:getpid").result


def test_a_killed_worker_is_noticed_within_a_second(worker):
    pid = call(worker, "os:getpid").result
    killed_at = []

    def kill():
        killed_at.append(time.monotonic())
        os.kill(pid, signal.SIGKILL)

    threading.Timer(0.3, kill).start()
    with pytest.raises(errors.WorkerCrashError, match="SIGKILL") as caught:
        call(worker, "convkit.workers.host:_end_with_parent", parent=os.getpid())
    assert time.monotonic() - killed_at[0] < 1
    assert "memory" in caught.value.hint


def test_a_time_out_ends_the_worker(worker):
    start = time.monotonic()
    with pytest.raises(errors.WorkerTimeoutError, match=r"0\.5 s") as caught:
        call(worker, "convkit.workers.host:_end_with_parent", timeout=0.5, parent=os.getpid())
    assert time.monotonic() - start < 3
    assert "--timeout" in caught.value.hint
    assert call(worker, "os:getpid").result


def test_a_worker_ends_with_its_pool():
    with fresh_pool() as pool:
        worker = pool.worker(HOST)
        pid = call(worker, "os:getpid").result
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_missing_toolchain_is_an_error_with_the_command(monkeypatch, tmp_path):
    monkeypatch.setenv("CONVKIT_CACHE", str(tmp_path))
    with fresh_pool() as pool, pytest.raises(errors.ToolchainError) as caught:
        pool.worker(Host(group="onnx2tf", toolchain="onnx2tf"))
    assert "convkit toolchain install onnx2tf" in caught.value.hint
