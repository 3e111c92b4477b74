"""PyTorch exported programs → ONNX, through the exporter of torch.onnx (onnxscript's torchlib)."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from convkit.components import ConversionOutcome, ConversionRequest, Converter, Host, Option
from convkit.errors import ConversionError, UsageError
from convkit.formats import Variant
from convkit.legalization.codes import Reason
from convkit.legalization.exported_program import without_batch_heuristics

if TYPE_CHECKING:
    import torch

    from convkit.legalization.target import Finding
    from convkit.signature import Signature, TensorSpec

# 18 is what torchlib is written in, and every ONNX consumer of the last three years reads it.
_OPSET = Option("opset", "the ONNX opset to write", 18)

CONVERTER = Converter(
    name="torch-onnx",
    sources=(Variant.EXPORTED_PROGRAM,),
    target=Variant.ONNX,
    host=Host(
        group="torch",
        preload=("torch", "onnxscript", "torch.onnx._internal.exporter._core"),
        packages=("torch", "onnxscript", "onnx"),
    ),
    reason="torch's own exporter; dynamic dimensions and control flow survive",
    options=(_OPSET,),
)

# Bytes of weights up to which they go into the file itself. Serializing holds every weight twice, and every reader of the
# file parses them all; beside it they are written and mapped as they are. 2 GiB is what protobuf can hold at all.
SINGLE_FILE_LIMIT = 64 << 20

_STATE = Reason("it keeps a value for the next run, and an ONNX model has no variables", "CK109")
_STATE_HINT = "make the state an input and an output of the model"


@without_batch_heuristics()
def check(request: ConversionRequest) -> list[Finding]:
    """Every operator that is left when the exporter's decompositions have run, and whether the exporter knows it."""
    from convkit.legalization import exported_program as programs
    from convkit.legalization import torchlib
    from convkit.legalization.torch import targets
    from convkit.loading import pytorch as loading

    program = loading.exported_program(request.source)
    opset = _opset(request)
    gaps: list[torch.fx.Node] = []
    # What fails otherwise is torch's decomposition, not an operator: the conversion says it, with its reason.
    with contextlib.suppress(ConversionError):
        gaps = torchlib.unsupported(torchlib.decomposed(program, opset)[0], opset)
    reasons = dict.fromkeys(gaps, "torch.onnx has no translation for it, and torch no decomposition")
    reasons |= dict.fromkeys(programs.state_updates(program), _STATE) | programs.random_nodes(program)
    return programs.findings(program, reasons, targets.rewritten(program, torchlib.target(opset)))


@without_batch_heuristics()
def convert(request: ConversionRequest) -> ConversionOutcome:
    """Writes one `.onnx` file; weights above 64 MiB go to `<name>.data` beside it.

    Raises:
        ConversionError: The exporter does not know an operator (all of them are named), or fails.
        UsageError: The opset is no opset.
    """
    import onnx_ir

    from convkit.legalization import exported_program as programs
    from convkit.legalization import torchlib
    from convkit.loading import pytorch as loading

    if request.signature is None:
        raise ConversionError(f"the inputs of {request.source.path} are not known", component=CONVERTER.name)
    opset = _opset(request)
    program = loading.exported_program(request.source)
    if updates := programs.told(programs.state_updates(program)):
        raise ConversionError(f"{updates}: {_STATE}", component=CONVERTER.name, hint=_STATE_HINT)
    for node, reason in programs.random_nodes(program).items():
        raise ConversionError(f"{programs.told([node])}: {reason}", component=CONVERTER.name)
    ready, notes = torchlib.decomposed(program, opset)
    if gaps := programs.told(torchlib.unsupported(ready, opset)):
        raise ConversionError(
            f"torch.onnx has no translation for {gaps}",
            component=CONVERTER.name,
            hint="rewrite them with other operators in the model",
        )
    try:
        model = torchlib.translated(ready, opset)
    except Exception as error:
        raise _failure(error) from error
    if model.opset_imports.get("") != opset:
        raise ConversionError(
            f"the graph cannot be expressed in opset {opset}",
            component=CONVERTER.name,
            hint=f"leave out --option opset, which defaults to {_OPSET.default}",
        )
    _name_edges(model, request.signature)
    _name_dimensions(model, request.signature, _user_inputs(ready))
    _strip(model)
    model.ir_version = _ir_version(model)
    # The graph shares the program's weights until it is written.
    size = sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value is not None)
    external = f"{request.output.name}.data" if size > SINGLE_FILE_LIMIT else None
    onnx_ir.save(model, request.output, format="protobuf", external_data=external)
    return ConversionOutcome(notes)


def _opset(request: ConversionRequest) -> int:
    given = request.options.get("opset", _OPSET.default)
    try:
        opset = int(given)
    except (TypeError, ValueError):
        opset = 0
    if not 9 <= opset <= 23:
        raise UsageError(f"there is no ONNX opset {given!r} to write", hint="give a number from 9 to 23; 18 is the default")
    return opset


