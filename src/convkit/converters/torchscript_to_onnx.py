"""TorchScript → ONNX, through torch.onnx's legacy exporter, which reads the TorchScript graph itself.

The second route, for scripted modules with control flow that `ts2ep` does not know. torch has deprecated it.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convkit.components import ConversionOutcome, ConversionRequest, Converter, Host, Option
from convkit.errors import ConversionError, UsageError
from convkit.formats import Variant
from convkit.legalization.target import Finding, Verdict

if TYPE_CHECKING:
    from convkit.signature import Signature, TensorSpec

_OPSET = Option("opset", "the ONNX opset to write", 18)

CONVERTER = Converter(
    name="torch-onnx-legacy",
    sources=(Variant.TORCHSCRIPT,),
    target=Variant.ONNX,
    host=Host(group="torch", preload=("torch", "torch.onnx"), packages=("torch", "onnx")),
    cost=2.5,
    reason="reads the control flow of scripted modules; deprecated by torch",
    options=(_OPSET,),
)

# protobuf cannot hold 2 GiB; the rest is room for the graph.
SINGLE_FILE_LIMIT = 1_800_000_000


def check(request: ConversionRequest) -> list[Finding]:
    """The operators of the frozen graph; a gap is a tensor operator without symbolic function, or hidden state."""
    from torch.onnx._internal.torchscript_exporter import registration

    from convkit.loading import pytorch as loading

    opset = _opset(request)
    counts: Counter[str] = Counter()
    places: dict[str, dict[str, None]] = {}
    for node in _nodes(_frozen(loading.model(request.source)).graph):
        kind = node.kind()
        if kind.startswith("aten::") or kind == "prim::SetAttr":
            counts[kind] += 1
        # Exporting makes in-place operators functional first; operators on plain numbers and lists fold away.
        known = registration.registry.is_registered_op(kind, opset) or (
            kind.endswith("_") and registration.registry.is_registered_op(kind.rstrip("_"), opset)
        )
        gives_tensor = any(str(output.type()) == "Tensor" for output in node.outputs())
        if kind == "prim::SetAttr" or (kind.startswith("aten::") and gives_tensor and not known):
            places.setdefault(kind, {})[_place(node)] = None
    findings = []
    for kind, count in sorted(counts.items()):
        if kind in places:
            where = tuple(p for p in places[kind] if p)
            stateful = kind == "prim::SetAttr"
            reason = "the module keeps state between calls" if stateful else "it has no ONNX translation"
            findings.append(Finding(kind, count, Verdict.GAP, reason, where, _STATELESS if stateful else _WAY_OUT))
    return findings + [Finding(k, c, Verdict.LEGAL) for k, c in sorted(counts.items()) if k not in places]


_STATELESS = "export the inner module, which takes its state as an input and returns it"
_WAY_OUT = "export the original module with torch.export.save, if you have its source"


def convert(request: ConversionRequest) -> ConversionOutcome:
    """Writes one `.onnx` file; weights above 1.8 GB go to `<name>.data` beside it.

    Raises:
        ConversionError: The module keeps state between calls, or the exporter fails.
        UsageError: The opset is none that this exporter writes.
    """
    import onnx
    import torch

    from convkit.arrays import load_arrays
    from convkit.loading import pytorch as loading

    if request.signature is None or request.examples is None:
        raise ConversionError("TorchScript can only be converted with example inputs", component=CONVERTER.name)
    signature, opset = request.signature, _opset(request)
    module = loading.model(request.source)
    _refuse_state(module)
    feeds = load_arrays(request.examples)
    arguments = tuple(loading.to_torch(feeds[t.name], t.dtype) for t in signature.inputs)
    with tempfile.TemporaryDirectory(dir=request.output.parent) as scratch:
        # Above 2 GB the exporter writes one file per weight, so it gets a directory of its own.
        raw = Path(scratch) / "model.onnx"
        try:
            with torch.no_grad():
                torch.onnx.export(
                    _with_tuple(module, arguments),
                    arguments,
                    str(raw),
                    dynamo=False,
                    input_names=list(signature.input_names),
                    output_names=list(signature.output_names),
                    dynamic_axes=_dynamic_axes(signature),
                    opset_version=opset,
                )
        except Exception as error:
            raise ConversionError(
                f"torch's legacy ONNX exporter fails on this TorchScript: {' '.join(str(error).split())[:400]}",
                component=CONVERTER.name,
                hint=_WAY_OUT,
            ) from error
        model = onnx.load(raw)
    _keep_signature(model.graph, signature)
    model.ir_version = max(8, int(onnx.helper.find_min_ir_version_for(list(model.opset_import), ignore_unknown=True)))
    size = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    if size > SINGLE_FILE_LIMIT:
        onnx.save(model, request.output, save_as_external_data=True, location=f"{request.output.name}.data")
    else:
        onnx.save(model, request.output)
    return ConversionOutcome(loading.trace_notes(request.source))


def _opset(request: ConversionRequest) -> int:
    given = request.options.get("opset", _OPSET.default)
    if not str(given).isdigit() or not 9 <= int(given) <= 20:
        raise UsageError(
            f"torch's legacy exporter does not write opset {given!r}", hint="give a number from 9 to 20; 18 is the default"
        )
    return int(given)


def _dynamic_axes(signature: Signature) -> dict[str, dict[int, str]]:
    return {
        spec.name: {axis: dim for axis, dim in enumerate(spec.shape or ()) if isinstance(dim, str)}
        for spec in (*signature.inputs, *signature.outputs)
        if spec.dynamic_dims
    }


def _frozen(module: Any) -> Any:
    """The module with its attributes and methods folded in, which removes branches that never run in eval mode."""
    import torch

    try:
        return torch.jit.freeze(module)
    except Exception:  # freezing is refused for a few constructs; then the whole graph is judged
        return module


def _nodes(block: Any) -> Iterator[Any]:
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from _nodes(inner)


def _place(node: Any) -> str:
    """The source line that TorchScript keeps: "model.py:12"."""
    import re

    match = re.search(r'File "([^"]+)", line (\d+)', node.sourceRange())
    return f"{Path(match[1]).name}:{match[2]}" if match else ""


def _with_tuple(module: Any, arguments: tuple[Any, ...]) -> Any:
    """The exporter knows no dicts: a module that returns one is wrapped into one that returns its values."""
    import torch

    schema = module.forward.schema
    if not str(schema.returns[0].type).startswith("Dict"):
        return module
    keys = list(module(*arguments))
    given = schema.arguments[1 : len(arguments) + 1]
    typed = ", ".join(f"{a.name}: {a.type}" for a in given)
    # A class of its own: TorchScript keeps what it has compiled for a class for the life of the process.
    holder = type("FlatOutputs", (torch.nn.Module,), {})()
    holder.model = module
    wrapper = torch.jit.script(holder)
    wrapper.define(
        f"def forward(self, {typed}):\n"
        f"    result = self.model({', '.join(a.name for a in given)})\n"
        f"    return ({', '.join(f'result[{key!r}]' for key in keys)},)\n"
    )
    return wrapper.eval()


def _refuse_state(module: Any) -> None:
    """ONNX has no state between runs, and the exporter drops it silently."""
    changed = sorted({n.s("name") for n in _nodes(_frozen(module).graph) if n.kind() == "prim::SetAttr"})
    if changed:
        raise ConversionError(
            f"the module keeps state between calls, which ONNX cannot hold: it assigns {', '.join(changed)}",
            component=CONVERTER.name,
            hint=_STATELESS,
        )


def _keep_signature(graph: Any, signature: Signature) -> None:
    """Puts back inputs that nothing uses (the exporter drops them), and checks the rest."""
    import onnx

    found = {value.name: value for value in graph.input}
    for spec in signature.inputs:
        if spec.name not in found:
            found[spec.name] = onnx.helper.make_tensor_value_info(spec.name, _element_type(spec), spec.shape)
    del graph.input[:]
    graph.input.extend(found[name] for name in signature.input_names)
    if tuple(value.name for value in graph.output) != signature.output_names:
        raise ConversionError(
            f"the graph gives {', '.join(v.name for v in graph.output)} for {', '.join(signature.output_names)}",
            component=CONVERTER.name,
        )


def _element_type(spec: TensorSpec) -> int:
    import onnx

    names = {"float32": "FLOAT", "float64": "DOUBLE"}
    return int(onnx.TensorProto.DataType.Value(names.get(spec.dtype, spec.dtype.upper())))
