"""Where in the user's own model and source an operator of an exported program comes from.

torch.export keeps for each node the stack of modules that it was traced through (`nn_module_stack`) and the Python stack
(`stack_trace`); both survive `torch.export.save`. Needs no framework: readers of the archive ask too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Place", "place"]

_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')
# Frames below the user's own code: torch's and convkit's packages, wherever they are installed (older programs name them without
# a directory), and code that is no file (`<eval_with_key>`).
_FOREIGN = re.compile(
    r"^(torch|convkit)[/\\]|[/\\](site|dist)-packages[/\\](torch|convkit)[/\\]|[/\\]src[/\\]convkit[/\\]"
    r"|[/\\]convkit[/\\](loading|interpreters|legalization|probing|converters|workers)[/\\]|^<"
)
_WRAPPER = "ConvkitRoot"


@dataclass(frozen=True)
class Place:
    """Where a node comes from: the path of the innermost module ("layers.0.attention"), or the node of the ONNX file that
    the program was imported from; and "file.py:line".
    """

    module: str
    line: str

    def __str__(self) -> str:
        return f"{self.module} ({self.line})" if self.module and self.line else self.module or self.line


def place(modules: Sequence[tuple[str, str]], stack_trace: str) -> Place:
    """The place that a node's metadata tell; empty parts where they do not.

    Args:
        modules: Path and class of every module on the way, outermost first.
        stack_trace: Python's, as torch keeps it: the user's outermost frame first.
    """
    module = ""
    if modules and not modules[-1][0].startswith("_empty_nn_module_stack"):  # nodes that torch itself inserted
        module = modules[-1][0].removeprefix("L['self'].").removeprefix("L['self']")
        if _WRAPPER in modules[0][1]:
            module = "" if module == "model" else module.removeprefix("model.")
    return Place(module, _line(stack_trace))


def _line(stack_trace: str) -> str:
    """The innermost frame of the user's own code; its file from the working directory on, where it lies below."""
    frames = [m for m in _FRAME.finditer(stack_trace) if not _FOREIGN.search(m["file"])]
    if not frames:
        return ""
    path = Path(frames[-1]["file"])
    return f"{path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}:{frames[-1]['line']}"
