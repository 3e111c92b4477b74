"""TensorFlow 1's arrays of tensors as TensorFlow 2's lists, which are values and need no session's state.

`tf.map_fn` and recurrent layers of TensorFlow 1 spell them so: a handle that names the array, and a "flow" that every write hands
on so that reads come after it. The flow becomes the list itself. Semantics: control_executor.ts in
tfjs-converter/src/operations/executors, and tensorflow/python/ops/tensor_array_ops.py, which has both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

from convkit.errors import ConversionError
from convkit.loading.tfjs_bodies import Body, new_node

__all__ = ["arrays_as_lists"]

_ARRAY = "TensorArrayV3"
_PASSING = frozenset({"Enter", "Exit", "Identity", "Merge", "NextIteration", "RefEnter", "Switch"})


def arrays_as_lists(body: Body) -> None:
    """Rewrites every array of a body.

    Raises:
        ConversionError: naming an operator that lists do not have.
    """
    if any(node.op == _ARRAY for node in body.nodes.values()):
        _Arrays(body).rewrite()


class _Arrays:
    def __init__(self, body: Body) -> None:
        self._body = body
        self._shapes = {array: shape for node in self._of("TensorArrayGatherV3") for array, shape in self._stacked(node)}

    def rewrite(self) -> None:
        for name in list(self._body.nodes):
            node = self._body.nodes[name]
            if (replacement := self._replacements.get(node.op)) is not None:
                operator, inputs = replacement(self, node)
                self._body.nodes[name] = self._list_node(node, operator, inputs)
            elif node.op.startswith("TensorArray"):
                raise ConversionError(f"the {node.op} {name!r} has no counterpart for lists of tensors")
        self._type_flows()

    def _of(self, *operators: str) -> Iterator[Any]:
        return (node for node in self._body.nodes.values() if node.op in operators)

    def _stacked(self, gather: Any) -> Iterator[tuple[str, list[int] | None]]:
        """The array that is gathered, and the shape that its elements are said to have there."""
        yield self._array(gather.input[0]), _sizes(gather)

    def _array(self, handle: str) -> str:
        """The node that made the array of a handle, which enters loops as it is."""
        for _ in range(len(self._body.nodes)):
            node = self._body.nodes[handle.partition(":")[0]]
            if node.op not in _PASSING:
                return str(node.name)
            handle = node.input[0]
        raise ConversionError(f"the handle {handle!r} comes from itself")

    def _make(self, node: Any) -> tuple[str, list[str]]:
        self._body.redirect(f"{node.name}:1", f"{node.name}:0")
        shape = _sizes(node)
        return "TensorListReserve", [self._shape(node, self._shapes.get(node.name) if shape is None else shape), node.input[0]]

    def _write(self, node: Any) -> tuple[str, list[str]]:
        _, index, value, flow = node.input[:4]
        return "TensorListSetItem", [flow, index, value]

    def _read(self, node: Any) -> tuple[str, list[str]]:
        _, index, flow = node.input[:3]
        return "TensorListGetItem", [flow, index, self._shape(node, None)]

    def _gather(self, node: Any) -> tuple[str, list[str]]:
        _, indices, flow = node.input[:3]
        shape = self._shape(node, _sizes(node))
        return ("TensorListStack", [flow, shape]) if self._is_all(indices) else ("TensorListGather", [flow, indices, shape])

    def _scatter(self, node: Any) -> tuple[str, list[str]]:
        _, indices, value, flow = node.input[:4]
        if self._is_all(indices):
            return "TensorListFromTensor", [value, self._shape(node, None)]
        return "TensorListScatterIntoExistingList", [flow, value, indices]

    def _length(self, node: Any) -> tuple[str, list[str]]:
        return "TensorListLength", [node.input[1]]

    def _close(self, node: Any) -> tuple[str, list[str]]:
        return "NoOp", [f"^{reference.partition(':')[0].lstrip('^')}" for reference in node.input]

    def _is_all(self, indices: str) -> bool:
        """Whether indices are all of them in order, as `stack` and `unstack` have it: a range from 0 in steps of 1."""
        node = self._body.nodes[indices.partition(":")[0]]
        return node.op == "Range" and [self._number(node.input[0]), self._number(node.input[2])] == [0, 1]

    def _number(self, reference: str) -> int | None:
        import tensorflow as tf

        node = self._body.nodes[reference.partition(":")[0]]
        return int(tf.make_ndarray(node.attr["value"].tensor)) if node.op == "Const" else None

    def _shape(self, node: Any, sizes: Sequence[int] | None) -> str:
        """A constant that says the shape of an array's elements; a scalar -1 is any."""
        import numpy as np
        import tensorflow as tf

        name = self._body.free_name(f"{node.name}/element_shape")
        made = new_node(name, "Const", [])
        value = np.array(-1 if sizes is None else sizes, np.int32)
        made.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
        made.attr["dtype"].type = made.attr["value"].tensor.dtype
        self._body.nodes[name] = made
        return f"{name}:0"

    def _list_node(self, node: Any, operator: str, inputs: Sequence[str]) -> Any:
        """The node of a list in the place of that of an array, with the attributes that its operator has."""
        from tensorflow.core.framework import types_pb2
        from tensorflow.python.framework import op_def_registry

        made = new_node(node.name, operator, [*inputs, *(i for i in node.input if i.startswith("^") and i not in inputs)])
        known = {attribute.name for attribute in op_def_registry.get(operator).attr}
        if "element_dtype" in known:
            made.attr["element_dtype"].type = node.attr["dtype"].type or node.attr["T"].type
        if "shape_type" in known:
            made.attr["shape_type"].type = types_pb2.DT_INT32
        if "num_elements" in known:
            made.attr["num_elements"].i = -1
        if "resize_if_index_out_of_bounds" in known:
            array = self._body.nodes.get(self._array(node.input[0]))
            made.attr["resize_if_index_out_of_bounds"].b = array is not None and array.attr["dynamic_size"].b
        return made

    def _type_flows(self) -> None:
        """Gives the nodes that pass lists on their dtype."""
        from tensorflow.core.framework import types_pb2

        lists = {n.name for n in self._of("TensorListReserve", "TensorListSetItem", "TensorListFromTensor")}
        lists |= {n.name for n in self._of("TensorListScatterIntoExistingList")}
        pending = True
        while pending:
            passing = [n for n in self._of(*_PASSING) if n.name not in lists and _data(n) & lists]
            pending = bool(passing)
            for node in passing:
                node.attr["T"].type = types_pb2.DT_VARIANT
                lists.add(node.name)

    _replacements: ClassVar[dict[str, Callable[[_Arrays, Any], tuple[str, list[str]]]]] = {
        _ARRAY: _make,
        "TensorArrayWriteV3": _write,
        "TensorArrayReadV3": _read,
        "TensorArrayGatherV3": _gather,
        "TensorArrayScatterV3": _scatter,
        "TensorArraySizeV3": _length,
        "TensorArrayCloseV3": _close,
    }


def _data(node: Any) -> set[str]:
    return {reference.partition(":")[0] for reference in node.input if not reference.startswith("^")}


def _sizes(node: Any) -> list[int] | None:
    """The attribute `element_shape`, None where it says nothing."""
    if "element_shape" not in node.attr or node.attr["element_shape"].shape.unknown_rank:
        return None
    return [dim.size for dim in node.attr["element_shape"].shape.dim]
