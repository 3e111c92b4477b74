"""What the tests of the browser share: its toolchain, and a small model."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser_models import write_network

from convkit.workers import toolchains


@pytest.fixture(scope="session", autouse=True)
def browser_toolchains():
    for name in ("tfjs", "browser"):
        toolchains.ensure(name, auto=True)


@pytest.fixture(scope="session")
def network(tmp_path_factory) -> Path:
    return write_network(tmp_path_factory.mktemp("network"))
