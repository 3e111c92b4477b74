"""TensorFlow SavedModel: a directory with `saved_model.pb` (a SavedModel proto), parsed without TensorFlow."""

from __future__ import annotations

import json
import math
import mmap
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from convkit.artifact import ModelInfo, size_of
from convkit.errors import UnreadableModelError
from convkit.formats import Variant
from convkit.readers.damage import DamagedFileError
from convkit.readers.half_precision import half_metadata
from convkit.readers.protobuf import BYTES, VARINT, parse, top_level_fields
from convkit.readers.savedmodel_arithmetic import domain_metadata
from convkit.readers.savedmodel_schema import DTYPES, graph_def_class, saved_model_class
from convkit.signature import Dim, Signature, TensorSpec, dynamic_dim

__all__ = ["matches", "read"]

# Where loading/savedmodel_writer.py puts the order and the symbols.
_RECORDED = "assets.extra/convkit_signature.json"
_RECORDED_LIMIT = 4 << 20
_INIT_OP = "__saved_model_init_op"
_DEFAULT = "serving_default"
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_VARIABLES = ("VarHandleOp", "VariableV2", "Variable")
# Bookkeeping of the graph, not operators that a runtime needs a kernel for.
_STRUCTURAL = frozenset((*_CALLS, "NoOp"))
# Types of types.proto.
_HALVES = {14: "bfloat16", 19: "float16"}
# What computes nothing.
_MOVED = frozenset(("Identity", "IdentityN", "ReadVariableOp"))
# A signature's inputs go to one call; a hostile graph has thousands of each.
_CALLERS_LOOKED_AT = 16
# What protobuf itself can parse.
_PROTOBUF_LIMIT = 1 << 31


def matches(path: Path, head: bytes) -> Variant | None:
    if head:
        _refuse_lone_graphs(path, head)
        return None
    if not path.is_dir():
        return None
    if (path / "saved_model.pb").is_file():
        return Variant.SAVEDMODEL
    if (path / "saved_model.pbtxt").is_file():
        raise UnreadableModelError(
            f"{path} is a SavedModel in text form (saved_model.pbtxt)",
            hint="load it in TensorFlow and save it again with tf.saved_model.save",
        )
    return None


def _refuse_lone_graphs(path: Path, head: bytes) -> None:
    """A `saved_model.pb` without its directory, and the frozen graph of TensorFlow 1, get an answer of their own.

    Raises:
        UnreadableModelError: for either.
    """
    # SavedModel: version 1, then a meta graph. GraphDef: a node that starts with its name.
    if head.startswith(b"\x08\x01\x12"):
        if _has_fields(path, {1: VARINT, 2: BYTES}):
            raise UnreadableModelError(
                f"{path} is the graph file of a SavedModel", hint=f"pass the directory that holds it: {path.parent}"
            )
    elif head.startswith(b"\x0a") and _is_graph_def(path):
        raise UnreadableModelError(
            f"{path} is a frozen TensorFlow GraphDef, which names no inputs and outputs",
            hint="import it with tf.compat.v1.import_graph_def and save it with tf.saved_model.save",
        )


def _has_fields(path: Path, allowed: Mapping[int, int]) -> bool:
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return all(allowed.get(number) == kind for number, kind, _, _ in top_level_fields(data))
    except DamagedFileError:
        return False


def _is_graph_def(path: Path) -> bool:
    if not _has_fields(path, {1: BYTES, 2: BYTES, 3: VARINT, 4: BYTES, 5: BYTES}):
        return False
    try:
        graph = parse(graph_def_class()(), path.read_bytes())
    except DamagedFileError:
        return False
    return bool(graph.node) and all(re.fullmatch(r"[A-Za-z_]\w*(>\w+)*", node.op) for node in graph.node)


