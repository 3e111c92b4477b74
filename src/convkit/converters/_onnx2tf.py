"""onnx2tf as a library: from an ONNX file to onnx2tf's intermediate representation, with the source's signature kept.

`onnx2tf.convert()` is one function of 6,600 lines that starts the `onnxsim` command three times, rewrites its input
file in place, writes float16 files, schemas and reports that nobody asked for, transposes inputs to NHWC, and ends
the process with `sys.exit` when something fails. Its default backend underneath (`onnx2tf.tflite_builder`) is a clean
chain of functions on a `ModelIR`; this module calls those in the same order as version 2.6.9 does, simplifies in the
process, and asks for no NHWC inputs at all (`transpose_inputs_to_nhwc=False`). The version is pinned in the
toolchain's lock, and the tests of the two converters that use this module are what says whether another version still
fits.

Runs in the toolchain `onnx2tf` only; nothing here is imported by the parent process.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any

from convkit.components import ConversionRequest
from convkit.converters import _probing
from convkit.converters._integers import widen_integers
from convkit.converters._model_ir import flatten_outputs, keep_signature
from convkit.errors import ConversionError, InputSpecError
from convkit.legalization.target import Finding, Verdict
from convkit.signature import Signature

__all__ = ["check", "load_model", "lower", "request_signature", "schema"]

_LOG = logging.getLogger(__name__)

# The oldest opset whose operators take their parameters the way onnx2tf's builders read them (Clip, Pad, Slice as
# inputs).
_OLDEST_OPSET = 11
_UPGRADE_TO = 17
_DEFAULT_DOMAINS = ("", "ai.onnx")
_DEPTH = 3


def request_signature(request: ConversionRequest, component: str) -> Signature:
    """The signature that the output must have, with its dynamic dimensions pinned when `static` is asked for.

    Raises:
        ConversionError: The request has no signature.
        InputSpecError: `static` is asked for without example inputs.
    """
    if request.signature is None:
        raise ConversionError("an ONNX model always has a signature, but none was given", component=component)
    if not request.options.get("static"):
        return request.signature
    return _pinned(request.signature, request)


def _pinned(signature: Signature, request: ConversionRequest) -> Signature:
    """Replaces every dynamic dimension by its size in the examples; an output dimension of another name stays dynamic."""
    import numpy as np

    if request.examples is None:
        raise InputSpecError(
            "static shapes were asked for, but there are no example inputs to take them from",
            hint="give --inputs data.npz, or --input name:dtype[1,3,224,224]",
        )
    sizes: dict[str, int] = {}
    inputs = []
    with np.load(request.examples, allow_pickle=False) as examples:
        for spec in signature.inputs:
            shape = examples[spec.name].shape
            sizes.update({d: n for d, n in zip(spec.shape or (), shape, strict=True) if isinstance(d, str)})
            inputs.append(replace(spec, shape=tuple(int(n) for n in shape)))
    outputs = tuple(
        replace(t, shape=None if t.shape is None else tuple(sizes.get(d, d) if isinstance(d, str) else d for d in t.shape))
        for t in signature.outputs
    )
    return replace(signature, inputs=tuple(inputs), outputs=outputs)


def load_model(request: ConversionRequest, component: str) -> Any:
    """The model in memory: external data read in, functions inlined, old opsets upgraded. The file stays as it is.

    Raises:
        ConversionError: The file cannot be read.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(request.source.path)
    except (OSError, DecodeError, onnx.checker.ValidationError) as error:
        raise ConversionError(f"cannot read {request.source.path}: {error}", component=component) from error
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    _drop_initializer_inputs(model)
    return _upgraded(model)


def _drop_initializer_inputs(model: Any) -> None:
    """IR version 3 lists every weight among the inputs too; there it is an overridable default, here a constant."""
    initializers = {i.name for i in model.graph.initializer}
    kept = [i for i in model.graph.input if i.name not in initializers]
    if len(kept) < len(model.graph.input):
        del model.graph.input[:]
        model.graph.input.extend(kept)


