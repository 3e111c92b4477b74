"""TF.js's dtypes put into a graph: every real is float32, every integer int32.

A topology names the dtypes of the model that was converted (int64 indices, float16 weights), which TF.js reads as its own
(tfjs-converter/src/operations/operation_mapper.ts, parseDtypeParam). Where a TensorFlow operator knows no such dtype, as `Where`
gives int64 and nothing else, casts stand around it.
"""

from __future__ import annotations

from typing import Any

from convkit.loading.tfjs_bodies import Body, arguments

__all__ = ["adapt_dtypes", "narrow_signature", "narrowed"]

_REALS = ("DT_HALF", "DT_DOUBLE", "DT_BFLOAT16")
_INTEGERS = ("DT_INT64", "DT_INT16", "DT_INT8", "DT_UINT8", "DT_UINT16", "DT_UINT32", "DT_UINT64")


def narrowed(dtype: int) -> int:
    """The DataType that TF.js computes in for one of the proto's."""
    from tensorflow.core.framework import types_pb2

    name = types_pb2.DataType.Name(dtype)
    if name in _REALS:
        return int(types_pb2.DT_FLOAT)
    if name in _INTEGERS:
        return int(types_pb2.DT_INT32)
    return int(types_pb2.DT_COMPLEX64) if name == "DT_COMPLEX128" else dtype


def adapt_dtypes(body: Body) -> None:
    """Narrows the dtypes of all nodes, and puts casts where an operator has to keep a wider one."""
    for node in list(body.nodes.values()):
        if node.op != "Const":
            _narrow_attributes(node)
            _cast_inputs(body, node)
            _cast_outputs(body, node)


def narrow_signature(function: Any) -> None:
    """Narrows the dtypes of a FunctionDef's arguments and results."""
    for argument in (*function.signature.input_arg, *function.signature.output_arg):
        argument.type = narrowed(argument.type)
    function.arg_attr.clear()


def _definition(node: Any) -> Any:
    from tensorflow.python.framework import op_def_registry

    return op_def_registry.get(node.op)


def _narrow_attributes(node: Any) -> None:
    for attribute in _definition(node).attr:
        allowed = attribute.allowed_values.list.type
        if attribute.type == "type":
            present = node.attr[attribute.name].type if attribute.name in node.attr else attribute.default_value.type
            if present and (not allowed or narrowed(present) in allowed):
                node.attr[attribute.name].type = narrowed(present)
        elif attribute.type == "list(type)" and attribute.name in node.attr:
            types = node.attr[attribute.name].list.type
            types[:] = [narrowed(dtype) for dtype in types]


def _cast_inputs(body: Body, node: Any) -> None:
    wanted = arguments(node, _definition(node).input_arg)
    for position, argument in enumerate(wanted):
        if position < len(node.input) and narrowed(argument.dtype) != argument.dtype:
            name = body.free_name(f"{node.name}/input_{position}")
            body.nodes[name] = _cast(name, node.input[position], narrowed(argument.dtype), argument.dtype)
            node.input[position] = f"{name}:0"


def _cast_outputs(body: Body, node: Any) -> None:
    for position, argument in enumerate(arguments(node, _definition(node).output_arg)):
        if narrowed(argument.dtype) != argument.dtype:
            name = body.free_name(f"{node.name}/output_{position}")
            given = f"{node.name}:{position}"
            body.nodes[name] = _cast(name, f"{given}", argument.dtype, narrowed(argument.dtype))
            body.redirect(given, f"{name}:0")


def _cast(name: str, source: str, given: int, wanted: int) -> Any:
    from tensorflow.core.framework import node_def_pb2

    node = node_def_pb2.NodeDef(name=name, op="Cast", input=[source])
    node.attr["SrcT"].type = given
    node.attr["DstT"].type = wanted
    return node
