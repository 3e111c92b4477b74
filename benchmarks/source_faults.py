"""Faults planted into models that are no ONNX files: exported programs, LiteRT files, SavedModels and TF.js graphs.

A planter reads a sound model and offers faults: what is wrong, at which operator (as the tracer of the format calls it, or how
that name ends), and a function that writes the faulty model. What stands before and behind the operator stays right.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["PLANTERS", "Fault"]


@dataclass(frozen=True)
class Fault:
    """One thing that can be made wrong.

    Attributes:
        kind: "corrupted_weight", ….
        operator: The guilty operator.
        write: Writes the faulty model to a path that does not exist.
    """

    kind: str
    operator: str
    write: Callable[[Path], None]


def _corrupted(array: np.ndarray) -> np.ndarray:
    """Weights of which one element is far off."""
    changed = np.array(array)
    changed.reshape(-1)[changed.size // 3] += 3 * np.abs(changed).max()
    return changed


# Exported programs. ------------------------------------------------------------------------------------------------------------


def of_program(path: Path) -> Iterator[Fault]:
    """Faults of a `.pt2`: weights, epsilons, axes, approximations, activations, operands, residuals."""
    import torch

    program = torch.export.load(path)
    weights = {**program.graph_signature.inputs_to_parameters, **program.graph_signature.inputs_to_buffers}
    for node in program.graph.nodes:
        if node.op == "call_function":
            for kind, (operators, change) in _PROGRAM_KINDS.items():
                if _operator(node) in operators and change(torch.export.load(path), node.name, weights):
                    yield Fault(kind, node.name, lambda out, c=change, n=node.name: _save_program(path, out, c, n, weights))


def _save_program(path: Path, out: Path, change: Callable[..., bool], name: str, weights: dict[str, str]) -> None:
    import torch

    program = torch.export.load(path)
    assert change(program, name, weights)
    program.graph_module.recompile()
    torch.export.save(program, out)


def _operator(node: Any) -> str:
    return f"{node.target}.".split(".")[1]


def _node(program: Any, name: str) -> Any:
    return next(n for n in program.graph.nodes if n.name == name)


def _weight_of(program: Any, name: str, weights: dict[str, str]) -> bool:
    import torch

    node = _node(program, name)
    given = node.args[2][0] if _operator(node) == "lstm" else node.args[1]
    held = weights.get(getattr(given, "name", ""))
    if held is None:
        return False
    program.state_dict[held].data.copy_(torch.from_numpy(_corrupted(program.state_dict[held].detach().numpy())))
    return True


def _epsilon_of(program: Any, name: str, _: dict[str, str]) -> bool:
    node = _node(program, name)
    place = {"layer_norm": 4, "batch_norm": 7}[_operator(node)]
    arguments = [*node.args, *[None] * (place - len(node.args)), 1e-1] if len(node.args) <= place else [*node.args]
    arguments[place] = 1e-1
    node.args = tuple(arguments)
    return True


def _approximation_of(program: Any, name: str, _: dict[str, str]) -> bool:
    node = _node(program, name)
    node.kwargs = {**node.kwargs, "approximate": "tanh"}
    return True


def _activation_of(program: Any, name: str, _: dict[str, str]) -> bool:
    import torch

    _node(program, name).target = torch.ops.aten.elu.default
    return True


def _residual_of(program: Any, name: str, weights: dict[str, str]) -> bool:
    import torch

    node = _node(program, name)
    if any(getattr(a, "op", "") != "call_function" for a in node.args[:2]):
        return False
    if node.args[0].meta["val"].shape != node.args[1].meta["val"].shape:
        return False
    node.target, node.args, node.kwargs = torch.ops.aten.clone.default, (node.args[1],), {}
    return True


def _pooling_of(program: Any, name: str, _: dict[str, str]) -> bool:
    import torch

    node = _node(program, name)
    if len(node.args) > 3:
        return False
    node.target = torch.ops.aten.avg_pool2d.default
    return True


_PROGRAM_KINDS: dict[str, tuple[set[str], Callable[[Any, str, dict[str, str]], bool]]] = {
    "corrupted_weight": ({"conv1d", "conv2d", "linear", "lstm"}, _weight_of),
    "epsilon": ({"layer_norm", "batch_norm"}, _epsilon_of),
    "tanh_gelu": ({"gelu"}, _approximation_of),
    "wrong_activation": ({"relu", "relu_"}, _activation_of),
    "dropped_residual": ({"add", "add_"}, _residual_of),
    "wrong_pooling": ({"max_pool2d"}, _pooling_of),
}
"""The operators that a kind of fault is for, and what makes it."""


# LiteRT. -----------------------------------------------------------------------------------------------------------------------


def of_litert(path: Path) -> Iterator[Fault]:
    """Faults of the first subgraph of a `.tflite`: weights, other operators, activations that are fused."""
    from ai_edge_litert import schema_py_generated as schema

    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    model = _read_litert(path)
    graph = model.subgraphs[0]
    for index, operator in enumerate(graph.operators):
        kind = names[_code(model, operator)]
        guilty = graph.tensors[operator.outputs[0]].name.decode()
        if kind in {"CONV_2D", "FULLY_CONNECTED", "DEPTHWISE_CONV_2D"}:
            weight = operator.inputs[1]
            alone = sum(weight in o.inputs for o in graph.operators) == 1  # unrolled layers share theirs
            data = model.buffers[graph.tensors[weight].buffer].data
            if alone and data is not None and graph.tensors[weight].type == schema.TensorType.FLOAT32:
                yield Fault("corrupted_weight", guilty, lambda out, i=index: _write_litert(path, out, i, _spoil_litert))
            if operator.builtinOptions.fusedActivationFunction == schema.ActivationFunctionType.RELU:
                yield Fault("lost_activation", guilty, lambda out, i=index: _write_litert(path, out, i, _unfuse_litert))
        other = _OTHER_LITERT.get(kind)
        if other is not None and not _is_integer_litert(schema, graph, operator):
            code = getattr(schema.BuiltinOperator, other[1])
            yield Fault(other[0], guilty, lambda out, i=index, c=code: _write_litert(path, out, i, _recode_litert(c)))


_OTHER_LITERT = {
    "LOGISTIC": ("wrong_activation", "TANH"),
    "MAX_POOL_2D": ("wrong_pooling", "AVERAGE_POOL_2D"),
    "RELU": ("wrong_activation", "RELU6"),
    "SQUARED_DIFFERENCE": ("wrong_arithmetic", "MAXIMUM"),
    "RSQRT": ("wrong_activation", "SQRT"),
}
"""Operators that take the same operands and options, and what fault that is."""


def _read_litert(path: Path) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)


def _code(model: Any, operator: Any) -> int:
    code = model.operatorCodes[operator.opcodeIndex]
    return max(code.builtinCode, code.deprecatedBuiltinCode)


def _is_integer_litert(schema: Any, graph: Any, operator: Any) -> bool:
    return graph.tensors[operator.outputs[0]].type != schema.TensorType.FLOAT32


def _write_litert(path: Path, out: Path, index: int, change: Callable[[Any, Any], None]) -> None:
    import flatbuffers

    model = _read_litert(path)
    change(model, model.subgraphs[0].operators[index])
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    out.write_bytes(bytes(builder.Output()))


def _spoil_litert(model: Any, operator: Any) -> None:
    """Another buffer for the weights: others may share the old one."""
    from ai_edge_litert import schema_py_generated as schema

    tensor = model.subgraphs[0].tensors[operator.inputs[1]]
    weight = np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.float32)
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(_corrupted(weight).tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor.buffer = len(model.buffers) - 1


def _unfuse_litert(_: Any, operator: Any) -> None:
    operator.builtinOptions.fusedActivationFunction = 0


def _recode_litert(code: int) -> Callable[[Any, Any], None]:
    def change(model: Any, operator: Any) -> None:
        from ai_edge_litert import schema_py_generated as schema

        made = schema.OperatorCodeT()
        made.builtinCode, made.deprecatedBuiltinCode, made.version = code, min(code, 127), 1
        model.operatorCodes.append(made)
        operator.opcodeIndex = len(model.operatorCodes) - 1

    return change


# SavedModels. ------------------------------------------------------------------------------------------------------------------

_OTHER_TENSORFLOW = {
    "Relu": ("wrong_activation", "Elu"),
    "Tanh": ("wrong_activation", "Sigmoid"),
    "Erf": ("tanh_gelu", "Tanh"),
    "Sub": ("swapped_operands", "Sub"),
    "BiasAdd": ("dropped_bias", "Identity"),
    "AddV2": ("dropped_residual", "Identity"),
}


def of_savedmodel(path: Path) -> Iterator[Fault]:
    """Faults in the functions of a SavedModel, but for those that its loops call; its variables stay as they are."""
    model = _read_savedmodel(path)
    for place, function in enumerate(model.meta_graphs[0].graph_def.library.function):
        if "wrapper" in function.signature.name or "while" in function.signature.name or "traced" in function.signature.name:
            continue
        for index, node in enumerate(function.node_def):
            fault = _tensorflow_fault(node)
            # The statistics of a norm are constants: converters compute them, so that nothing shows their operators.
            if fault is not None and not ("/batchnorm/" in node.name and node.op == "Sub"):
                kind, change = fault
                yield Fault(kind, node.name, lambda out, p=place, i=index, c=change: _write_savedmodel(path, out, p, i, c))


def _tensorflow_fault(node: Any) -> tuple[str, Callable[[Any], None]] | None:
    if node.op not in _OTHER_TENSORFLOW or node.attr["T"].type != 1:
        return None
    kind, other = _OTHER_TENSORFLOW[node.op]
    # Constants have names of their own in functions: a sum with one of them is no residual.
    activations = all(":" in i and "ReadVariableOp" not in i for i in node.input)
    if kind == "dropped_residual" and (not activations or "norm" in node.name or "cell" in node.name):
        return None

    def change(found: Any) -> None:
        if kind == "swapped_operands":
            first, second = found.input[:2]
            found.input[0], found.input[1] = second, first
            return
        found.op = other
        kept = found.input[1] if kind == "dropped_residual" else found.input[0]
        del found.input[:]
        found.input.append(kept)
        for name in [n for n in found.attr if n != "T" and not n.startswith("_")]:
            del found.attr[name]

    return kind, change


def _read_savedmodel(path: Path) -> Any:
    from tensorflow.core.protobuf import saved_model_pb2

    return saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())


def _write_savedmodel(path: Path, out: Path, place: int, index: int, change: Callable[[Any], None]) -> None:
    shutil.copytree(path, out)
    (out / "fingerprint.pb").unlink(missing_ok=True)
    model = _read_savedmodel(path)
    function = model.meta_graphs[0].graph_def.library.function[place]
    node = function.node_def[index]
    outputs = f"{node.name}:z:", f"{node.name}:output:"  # what the result is called in the operators' definitions
    change(node)
    if node.op == "Identity":
        for reader in function.node_def:
            for position, name in enumerate(reader.input):
                reader.input[position] = name.replace(*outputs) if name.startswith(outputs[0]) else name
    (out / "saved_model.pb").write_bytes(model.SerializeToString())


# TF.js. ------------------------------------------------------------------------------------------------------------------------

_OTHER_TFJS = {
    "Relu": ("wrong_activation", "Elu"),
    "Tanh": ("wrong_activation", "Sigmoid"),
    "Sigmoid": ("wrong_activation", "Tanh"),
    "Erf": ("tanh_gelu", "Tanh"),
    "Rsqrt": ("wrong_activation", "Sqrt"),
}


_WEIGHTED_TFJS = {"Conv2D", "_FusedConv2D", "MatMul", "_FusedMatMul", "BatchMatMulV2"}


def of_tfjs(path: Path) -> Iterator[Fault]:
    """Faults of a TF.js graph model: its weights, other operators, operands in each other's place."""
    file = path if path.is_file() else path / "model.json"
    model = json.loads(file.read_text())
    nodes = {n["name"]: n for n in model["modelTopology"]["node"]}
    weights = {w["name"]: w for group in model["weightsManifest"] for w in group["weights"]}
    for name, node in nodes.items():
        held = weights.get(node["input"][1]) if node["op"] in _WEIGHTED_TFJS else None
        if held is not None and held["dtype"] == "float32" and "quantization" not in held:
            yield Fault("corrupted_weight", name, lambda out, h=held["name"]: _write_tfjs(file, out, h, _spoil_tfjs))
        if node["op"] in _OTHER_TFJS:
            kind, other = _OTHER_TFJS[node["op"]]
            yield Fault(kind, name, lambda out, n=name, o=other: _write_tfjs(file, out, n, _recode_tfjs(o)))
        if node["op"] == "Sub" and node["attr"].get("T", {}).get("type") == "DT_FLOAT":
            yield Fault("swapped_operands", name, lambda out, n=name: _write_tfjs(file, out, n, _swap_tfjs))