def _upgraded(model: Any) -> Any:
    import onnx

    opsets = {o.domain: o.version for o in model.opset_import}
    version = next((opsets[d] for d in _DEFAULT_DOMAINS if d in opsets), _UPGRADE_TO)
    if version >= _OLDEST_OPSET:
        return model
    try:
        return onnx.version_converter.convert_version(model, _UPGRADE_TO)
    except Exception as error:  # its adapters raise RuntimeError and worse; the old operators may still be understood
        _LOG.warning("opset %s could not be upgraded: %s", version, error)
        return model


def _set_input_shapes(model: Any, signature: Signature) -> None:
    """Writes the signature's static sizes into the graph's inputs, and forgets what was inferred from other sizes."""
    pinned = False
    by_name = {t.name: t for t in signature.inputs}
    for graph_input in model.graph.input:
        spec = by_name.get(graph_input.name)
        if spec is None or spec.shape is None:
            continue
        dims = graph_input.type.tensor_type.shape.dim
        if len(dims) != len(spec.shape):
            continue
        for dim, size in zip(dims, spec.shape, strict=True):
            if isinstance(size, int) and dim.WhichOneof("value") != "dim_value":
                dim.dim_value = size
                pinned = True
    if pinned:
        del model.graph.value_info[:]
        for output in model.graph.output:
            for dim in output.type.tensor_type.shape.dim:
                if dim.WhichOneof("value") == "dim_param":
                    dim.Clear()


def _simplified(model: Any, fuse: bool = True) -> Any:
    """Folds constants and removes what does nothing; the model itself where onnxsim cannot read it."""
    import onnxsim

    try:
        simplified, _ = onnxsim.simplify(model, perform_optimization=fuse, certify=False)
    except Exception as error:
        _LOG.warning("onnxsim: %s", error)
        return model
    names = [[v.name for v in m.graph.output] for m in (model, simplified)]
    return simplified if names[0] == names[1] else model


def check(request: ConversionRequest, component: str) -> list[Finding]:
    """onnx2tf's own verdict on every operator of the model, on the shapes and attributes that it has there.

    It is taken on the model as `lower` prepares it (simplified, rewritten), so an operator that is folded away is
    none. Names that only exist after that preparation are not reported, since they are not the user's.

    Raises:
        ConversionError: The file cannot be read.
    """
    from onnx2tf import tflite_builder as builder

    signature = request_signature(request, component)
    if signature.dynamic_dims:
        signature = _probing.pinned(signature, _probing.any_sizes(signature))
    model = load_model(request, component)
    counts = Counter(_qualified(node) for node in model.graph.node)
    prepared = _prepared(model, signature)
    try:
        builder.register_default_preprocess_rules()
        gaps, rewritten = _unsupported(prepared), frozenset[str]()
        inlined, candidates = _inlined(prepared) if gaps else (None, rewritten)
        if inlined is not None:
            left = _unsupported(inlined)
            rewritten = candidates if not left.keys() - gaps.keys() else rewritten
    except (SystemExit, Exception) as error:
        raise _failure(error, component) from error
    findings = [
        Finding(
            operator,
            len(nodes),
            Verdict.GAP,
            _in_words(nodes[0]["message"]),
            tuple(n["node_name"] for n in nodes),
            hint="replace it in the model, or see `convkit plan` for another route",
        )
        for operator, nodes in sorted(gaps.items())
        if operator not in rewritten
    ]
    findings += [
        Finding(operator, len(gaps[operator]), Verdict.REWRITTEN, "replaced by its definition in the ONNX standard")
        for operator in sorted(rewritten & gaps.keys() & counts.keys())
    ]
    return findings + [Finding(o, n, Verdict.LEGAL) for o, n in sorted(counts.items()) if o not in gaps]


def _qualified(node: Any) -> str:
    return str(node.op_type if node.domain in _DEFAULT_DOMAINS else f"{node.domain}::{node.op_type}")


def schema() -> dict[str, Any]:
    """The LiteRT schema classes that the writer asks for; onnx2tf executes their 676 kB source anew for each output folder."""
    from onnx2tf.tflite_builder.schema import schema_generated

    module: ModuleType = schema_generated
    return vars(module)