def read(path: Path, variant: Variant) -> ModelInfo:
    file = path / "saved_model.pb"
    if file.stat().st_size >= _PROTOBUF_LIMIT:
        raise DamagedFileError("saved_model.pb is larger than protobuf's limit of 2 GiB")
    model = parse(saved_model_class()(), file.read_bytes())
    if not model.meta_graphs:
        raise DamagedFileError("saved_model.pb has no graph")
    serving = next((g for g in model.meta_graphs if "serve" in g.meta_info_def.tags), model.meta_graphs[0])
    graph = _Graph(serving.graph_def)
    names = sorted(set(serving.signature_def) - {_INIT_OP}, key=lambda name: (name != _DEFAULT, name))
    definitions = {name: serving.signature_def[name] for name in names}
    notes = []
    if definitions:
        # Saving and restoring the checkpoint is part of the graph, but not of what a signature computes.
        used = graph.reachable(info.name for info in definitions[names[0]].outputs.values())
    else:
        used = list(serving.graph_def.node)
        notes.append("no signature: save it again with tf.saved_model.save(model, path, signatures=…)")
    operators = Counter(node.op for node in used if node.op not in _STRUCTURAL and node.op not in graph.functions)
    _check_variables(path, used)
    recorded = _recorded_signatures(path)
    signatures = tuple(
        _in_recorded_order(_signature(name, definition, graph), recorded.get(name)) for name, definition in definitions.items()
    )
    domains = domain_metadata(graph.nodes, graph.functions, definitions[names[0]], signatures[0]) if definitions else {}
    return ModelInfo(
        variant,
        path,
        size_of(path),
        signatures=signatures,
        operators=operators,
        parameters=_parameters(used),
        metadata={
            "tensorflow_version": serving.meta_info_def.tensorflow_version,
            "tags": [list(g.meta_info_def.tags) for g in model.meta_graphs],
            "functions": len(graph.functions),
            **domains,
            **half_metadata(_HALVES.get(node.attr["T"].type, "") for node in used if node.op not in _MOVED and "T" in node.attr),
        },
        notes=tuple(notes),
    )


def _check_variables(path: Path, used: Iterable[Any]) -> None:
    """Raises UnreadableModelError when the graph has variables and the directory has no values for them."""
    has_variables = any(node.op in _VARIABLES for node in used)
    if has_variables and not (path / "variables" / "variables.index").is_file():
        raise UnreadableModelError(
            f"{path} is a SavedModel without its variables (variables/variables.index)",
            hint="copy the whole directory, with its variables folder",
        )
    shards = sorted((path / "variables").glob("variables.data-*-of-*"))
    if has_variables and (not shards or len(shards) != int(shards[0].name.rpartition("-")[2])):
        raise UnreadableModelError(
            f"{path} is a SavedModel without all of its variables (variables/variables.data-…)",
            hint="copy the whole directory, with its variables folder",
        )


class _Graph:
    """The nodes of a graph and its functions by name."""

    def __init__(self, graph_def: Any) -> None:
        self.nodes = {node.name: node for node in graph_def.node}
        self.functions = {f.signature.name: f for f in graph_def.library.function}
        self._callers: dict[str, list[Any]] = {}
        for node in graph_def.node:
            for source in node.input if node.op in _CALLS else ():
                self._callers.setdefault(source, []).append(node)

    def reachable(self, outputs: Iterable[str]) -> list[Any]:
        """The nodes that tensors depend on, with those of all functions called on the way; each once."""
        pending = [_node_of(name) for name in outputs]
        seen: set[str] = set()
        found: list[Any] = []
        while pending:
            name = pending.pop()
            if name in seen or name not in self.nodes:
                continue
            seen.add(name)
            found.append(self.nodes[name])
            pending += map(_node_of, self.nodes[name].input)
        return found + list(self._bodies(found))

    def _bodies(self, callers: Iterable[Any]) -> Iterator[Any]:
        pending, seen = list(callers), set[str]()
        while pending:
            for name in self._called(pending.pop()):
                if name in self.functions and name not in seen:
                    seen.add(name)
                    pending += self.functions[name].node_def
                    yield from self.functions[name].node_def

    @staticmethod
    def _called(node: Any) -> Iterator[str]:
        yield node.op
        for value in node.attr.values():
            if value.func.name:
                yield value.func.name
            for function in value.list.func:
                yield function.name

    def argument_order(self, tensors: Mapping[str, str]) -> list[str] | None:
        """The keys of a signature in the order in which its function takes them, None where that cannot be told.

        TensorFlow wraps the function in one that takes its tensors sorted by key; that wrapper's call of the function
        still has the order of the arguments as they were written.
        """
        keys = {_node_of(tensor): key for key, tensor in tensors.items()}
        for node in self._callers.get(next(iter(keys)), ())[:_CALLERS_LOOKED_AT]:
            if keys.keys() <= set(node.input):
                wrapper = self.functions.get(node.attr["f"].func.name)
                if wrapper is None or len(wrapper.signature.input_arg) != len(node.input):
                    return [keys[name] for name in node.input if name in keys]
                arguments = {
                    a.name: keys[name] for a, name in zip(wrapper.signature.input_arg, node.input, strict=True) if name in keys
                }
                inner = (n for n in wrapper.node_def if n.op in _CALLS and arguments.keys() <= set(n.input))
                order = next((n.input for n in inner), arguments)
                return list(dict.fromkeys(arguments[name] for name in order if name in arguments))
        return None


