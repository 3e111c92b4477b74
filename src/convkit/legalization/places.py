"""Where in the user's own model and source an operator of an exported program comes from.

torch.export keeps for each node the stack of modules that it was traced through (`nn_module_stack`) and the Python stack
(`stack_trace`); both survive `torch.export.save`. Needs no framework: readers of the archive ask too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["NODE_KEY", "Place", "place", "recorded_place"]

NODE_KEY = "onnx_node"
"""Under which a program imported from ONNX keeps, in each node's `custom` metadata, the name of the node in the ONNX file."""

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


def recorded_place(metadata: Mapping[str, Any]) -> str:
    """The place that a node's metadata in the JSON of a `.pt2` archive tell; empty where they do not."""
    try:
        imported = json.loads(metadata.get("custom", "{}")).get(NODE_KEY)
    except (ValueError, AttributeError):
        imported = None
    if imported:
        return str(imported)
    stack = [entry.split(",") for entry in str(metadata.get("nn_module_stack", "")).split(";") if entry]
    return str(place([(e[1], e[-1]) for e in stack if len(e) > 2], str(metadata.get("stack_trace", ""))))


def _line(stack_trace: str) -> str:
    """The innermost frame of the user's own code; its file from the working directory on, where it lies below."""
    frames = [m for m in _FRAME.finditer(stack_trace) if not _FOREIGN.search(m["file"])]
    if not frames:
        return ""
    path = Path(frames[-1]["file"])
    return f"{path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}:{frames[-1]['line']}"
