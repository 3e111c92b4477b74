"""Chromium without a window: found, started on one page, and ended with everything that it started."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from convkit.errors import ToolchainError
from convkit.workers.locations import cache_directory, made

__all__ = ["FLAGS", "SOFTWARE_WEBGPU", "Chromium", "executable", "version"]

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless=new",
    "--no-first-run",
    "--no-default-browser-check",
    # It talks to the page's server and to nobody else.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-quic",
    "--disable-sync",
    "--metrics-recording-only",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    # A page that nobody looks at is slowed down otherwise.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--disable-dev-shm-usage",
    "--mute-audio",
    # WebGL where there is no graphics card; with one these choose nothing.
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
)
SOFTWARE_WEBGPU = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader")
"""Flags for WebGPU where there is no graphics card."""


def executable() -> Path:
    """Chromium, or a browser of its family; `CONVKIT_CHROMIUM` names another.

    Raises:
        ToolchainError: There is none.
    """
    chosen = os.environ.get("CONVKIT_CHROMIUM")
    for name in (chosen,) if chosen else _NAMES:
        if found := shutil.which(name):
            return Path(found)
    raise ToolchainError(
        f"{chosen} is no program" if chosen else "no Chromium is installed",
        hint="install the package chromium (Debian, Ubuntu: apt-get install chromium), or set CONVKIT_CHROMIUM to a browser of "
        "its family",
    )


@cache
def version(browser: Path) -> str:
    """ "Chromium 156.0.8078.79"; "Chromium" where it does not say."""
    try:
        told = subprocess.run([str(browser), "--version"], capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):
        return "Chromium"
    match = re.search(r"(Chromium|Google Chrome)\s+[\d.]+", told)
    return match[0] if match else "Chromium"


class Chromium:
    """A headless browser that shows one page, until it is closed.

    Args:
        url: The page.
        flags: Further ones.
    """

    def __init__(self, url: str, flags: Sequence[str] = ()) -> None:
        browser = executable()
        self._profile = _new_profile()
        self.log = self._profile / "log"
        # Its sandbox needs an ordinary user.
        sandbox = ("--no-sandbox",) if sys.platform != "win32" and os.geteuid() == 0 else ()
        command = [str(browser), *FLAGS, *sandbox, *flags, f"--user-data-dir={self._profile / 'data'}", url]
        try:
            with self.log.open("wb") as log:
                # In the process group of its parent: what ends a worker's group ends its browser too.
                self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        except OSError as error:
            shutil.rmtree(self._profile, ignore_errors=True)
            raise ToolchainError(f"{browser} does not start: {error}") from None

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def last_words(self) -> str:
        """The last line of what it said, for an error."""
        with suppress(OSError):
            lines = self.log.read_text(errors="replace").strip().splitlines()
            return lines[-1][:300] if lines else ""
        return ""

    def close(self) -> None:
        """Ends it with its processes, and removes its profile."""
        self._process.terminate()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._profile, ignore_errors=True)


def _new_profile() -> Path:
    """A directory for one browser; those of processes that could not tidy up are removed."""
    directory = made(cache_directory() / "browser")
    for old in directory.iterdir():
        owner = old.name.partition("-")[0]
        if owner.isdigit() and not _alive(int(owner)):
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=directory))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
