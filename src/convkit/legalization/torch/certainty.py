"""Whether tables tell what becomes of an exported program, or only a trial does; from its JSON, without torch.

They do where every operator has been proved in its form (`proved_operators.json`, from torch's own operator database and whole
models), and nothing hangs on data: neither the path through the program nor a size. To load torch, the program and what
decomposes it takes seconds.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from convkit.formats import Variant
from convkit.legalization.exported_program import DRAWS
from convkit.legalization.proved import Form, ProvedOperators
from convkit.legalization.target import Finding, Verdict
from convkit.readers.archive import open_archive, read_json
from convkit.readers.exported_program import DTYPES, model_member

__all__ = ["PROVED", "forms", "proved_findings"]

PROVED = Path(__file__).with_name("proved_operators.json")

_LIMIT = 512 << 20
_PICKING = "_operator.getitem"
_DATA_DEPENDENT = re.compile(r"\b(?:u\d+|zuf\d+)\b")
_MANY_AXES = 5


def proved_findings(path: Path, variant: Variant) -> list[Finding] | None:
    """Every operator of a program as legal, where all of them have been proved on the way to a variant; else None.

    Raises:
        UnreadableModelError: The archive is damaged.
    """
    used: Counter[str] = Counter()
    proved = ProvedOperators.load(PROVED)
    for operator, form in forms(path):
        if form is None or not proved.covers(variant.format, operator, form):
            return None
        used[operator] += 1
    return [Finding(operator, count, Verdict.LEGAL, evidence="registry") for operator, count in sorted(used.items())]


def forms(path: Path) -> Iterator[tuple[str, Form | None]]:
    """Every operator of a program with its form; None for one whose result, or whose way, is decided by data.

    Raises:
        UnreadableModelError: The archive is damaged.
    """
    with open_archive(path) as archive:
        member = model_member(archive.namelist())
        assert member is not None, "a reader has identified the file"
        graph = read_json(archive, member, _LIMIT)["graph_module"]["graph"]
    tensors = graph["tensor_values"]
    for node in graph["nodes"]:
        operator = str(node["target"]).removeprefix("torch.ops.")
        if operator != _PICKING:
            yield operator, _form(node, tensors)


def _form(node: Mapping[str, Any], tensors: Mapping[str, Any]) -> Form | None:
    # Where its numbers reach an output, no target draws the same: whether they do, only the whole graph tells.
    if str(node["target"]).removeprefix("torch.ops.aten.").startswith(DRAWS):
        return None
    arguments = {str(given["name"]): given["arg"] for given in node["inputs"]}
    if any("as_graph" in arg or "as_custom_obj" in arg for arg in arguments.values()):
        return None
    read = [tensors[name] for arg in arguments.values() for name in _tensors_in(arg, tensors)]
    made = [tensors[name] for result in node["outputs"] for name in _tensors_in(result, tensors)]
    sizes = [size for tensor in (*read, *made) for size in tensor["sizes"]]
    expressions = [str(size["as_expr"]["expr_str"]) for size in sizes if "as_expr" in size]
    if any(map(_DATA_DEPENDENT.search, expressions)):
        return None
    parts = [f"< {_dtypes(read)}", f"> {_dtypes(made)}", *_choices(arguments)]
    if expressions:
        parts.append("of dynamic sizes")
    if any(len(tensor["sizes"]) > _MANY_AXES for tensor in (*read, *made)):
        parts.append("of many axes")
    return frozenset(parts)


def _choices(arguments: Mapping[str, Any]) -> Iterator[str]:
    """The arguments that are words, flags or dtypes."""
    for name, arg in arguments.items():
        for kind, value in arg.items():
            if kind in {"as_string", "as_bool"}:
                yield f"{name}={value}"
            elif kind == "as_scalar_type":
                yield f"{name}={DTYPES.get(value, value)}"


def _tensors_in(argument: Any, tensors: Mapping[str, Any]) -> Iterator[str]:
    """The names of the tensors in an argument, as torch/_export/serde/schema.py spells one, a list and optional ones."""
    if isinstance(argument, list):
        for part in argument:
            yield from _tensors_in(part, tensors)
    elif isinstance(argument, dict):
        name = argument.get("name")
        if isinstance(name, str) and set(argument) == {"name"} and name in tensors:
            yield name
        else:
            for part in argument.values():
                yield from _tensors_in(part, tensors)


def _dtypes(tensors: list[Any]) -> str:
    named = (DTYPES.get(tensor["dtype"], str(tensor["dtype"])) for tensor in tensors)
    return ",".join(name for name, _ in itertools.groupby(named))