def lower(model: Any, signature: Signature, component: str) -> tuple[Any, tuple[str, ...]]:
    """Lowers an ONNX model to a float32 `ModelIR` whose inputs and outputs are those of the signature.

    Args:
        model: An `onnx.ModelProto` from `load_model`; not changed.
        signature: What the edge must look like.
        component: The converter that errors name.

    Returns:
        The `ModelIR`, and what was changed at its edge, one sentence each.

    Raises:
        ConversionError: An operator has no builder, or the signature cannot be kept.
    """
    ir = None
    if signature.dynamic_dims:
        try:
            probes = [_probing.pinned(signature, sizes) for sizes in _probing.probe_sizes(signature)]
            ir = _probing.merge(*(_lowered(model, probe, component) for probe in probes))
        except (_probing.NotUniformError, ConversionError) as error:
            _LOG.warning("two static lowerings cannot be merged: %s", error)
    if ir is None:
        ir = _lowered(model, signature, component)
    widen_integers(ir)
    notes = keep_signature(ir, signature, component)
    _check(ir, component)
    return ir, notes


def _prepared(model: Any, signature: Signature) -> Any:
    """A simplified copy with the signature's static sizes."""
    import onnx

    prepared = onnx.ModelProto()
    prepared.CopyFrom(model)
    _set_input_shapes(prepared, signature)
    _plain_constants(prepared.graph)
    return _simplified(prepared)


def _lowered(model: Any, signature: Signature, component: str) -> Any:
    """onnx2tf's own chain, in the order of its `export_tflite_model_flatbuffer_direct`."""
    from onnx2tf import tflite_builder as builder

    prepared = _prepared(model, signature)
    flatten_outputs(prepared.graph)
    try:
        builder.register_default_preprocess_rules()
        try:
            ir = _lower_prepared(prepared)
        except NotImplementedError:
            inlined, _ = _inlined(prepared)
            if inlined is None:
                raise
            ir = _lower_prepared(inlined)
        # LiteRT's recurrent operators keep their state from one run to the next (measured: the second run of an LSTM was off by
        # 6e-4), with one row per sample, which no resize reaches; and onnx2tf reads ONNX's Y_h out of it, as zeros.
        ir, _ = builder.rewrite_model_ir_unroll_recurrent_ops(model_ir=ir)
        ir = builder.clone_model_ir_with_float32(ir)
        builder.prune_identity_cast_operators(ir, preserve_model_outputs=True)
        builder.optimize_redundant_transpose_operators(ir, preserve_model_outputs=True)
    except (SystemExit, Exception) as error:
        raise _failure(error, component) from error
    return ir


def _lower_prepared(model: Any) -> Any:
    """Raises NotImplementedError for an operator that has no builder, or that its builder refuses."""
    from onnx2tf import tflite_builder as builder

    model, _ = builder.run_preprocess_pipeline(onnx_graph=model)
    return builder.lower_onnx_to_ir(onnx_graph=model, output_file_name="model", transpose_inputs_to_nhwc=False)


def _unsupported(model: Any) -> dict[str, list[dict[str, Any]]]:
    """onnx2tf's own complaints on a model, by operator."""
    from onnx2tf import tflite_builder as builder

    model, _ = builder.run_preprocess_pipeline(onnx_graph=model)
    report = builder.build_op_coverage_report(onnx_graph=model, output_file_name="model")
    gaps: dict[str, list[dict[str, Any]]] = {}
    for node in report["unsupported_nodes"]:
        gaps.setdefault(str(node.get("onnx_op") or node.get("node_op") or "?"), []).append(node)
    for operator, node in _known_failures(model):
        gaps.setdefault(operator, []).append(node)
    return gaps


