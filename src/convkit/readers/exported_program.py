"""The archive of `torch.export.save` (`.pt2`): the program is JSON, see torch/_export/serde/schema.py.

Two layouts exist: since 2.8 `models/model.json`, `data/weights/`, `data/sample_inputs/` and `extra/` under a top
directory; before, `serialized_exported_program.json` and its pickled companions, and `extra_files/`.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from convkit.artifact import ModelInfo
from convkit.formats import Variant
from convkit.readers.archive import read_json, read_member
from convkit.readers.damage import DamagedFileError
from convkit.readers.exported_arithmetic import small_constants, steps
from convkit.readers.half_precision import half_metadata
from convkit.readers.index_bounds import Lookup, Node, index_bounds
from convkit.readers.input_domains import input_domains
from convkit.readers.pytorch_names import dimension_names, named_shape, output_names, readable_expression
from convkit.signature import Signature, TensorSpec

__all__ = ["DTYPES", "describe", "model_member"]

_OLD_MODEL = "serialized_exported_program.json"
_EXTRA = ("extra/convkit.json", "extra_files/convkit.json")
_EXAMPLES = ("data/sample_inputs/", "serialized_example_inputs.pt")
_MODEL_LIMIT = 512 << 20
# torch._export.serde.schema.ScalarType
DTYPES = {
    1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32", 8: "float64",
    10: "complex64", 11: "complex128", 12: "bool", 13: "bfloat16", 28: "uint16", 29: "float8_e4m3fn",
    30: "float8_e5m2", 34: "uint32", 35: "uint64",
}  # fmt: skip
_SCALARS = {
    "as_int": "int64", "as_sym_int": "int64", "as_float": "float64", "as_sym_float": "float64", "as_bool": "bool",
    "as_sym_bool": "bool",
}  # fmt: skip
_MOVES = (
    "to",
    "_to_copy",
    "view",
    "reshape",
    "slice",
    "select",
    "unsqueeze",
    "squeeze",
    "transpose",
    "permute",
    "clone",
    "contiguous",
)
_KNOWN_NAMESPACES = ("aten", "prims", "prim", "higher_order")

Shapes = Mapping[str, tuple[str, list[int | str]]]


def model_member(names: Iterable[str]) -> str | None:
    """The member that holds the program, None in an archive that is no exported program."""
    names = list(names)
    model = next((n for n in names if n.endswith("models/model.json") and n.count("/") <= 2), None)
    others = (n for n in names if n == _OLD_MODEL or ("/models/" in f"/{n}" and n.endswith(".json") and n.count("/") <= 2))
    return model or next(others, None)


def describe(path: Path, archive: zipfile.ZipFile) -> ModelInfo:
    names = archive.namelist()
    member = model_member(names)
    if member is None:
        raise DamagedFileError("it has no models/model.json")
    program = read_json(archive, member, _MODEL_LIMIT)
    module = program["graph_module"]
    graph = module["graph"]
    shapes = _tensor_shapes(graph)
    operators = Counter(_operators(graph))
    signature = _signature(module, shapes)
    notes = []
    recorded = next((n for n in names if n.endswith(_EXTRA)), None)
    if recorded is not None:
        named = _with_recorded_names(signature, read_member(archive, recorded))
        if named is None:
            notes.append("the names in its extra/convkit.json do not fit the program: they are ignored")
        signature = named or signature
    custom = sorted(name for name in operators if name.partition(".")[0] not in _KNOWN_NAMESPACES)
    schema = program.get("schema_version", {})
    metadata: dict[str, Any] = {
        "torch_version": program.get("torch_version", ""),
        "schema_version": f"{schema.get('major')}.{schema.get('minor')}",
        "opset_version": program.get("opset_version", {}),
    }
    placeholders = list(map(_value_name, _user_inputs(module)))
    renamed = dict(zip(placeholders, signature.input_names, strict=False))
    if bounds := index_bounds(placeholders, _lookups(graph, shapes)):
        metadata["index_bounds"] = {renamed.get(name, name): rows for name, rows in bounds.items()}
    specs = [replace(spec, name=name) for name, spec in zip(placeholders, signature.inputs, strict=False)]
    dtypes = {name: dtype for name, (dtype, _) in shapes.items()}
    if domains := input_domains(specs, steps(graph, dtypes, small_constants(archive, module))):
        metadata["input_domains"] = {renamed.get(name, name): domain for name, domain in domains.items()}
    made = (_value_name(output) for node in graph["nodes"] for output in node["outputs"])
    metadata |= half_metadata(dtypes[name] for name in made if name in dtypes)
    if limits := _ranges(program, module, shapes):
        metadata["dynamic_ranges"] = limits
    return ModelInfo(
        Variant.EXPORTED_PROGRAM,
        path,
        path.stat().st_size,
        signatures=(signature,),
        operators=operators,
        parameters=_parameters(module, shapes),
        metadata=metadata,
        requires=tuple(f"custom operator {name} (import the library that registers it)" for name in custom),
        notes=tuple(notes),
        has_examples=any(example in name for name in names for example in _EXAMPLES),
    )


def _tensor_shapes(graph: Any) -> dict[str, tuple[str, list[int | str]]]:
    """dtype and shape of every value; a dynamic dimension is an expression in symbols."""
    found: dict[str, tuple[str, list[int | str]]] = {}
    for name, value in graph["tensor_values"].items():
        found[name] = (DTYPES.get(value["dtype"], "variant"), [_dim(size) for size in value["sizes"]])
    return found


def _dim(size: Any) -> int | str:
    if "as_int" in size:
        fixed = size["as_int"]
        if type(fixed) is not int or fixed < 0:
            raise DamagedFileError(f"a dimension is {fixed!r}")
        return fixed
    return readable_expression(size["as_expr"]["expr_str"])


def _operators(graph: Any) -> Iterator[str]:
    """Names as `torch.ops` prints them; the graphs of control flow are arguments of its nodes."""
    for node in graph["nodes"]:
        yield str(node["target"]).removeprefix("torch.ops.")
        for given in node["inputs"]:
            if "as_graph" in given["arg"]:
                yield from _operators(given["arg"]["as_graph"]["graph"])


def _lookups(graph: Any, shapes: Shapes) -> Iterator[Lookup | Node]:
    """Embeddings, and the operators that only move or widen indices on their way there."""
    for node in graph["nodes"]:
        operator = str(node["target"]).removeprefix("torch.ops.")
        given = [_value_name(i["arg"]) for i in node["inputs"]]
        if operator == "aten.embedding.default" and len(given) >= 2 and given[0] in shapes:
            rows = shapes[given[0]][1][:1]
            if rows and isinstance(rows[0], int):
                yield Lookup(given[1], rows[0])
        elif operator.split(".")[1:2] and operator.split(".")[1] in _MOVES and given:
            yield Node(given[0], tuple(_value_name(o) for o in node["outputs"]))


def _value_name(arg: Any) -> str:
    """The name of the value that a graph argument stands for."""
    (content,) = arg.values()
    if isinstance(content, dict):
        return str(content.get("name") or content.get("as_name", ""))
    return ""


def _user_inputs(module: Any) -> list[Any]:
    return [spec["user_input"]["arg"] for spec in module["signature"]["input_specs"] if "user_input" in spec]


def _names_of_symbols(module: Any, shapes: Shapes) -> dict[str, str]:
    named = ((name, shapes[name][1]) for name in map(_value_name, _user_inputs(module)) if name in shapes)
    return dimension_names(named)


def _ranges(program: Any, module: Any, shapes: Shapes) -> dict[str, list[int | None]]:
    """What sizes each dynamic dimension may have."""
    names = _names_of_symbols(module, shapes)
    limits = program.get("range_constraints", {})
    return {names[s]: [limits[s].get("min_val"), limits[s].get("max_val")] for s in limits if s in names}


def _signature(module: Any, shapes: Shapes) -> Signature:
    symbols = _names_of_symbols(module, shapes)
    inputs = []
    for arg in _user_inputs(module):
        inputs.append(_spec(_value_name(arg), arg, shapes, symbols))
    results = [spec["user_output"]["arg"] for spec in module["signature"]["output_specs"] if "user_output" in spec]
    fields = {key: value["field_names"] for key, value in module.get("treespec_namedtuple_fields", {}).items()}
    names = output_names(_out_spec(module), len(results), fields)
    outputs = [_spec(name, arg, shapes, symbols) for name, arg in zip(names, results, strict=True)]
    return Signature(tuple(spec for spec in inputs if spec is not None), tuple(spec for spec in outputs if spec is not None))


def _out_spec(module: Any) -> str | None:
    for entry in module.get("module_call_graph", ()):
        if entry["fqn"] == "" and entry["signature"] is not None:
            return str(entry["signature"]["out_spec"])
    return None


def _spec(name: str, arg: Any, shapes: Shapes, symbols: Mapping[str, str]) -> TensorSpec | None:
    """None for an argument that is no data: None, a string, a device."""
    (kind,) = arg
    if kind == "as_tensor":
        dtype, shape = shapes[arg[kind]["name"]]
        return TensorSpec(name, dtype, named_shape(shape, symbols))
    return TensorSpec(name, _SCALARS[kind], ()) if kind in _SCALARS else None


def _with_recorded_names(found: Signature, content: bytes) -> Signature | None:
    """convkit keeps the names of the model that it converted beside the program; the program's own shapes decide.

    None where the two do not fit: the file may have been edited by something that does not know of the names.
    """
    try:
        kept = Signature.from_json(json.loads(content))
    except (ValueError, LookupError, TypeError):
        return None
    if (len(found.inputs), len(found.outputs)) != (len(kept.inputs), len(kept.outputs)):
        return None
    return Signature(
        tuple(map(_renamed, found.inputs, kept.inputs)), tuple(map(_renamed, found.outputs, kept.outputs)), kept.name
    )


def _renamed(found: TensorSpec, recorded: TensorSpec) -> TensorSpec:
    shape = found.shape
    if shape is not None and recorded.shape is not None and len(shape) == len(recorded.shape):
        shape = tuple(theirs if isinstance(mine, str) else mine for mine, theirs in zip(shape, recorded.shape, strict=True))
    return TensorSpec(recorded.name, found.dtype, shape)


def _parameters(module: Any, shapes: Shapes) -> int:
    """Elements of parameters, buffers and tensor constants."""
    total = 0
    for spec in module["signature"]["input_specs"]:
        for role in ("parameter", "buffer", "tensor_constant"):
            name = spec[role]["arg"]["name"] if role in spec else ""
            if name in shapes:
                total += math.prod([d for d in shapes[name][1] if isinstance(d, int)])
    return total
