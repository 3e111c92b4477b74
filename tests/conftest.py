"""What all tests share: the shipped models, and one warm pool of workers for the whole session."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from convkit.workers.pool import WorkerPool, default_pool

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # as the workers have it: TensorFlow's own kernels take less

if "PYTEST_XDIST_WORKER" not in os.environ:
    # What tests, workers and browsers leave behind goes with the run; pytest keeps its own directories where they were.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    os.environ["TMPDIR"] = tempfile.tempdir = tempfile.mkdtemp(prefix="convkit-tests-")
    atexit.register(shutil.rmtree, tempfile.tempdir, ignore_errors=True)

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """The directory of the shipped models."""
    return FIXTURES


@pytest.fixture(scope="session")
def pool() -> Iterator[WorkerPool]:
    """The process's own pool: workers stay warm from test to test, as they do for an API caller."""
    pool = default_pool()
    yield pool
    pool.close()


@pytest.fixture
def model(fixtures: Path):
    """A shipped model's file: `model("digits_cnn", "pt2")`."""

    def find(name: str, suffix: str) -> Path:
        path = fixtures / name / f"{name}.{suffix}"
        assert path.exists(), f"{path} is missing: run fixtures/make.py"
        return path

    return find


@pytest.fixture
def nothing_to_collect() -> Iterator[None]:
    """What a test measures is its own time: not the collector's, which walks over all that earlier tests have imported."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