def _known_failures(model: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """What onnx2tf 2.6.9 calls supported, and writes wrong or so that LiteRT does not run it, in the form of its report."""
    for node in model.graph.node:
        if node.op_type == "MaxPool" and len(node.output) > 1 and node.output[1]:
            yield node.op_type, {"node_name": node.name, "message": "its indices do not count as ONNX's do"}
    for output in model.graph.output:
        if any(dim.HasField("dim_value") and dim.dim_value == 0 for dim in output.type.tensor_type.shape.dim):
            message = f"the output '{output.name}' is an empty tensor, which LiteRT does not hand out"
            yield (
                next(n.op_type for n in model.graph.node if output.name in n.output),
                {"node_name": output.name, "message": message},
            )


def _inlined(model: Any) -> tuple[Any | None, frozenset[str]]:
    """The model with ONNX's own definition in place of each operator that onnx2tf does not lower, and which those were.

    The definition is the function body of the operator's schema; None where no unsupported operator has one.
    """
    import onnx

    version = next((o.version for o in model.opset_import if o.domain in _DEFAULT_DOMAINS), 0)
    names: set[str] = set()
    current = onnx.ModelProto()
    current.CopyFrom(model)
    for _ in range(_DEPTH):  # a definition can use operators that need theirs
        found = {operator for operator in _unsupported(current) if _has_definition(operator, version)}
        if not found:
            break
        names |= found
        ids = [(domain, operator) for domain in _DEFAULT_DOMAINS for operator in sorted(found)]
        # The inliner asks for the types of all operands, and has none of weights.
        known = {v.name for v in current.graph.value_info}
        for weight in current.graph.initializer:
            if weight.name not in known:
                info = onnx.helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims)
                current.graph.value_info.append(info)
        current = onnx.inliner.inline_selected_functions(current, ids, inline_schema_functions=True)
        _plain_constants(current.graph)
        current = _simplified(current, fuse=False)  # the optimiser would fuse the definition into the operator again
    return (current if names else None), frozenset(names)


def _plain_constants(graph: Any) -> None:
    """Constants as tensors: onnx2tf reads no `value_float`, `value_ints` and their kin."""
    import numpy as np
    from onnx import helper, numpy_helper

    kinds = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
    for node in graph.node:
        if node.op_type == "Constant" and (kind := kinds.get(node.attribute[0].name)) is not None:
            tensor = numpy_helper.from_array(np.asarray(helper.get_attribute_value(node.attribute[0]), kind))
            del node.attribute[:]
            node.attribute.append(helper.make_attribute("value", tensor))


def _has_definition(operator: str, version: int) -> bool:
    import onnx

    try:
        schema = onnx.defs.get_schema(operator, version)
    except onnx.defs.SchemaError:
        return False
    return bool(schema.has_function or schema.has_context_dependent_function)


def _check(ir: Any, component: str) -> None:
    from onnx2tf import tflite_builder as builder

    _reject_custom_operators(ir, component)
    try:
        builder.run_model_ir_validation_pipeline(ir)
    except Exception as error:
        raise _failure(error, component) from error


def _reject_custom_operators(ir: Any, component: str) -> None:
    custom = {
        str(op.options.get("customCode", "CUSTOM"))
        for graph in (ir, *ir.subgraphs)
        for op in graph.operators
        if op.op_type == "CUSTOM"
    }
    if custom:
        raise ConversionError(
            "the output would hold custom operators that no runtime has: " + ", ".join(sorted(custom)), component=component
        )


# onnx2tf proposes a custom operator here, which no runtime would have.
_CUSTOM_ONLY = re.compile(r"custom-op candidate.*\bop=(\w+)")


def _in_words(message: str) -> str:
    """onnx2tf's message, without its advice to write custom operators."""
    if match := _CUSTOM_ONLY.search(message):
        return f"it has no builtin form for the model's {match[1]} (as it is used there: dynamic shapes, optional inputs)"
    return message


def _failure(error: BaseException, component: str) -> ConversionError:
    causes = [error]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    text = " ".join(str(causes[-1]).split()) or type(causes[-1]).__name__
    return ConversionError(
        f"onnx2tf cannot lower the model: {_in_words(text)[:600]}",
        component=component,
        hint="dynamic dimensions can be fixed at the sizes of real inputs: --option static=true --inputs data.npz",
    )
