"""The distinct operator signatures of an exported program, from the JSON in its archive: no torch is needed to know them.

`convkit.probing.program_models` makes the one-operator programs, in torch's process. Tensors are inputs there, weights and other
constants are made up; sizes that the program computes from shapes are computed by the same operators.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from convkit.legalization.places import recorded_place
from convkit.probing.signatures import Described, OperatorSignature
from convkit.readers.archive import open_archive, read_json, read_member
from convkit.readers.exported_program import model_member

__all__ = ["described", "fingerprint"]

_LIMIT = 512 << 20
_MOST_PLACES = 20
_SYMBOL = re.compile(r"\b(?:[su]\d+|zuf\d+|zf\d+)\b")
_RANDOM = re.compile(r"aten\.(rand|randn|randint|randperm|bernoulli|multinomial|normal|exponential|uniform|dropout)(_like)?_?\.")
_UNDEFINED = re.compile(r"aten\.(new_)?empty(_like|_strided|_permuted)?\.")
# How torch/_export/serde/schema.py spells the arguments that refer to values.
_TENSOR, _SYMBOLIC = "name", "as_name"
_COMPLEX = (9, 10, 11)
"""Its numbers for complex dtypes: no target but SavedModel has such tensors between operators."""


def described(path: Path) -> Described:
    """The program's structure and distinct signatures.

    Raises:
        UnreadableModelError: The archive is damaged.
    """
    with open_archive(path) as archive:
        member = model_member(archive.namelist())
        assert member is not None, "a reader has identified the file"
        program = read_json(archive, member, _LIMIT)
    walk = _Walk(program["graph_module"])
    found: dict[str, tuple[OperatorSignature, list[str]]] = {}
    for node in program["graph_module"]["graph"]["nodes"]:
        operator = str(node["target"]).removeprefix("torch.ops.")
        if operator == "_operator.getitem":
            continue
        obstacle, told = walk.described(operator, node)
        digest = "" if obstacle else hashlib.sha256(told.encode()).hexdigest()[:32]
        name = str(node.get("name") or _result(node))
        key = f"{operator} {digest or obstacle}"
        found.setdefault(key, (OperatorSignature(operator, 0, (), digest, name, obstacle), []))[1].append(
            recorded_place(node.get("metadata", {}))
        )
    structure = json.dumps(_without_metadata(program), sort_keys=True)
    return Described(
        hashlib.sha256(structure.encode()).hexdigest()[:32],
        tuple(
            replace(s, count=len(places), where=tuple(dict.fromkeys(filter(None, places)))[:_MOST_PLACES])
            for s, places in found.values()
        ),
    )


def fingerprint(path: Path) -> str:
    """A digest of the program without its weights: of all that a check can tell of, places in the source included."""
    digest = hashlib.sha256()
    with open_archive(path) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith((".json", "/version")) or "/extra" in name or name.startswith("extra"):
                digest.update(name.partition("/")[2].encode() + read_member(archive, name, _LIMIT))
    return digest.hexdigest()[:32]


class _Walk:
    """One graph, whose nodes are described without the names that it gives to values."""

    def __init__(self, module: Mapping[str, Any]) -> None:
        graph = module["graph"]
        self._tensors: Mapping[str, Any] = graph["tensor_values"]
        self._producers = {name: node for node in graph["nodes"] for name in _scalar_results(node)}
        self._roles: dict[str, str] = {}
        for spec in module["signature"]["input_specs"]:
            for role in ("parameter", "buffer", "tensor_constant"):
                if role in spec:
                    self._roles[str(spec[role]["arg"]["name"])] = role

    def described(self, operator: str, node: Mapping[str, Any]) -> tuple[str, str]:
        """Why a node comes to no program ("" where it does), and its canonical description."""
        if _RANDOM.match(operator):
            return "its results are random", ""
        if _UNDEFINED.match(operator):
            return "its results are what the memory held", ""
        if operator.startswith("aten.topk.") and any(
            g["name"] == "sorted" and g["arg"].get("as_bool") is False for g in node["inputs"]
        ):
            return "the order of its results is not defined", ""
        if not any("as_tensor" in o or "as_tensors" in o for o in node["outputs"]):
            return "it computes a size, as a part of the operators that need it", ""
        if any(self._tensors[name]["dtype"] in _COMPLEX for name in _tensor_names(node) if name in self._tensors):
            return "it computes with complex numbers, which are rewritten with all that is around them", ""
        description = _Description(self._tensors, self._roles, self._producers)
        told = description.node(node)
        if description.obstacle:
            return description.obstacle, ""
        if not any(tensor[0] == "input" for tensor in description.tensors):
            return "it computes a constant", ""
        return "", json.dumps([told, description.tensors], sort_keys=True)


class _Description:
    """The description of one node and of the shape arithmetic that it needs."""

    def __init__(self, tensors: Mapping[str, Any], roles: Mapping[str, str], producers: Mapping[str, Mapping[str, Any]]) -> None:
        self.tensors: list[Any] = []
        self.obstacle = ""
        self._known, self._roles, self._producers = tensors, roles, producers
        self._places: dict[str, int] = {}
        self._symbols: dict[str, str] = {}
        self._computed: dict[str, Any] = {}

    def node(self, node: Mapping[str, Any]) -> Any:
        return [node["target"], [[given.get("name"), self._argument(given["arg"])] for given in node["inputs"]]]

    def _argument(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._argument(part) for part in value]
        if not isinstance(value, dict):
            return value
        if "as_custom_obj" in value:
            self.obstacle = "it takes an object that is no tensor"
        if "as_graph" in value:
            return _without_metadata(value["as_graph"])
        if set(value) == {_TENSOR} and value[_TENSOR] in self._known:
            return {"tensor": self._tensor(value[_TENSOR])}
        if set(value) == {_SYMBOLIC}:
            return {"computed": self._scalar(value[_SYMBOLIC])}
        return {key: self._argument(part) for key, part in value.items()}

    def _tensor(self, name: str) -> int:
        if name not in self._places:
            self._places[name] = len(self.tensors)
            meta = self._known[name]
            role = self._roles.get(name, "input")
            positive = role == "buffer" and name.endswith("var")
            sizes = [self._size(size) for size in meta["sizes"]]
            self.tensors.append([role, meta["dtype"], sizes, positive])
        return self._places[name]

    def _size(self, size: Mapping[str, Any]) -> int | str:
        if "as_int" in size:
            return int(size["as_int"])
        expression = str(size["as_expr"]["expr_str"])
        return _SYMBOL.sub(lambda m: self._symbols.setdefault(m[0], f"d{len(self._symbols)}"), expression)

    def _scalar(self, name: str) -> Any:
        if name not in self._producers:
            self.obstacle = "it takes a number that is an input of the model"
            return name
        if name not in self._computed:
            self._computed[name] = "?"  # a cycle in a damaged file ends here
            self._computed[name] = self.node(self._producers[name])
        return self._computed[name]


def _without_metadata(value: Any) -> Any:
    """A subgraph without its nodes' places."""
    if isinstance(value, list):
        return [_without_metadata(part) for part in value]
    if isinstance(value, dict):
        return {key: _without_metadata(part) for key, part in value.items() if key != "metadata"}
    return value


def _scalar_results(node: Mapping[str, Any]) -> Iterator[str]:
    for result in node["outputs"]:
        for kind, value in result.items():
            if kind.startswith("as_sym_") and isinstance(value, dict) and _SYMBOLIC in value:
                yield str(value[_SYMBOLIC])


def _tensor_names(node: Mapping[str, Any]) -> Iterator[str]:
    """The tensors that a node takes and computes, those in lists too."""
    for value in [*(given["arg"] for given in node["inputs"]), *node["outputs"]]:
        held = next(iter(value.values()), None)
        for tensor in held if isinstance(held, list) else [held]:
            if isinstance(tensor, dict) and _TENSOR in tensor:
                yield str(tensor[_TENSOR])


def _result(node: Mapping[str, Any]) -> str:
    return next((str(o["as_tensor"]["name"]) for o in node["outputs"] if "as_tensor" in o), "")