def _failure(error: Exception) -> ConversionError:
    """The exporter wraps what happened in a general message; the cause tells."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return ConversionError(
        f"torch.onnx cannot translate the program: {' '.join(str(error).split())[:200]} ({' '.join(str(cause).split())[:300]})",
        component=CONVERTER.name,
        hint="see `convkit plan` for another route",
    )


def _user_inputs(program: torch.export.ExportedProgram) -> list[torch.fx.Node]:
    """The placeholders of the tensors that a user gives, in order."""
    nodes = {n.name: n for n in program.graph.nodes if n.op == "placeholder"}
    return [nodes[name] for name in program.graph_signature.user_inputs if isinstance(name, str) and name in nodes]


def _name_edges(model: Any, signature: Signature) -> None:
    """Gives inputs and outputs the signature's names; whatever inside has one of these gives way."""
    import onnx_ir

    graph = model.graph
    for role, values, specs in (("input", graph.inputs, signature.inputs), ("output", graph.outputs, signature.outputs)):
        if len(values) != len(specs):
            raise ConversionError(
                f"the program has {len(values)} {role}s, the signature {len(specs)}: {', '.join(s.name for s in specs)}",
                component=CONVERTER.name,
            )
    # A value has one name: an input that is returned, a weight, or an output that is given twice gets a copy.
    edges = set(graph.inputs)
    for index, value in enumerate(list(graph.outputs)):
        if value in edges or value.is_initializer():
            copy = onnx_ir.Node("", "Identity", [value], num_outputs=1)
            copy.outputs[0].type, copy.outputs[0].shape = value.type, value.shape
            graph.append(copy)
            graph.outputs[index] = copy.outputs[0]
        edges.add(graph.outputs[index])
    wanted = {*signature.input_names, *signature.output_names}
    taken = wanted | {v.name for v in _values(model)}
    for value in _values(model):
        if value.name in wanted:
            value.name = _free_name(value.name, taken)
    for value, spec in zip([*graph.inputs, *graph.outputs], [*signature.inputs, *signature.outputs], strict=True):
        value.name = spec.name


def _values(model: Any) -> list[Any]:
    """All values of the main graph and of its branches; functions have their own names."""
    import onnx_ir

    graph = model.graph
    found = [*graph.inputs, *graph.initializers.values()]
    for node in onnx_ir.traversal.RecursiveGraphIterator(graph):
        found.extend(node.outputs)
        for attribute in node.attributes.values():
            if attribute.type == onnx_ir.AttributeType.GRAPH:
                found.extend([*attribute.as_graph().inputs, *attribute.as_graph().initializers.values()])
    return found


def _free_name(name: str, taken: set[str]) -> str:
    number = 1
    while f"{name}__{number}" in taken:
        number += 1
    taken.add(f"{name}__{number}")
    return f"{name}__{number}"


def _name_dimensions(model: Any, signature: Signature, inputs: Sequence[torch.fx.Node]) -> None:
    """Turns the exporter's symbols (`s77`, `2*s77`) into the signature's (`batch`, `2*batch`), all through the graph."""
    from torch.onnx._internal.exporter import _ir_passes

    symbols: dict[str, str] = {}
    for node, spec in zip(inputs, signature.inputs, strict=True):
        for size, dim in zip(node.meta["val"].shape, spec.shape or (), strict=False):
            if isinstance(dim, str) and not isinstance(size, int):
                symbols.setdefault(str(size), dim)
    _ir_passes.rename_axis(model, {k: v for k, v in symbols.items() if k.isidentifier()})
    known = set(symbols.values())
    for value, spec in zip(model.graph.outputs, signature.outputs, strict=True):
        _name_unknown(value, spec, known)


def _name_unknown(value: Any, spec: TensorSpec, known: set[str]) -> None:
    """Output sizes that do not follow from the inputs' (the exporter's `u0`) get the signature's names."""
    import re

    import onnx_ir

    if value.shape is None or spec.shape is None or len(value.shape) != len(spec.shape):
        return
    dims = [d if isinstance(d, int) else str(d.value) for d in value.shape]
    named = [
        want if isinstance(have, str) and isinstance(want, str) and not set(re.findall(r"[A-Za-z_]\w*", have)) & known else have
        for have, want in zip(dims, spec.shape, strict=True)
    ]
    value.shape = onnx_ir.Shape(named)


def _strip(model: Any) -> None:
    """Leaves out what only the exporter's author needs: stack traces name files of the machine, and outweigh small graphs.

    Module paths stay: they say where a node comes from.
    """
    import onnx_ir

    keep = ("namespace", "pkg.torch.onnx.class_hierarchy", "pkg.torch.onnx.name_scopes")
    model.graph.metadata_props.clear()
    for graph in (model.graph, *model.functions.values()):
        for node in onnx_ir.traversal.RecursiveGraphIterator(graph):
            _retain(node.metadata_props, keep)
            for value in node.outputs:
                value.metadata_props.clear()
    for value in _values(model):
        value.metadata_props.clear()


def _retain(properties: dict[str, str], keep: Sequence[str]) -> None:
    for key in [k for k in properties if k not in keep]:
        del properties[key]


def _ir_version(model: Any) -> int:
    """The lowest IR version that the model's opsets and element types permit."""
    import onnx
    import onnx_ir

    opsets: Mapping[str, int] = model.opset_imports
    lowest = int(
        onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid(d, v) for d, v in opsets.items()], ignore_unknown=True)
    )
    # https://github.com/onnx/onnx/blob/main/onnx/onnx.in.proto, enum Version: float8 came with 9, int4 with 10.
    later = {"FLOAT8": 9, "INT4": 10, "UINT4": 10, "FLOAT4": 11, "INT2": 12, "UINT2": 12}
    for value in _values(model):
        name = value.dtype.name if isinstance(value.dtype, onnx_ir.DataType) else ""
        lowest = max(lowest, *(v for prefix, v in later.items() if name.startswith(prefix)), 3)
    return max(lowest, 8) if model.functions else lowest
