"""Small ONNX models for tests, and what ONNX Runtime, the reference, and the importers compute with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from convkit.legalization.onnx import preparation
from convkit.legalization.onnx.rewriting import legalize

Feeds = Mapping[str, np.ndarray]


def node_model(
    operator: str,
    inputs: Mapping[str, np.ndarray],
    constants: Mapping[str, np.ndarray] | None = None,
    *,
    order: Sequence[str] | None = None,
    outputs: int = 1,
    opset: int = 21,
    domain: str = "",
    dynamic: Mapping[str, Mapping[int, str]] | None = None,
    **attributes: Any,
) -> onnx.ModelProto:
    """A model of one node.

    Args:
        operator: For example "Conv".
        inputs: What is fed at run time: name → an example of its dtype and shape.
        constants: What the model holds itself.
        order: The node's inputs in order ("" leaves an optional one out); inputs, then constants, by default.
        dynamic: Input name → axis → symbol.
    """
    constants = constants or {}
    names = list(order) if order is not None else [*inputs, *constants]
    results = [f"y{k}" for k in range(outputs)]
    node = helper.make_node(operator, names, results, name=f"the_{operator.lower()}", domain=domain, **attributes)
    infos = []
    for name, array in inputs.items():
        symbols = (dynamic or {}).get(name, {})
        shape = [symbols.get(axis, size) for axis, size in enumerate(array.shape)]
        infos.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), shape))
    initializers = [numpy_helper.from_array(np.asarray(a), n) for n, a in constants.items()]
    undeclared = [helper.make_empty_tensor_value_info(name) for name in results]
    graph = helper.make_graph([node], "one", infos, undeclared, initializers)
    imports = [helper.make_opsetid("", opset)]
    if domain:
        imports.append(helper.make_opsetid(domain, onnx.defs.onnx_opset_version() if domain == "" else 3))
    model = helper.make_model(graph, opset_imports=imports, ir_version=10)
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    for output in inferred.graph.output:
        if not output.type.tensor_type.elem_type:
            output.type.tensor_type.elem_type = TensorProto.FLOAT
    return inferred


def onnx_runtime(model: onnx.ModelProto, feeds: Feeds) -> list[np.ndarray]:
    """What ONNX Runtime computes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(feeds)))


def pytorch(model: onnx.ModelProto, feeds: Feeds, smallest: int = 1) -> list[np.ndarray]:
    """What the PyTorch importer computes, through torch.export with the model's dynamic dimensions of at least `smallest`."""
    return pytorch_function(model, feeds, smallest)(feeds)


def pytorch_function(model: onnx.ModelProto, feeds: Feeds, smallest: int = 1) -> Callable[[Feeds], list[np.ndarray]]:
    """The PyTorch importer's exported program, traced with `feeds`, to be run on these or on feeds of other sizes."""
    import torch
    from torch.fx.experimental import _config

    from convkit.interpreters.pytorch.importer import OnnxModule
    from convkit.interpreters.pytorch.table import operators

    imported = preparation.prepared(ir.from_proto(model))
    legalize(imported, operators())

    def as_tensors(given: Feeds) -> tuple[Any, ...]:
        return tuple(torch.from_numpy(np.array(given[v.name], order="C", ndmin=given[v.name].ndim)) for v in model.graph.input)

    tensors = as_tensors(feeds)
    dims: dict[str, Any] = {}
    shapes = tuple(
        {
            axis: dims.setdefault(d.dim_param, torch.export.Dim(d.dim_param, min=min(smallest, feeds[v.name].shape[axis])))
            for axis, d in enumerate(v.type.tensor_type.shape.dim)
            if d.dim_param
        }
        for v in model.graph.input
    )
    module, wanted = OnnxModule(imported).eval(), {"inputs": shapes} if dims else None
    with torch.no_grad():
        try:
            program = torch.export.export(module, tensors, dynamic_shapes=wanted, strict=False)
        except torch._dynamo.exc.UserError:  # the second attempt of convkit.loading.pytorch_capture
            with _config.patch(backed_size_oblivious=True):
                program = torch.export.export(module, tensors, dynamic_shapes=wanted, strict=False)
        run = program.module()
    return lambda given: [result.numpy() for result in run(*as_tensors(given))]


def tensorflow(model: onnx.ModelProto, feeds: Feeds) -> list[np.ndarray]:
    """What the TensorFlow importer computes, in a graph traced at the model's dynamic dimensions."""
    import tensorflow as tf

    from convkit.interpreters.tensorflow.importer import OnnxFunction
    from convkit.interpreters.tensorflow.table import operators

    imported = preparation.prepared(ir.from_proto(model))
    legalize(imported, operators())
    function = OnnxFunction(imported)
    specs = [
        tf.TensorSpec(
            [d.dim_value if d.HasField("dim_value") else None for d in v.type.tensor_type.shape.dim], feeds[v.name].dtype
        )
        for v in model.graph.input
    ]
    traced = tf.function(lambda *inputs: function(*inputs), input_signature=specs, autograph=False)
    return [result.numpy() for result in traced(*(tf.constant(feeds[v.name]) for v in model.graph.input))]


def assert_agree(got: Sequence[np.ndarray], wanted: Sequence[np.ndarray], tolerance: float = 1e-5) -> None:
    """Same number, shapes and dtypes; values within `tolerance` of the wanted one's scale, integers equal."""
    assert len(got) == len(wanted)
    for mine, theirs in zip(got, wanted, strict=True):
        assert mine.shape == theirs.shape
        assert mine.dtype == theirs.dtype
        if theirs.dtype.kind in "fc":
            scale = float(np.abs(np.nan_to_num(theirs)).max(initial=0)) or 1.0
            np.testing.assert_allclose(mine, theirs, rtol=0, atol=tolerance * scale)
        else:
            np.testing.assert_array_equal(mine, theirs)


def detector_grid() -> onnx.ModelProto:
    """Anchors of a detector: a size becomes a float, is divided, and counted up to."""
    return onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]> g (float[n,m] x) => (float[k] y)
        <float two = {2}, float zero = {0}, float one = {1}, float half = {0.5}> {
            size = Shape <start = 1> (x)
            scalar = Squeeze (size)
            real = Cast <to = 1> (scalar)
            double = Mul (real, two)
            part = Div (double, two)
            r = Range (zero, part, one)
            y = Add (r, half)
        }"""
    )