def _write_tfjs(file: Path, out: Path, name: str, change: Callable[[dict[str, Any], Path, str], None]) -> None:
    shutil.copytree(file.parent, out)
    model = json.loads(file.read_text())
    change(model, out, name)
    (out / file.name).write_text(json.dumps(model))


def _spoil_tfjs(model: dict[str, Any], directory: Path, name: str) -> None:
    for group in model["weightsManifest"]:
        offset = 0
        for weight in group["weights"]:
            width = {"float32": 4, "int32": 4, "bool": 1}[weight["dtype"]]
            size = int(np.prod(weight["shape"])) * width
            if weight["name"] == name:
                parts = [directory / p for p in group["paths"]]
                data = bytearray(b"".join(p.read_bytes() for p in parts))
                there = slice(offset, offset + size)
                data[there] = _corrupted(np.frombuffer(bytes(data[there]), np.float32)).tobytes()
                for part in parts:
                    length = part.stat().st_size
                    part.write_bytes(data[:length])
                    del data[:length]
                return
            offset += size


def _recode_tfjs(operator: str) -> Callable[[dict[str, Any], Path, str], None]:
    def change(model: dict[str, Any], _: Path, name: str) -> None:
        next(n for n in model["modelTopology"]["node"] if n["name"] == name)["op"] = operator

    return change


def _swap_tfjs(model: dict[str, Any], _: Path, name: str) -> None:
    node = next(n for n in model["modelTopology"]["node"] if n["name"] == name)
    node["input"][0], node["input"][1] = node["input"][1], node["input"][0]


PLANTERS: dict[str, Callable[[Path], Iterator[Fault]]] = {
    "pytorch": of_program,
    "litert": of_litert,
    "savedmodel": of_savedmodel,
    "tfjs": of_tfjs,
}
"""By format."""