def _node_of(tensor: str) -> str:
    return tensor.lstrip("^").partition(":")[0]


def _signature(name: str, definition: Any, graph: _Graph) -> Signature:
    inputs = {key: definition.inputs[key] for key in sorted(definition.inputs)}
    order = graph.argument_order({key: info.name for key, info in inputs.items()}) if inputs else None
    if order is None or set(order) != set(inputs):
        order = list(inputs)
    outputs = sorted(definition.outputs.items(), key=lambda item: (_output_index(item[1].name), item[0]))
    return Signature(tuple(_spec(key, inputs[key]) for key in order), tuple(_spec(key, info) for key, info in outputs), name)


def _output_index(tensor: str) -> int:
    index = tensor.rpartition(":")[2]
    return int(index) if index.isdigit() else 0


def _spec(name: str, info: Any) -> TensorSpec:
    if info.dtype not in DTYPES:
        raise DamagedFileError(f"{name!r} has the unknown dtype {info.dtype}")
    return TensorSpec(name, DTYPES[info.dtype], _shape(name, info.tensor_shape))


def _shape(name: str, shape: Any) -> tuple[Dim, ...] | None:
    if shape.unknown_rank:
        return None
    return tuple(dynamic_dim(name, axis) if d.size < 0 else d.size for axis, d in enumerate(shape.dim))


def _parameters(used: Iterable[Any]) -> int:
    """Elements of the variables that the signatures use; of the floating-point constants in a graph that has none."""
    variables = constants = 0
    for node in used:
        if node.op in _VARIABLES:
            variables += _elements(node.attr["shape"].shape)
        elif node.op == "Const" and "float" in DTYPES.get(node.attr["value"].tensor.dtype, ""):
            constants += _elements(node.attr["value"].tensor.tensor_shape)
    return variables or constants


def _elements(shape: Any) -> int:
    return math.prod(max(d.size, 0) for d in shape.dim)


def _recorded_signatures(path: Path) -> dict[str, Signature]:
    """The signatures that convkit wrote beside the graph; {} where there are none, or what is there is none of ours."""
    file = path / _RECORDED
    try:
        if file.is_symlink() or file.stat().st_size > _RECORDED_LIMIT:
            return {}
        return {name: Signature.from_json(data) for name, data in json.loads(file.read_bytes()).items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}


def _in_recorded_order(found: Signature, recorded: Signature | None) -> Signature:
    """A SavedModel's signature is a map without order or symbols; where a record of both fits, it tells them.

    The graph decides what there is: names and dtypes must be the same, static sizes and dynamic places are its own.
    """
    if recorded is None:
        return found
    sides = []
    for mine, theirs in ((found.inputs, recorded.inputs), (found.outputs, recorded.outputs)):
        by_name = {t.name: t for t in mine}
        if {t.name: t.dtype for t in mine} != {t.name: t.dtype for t in theirs} or len(by_name) != len(theirs):
            return found
        sides.append(tuple(_with_symbols(by_name[t.name], t) for t in theirs))
    return Signature(sides[0], sides[1], found.name)


def _with_symbols(found: TensorSpec, recorded: TensorSpec) -> TensorSpec:
    if found.shape is None or recorded.shape is None or len(found.shape) != len(recorded.shape):
        return found
    pairs = zip(found.shape, recorded.shape, strict=True)
    shape = tuple(theirs if isinstance(mine, str) and isinstance(theirs, str) else mine for mine, theirs in pairs)
    return TensorSpec(found.name, found.dtype, shape)
