"""Files of packages on the index: pinned wheels, unpacked under build/. Nothing of them is installed or executed."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

__all__ = ["CACHE", "fetch", "unpacked"]

CACHE = Path(__file__).resolve().parent.parent / "build" / "real-models"


def unpacked(requirement: str) -> Path:
    """Where the files of a pinned wheel ("magika==1.0.3") are, once it has been fetched."""
    return CACHE / requirement.replace("==", "-")


def fetch(requirements: Iterable[str]) -> None:
    """Downloads and unpacks wheels without their dependencies, those that are not there yet."""
    for requirement in dict.fromkeys(requirements):
        if unpacked(requirement).exists():
            continue
        wheels = CACHE / "wheels" / requirement
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "-d", str(wheels)]
        subprocess.run([*command, requirement], check=True)
        staged = wheels / "unpacked"
        with zipfile.ZipFile(next(wheels.glob("*.whl"))) as archive:
            archive.extractall(staged)
        staged.rename(unpacked(requirement))
