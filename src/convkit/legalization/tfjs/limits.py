"""Where an operator that TF.js knows falls short: dtypes, ranks and attributes that its kernels do not compute.

Read from the executors (tfjs-converter/src/operations/executors) and measured on the cpu backend.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from convkit.legalization.target import Finding, Verdict
from convkit.legalization.tfjs.retracing import Retraced
from convkit.legalization.tfjs.target import TensorFlowJs, target

__all__ = ["Weakness", "gaps", "source_of", "weaknesses"]

_HINT = "replace it in the model, or convert to another format"
_FREE = frozenset(("Placeholder", "Const", "NoOp", "While", "StatelessWhile", "If", "StatelessIf", "Identity", "IdentityN"))


_REFERENCE = "cpu"
_HELD = frozenset(("float32", "int32", "int64", "bool", "string", "complex64", "variant"))
"""int64 is what some operators give whatever they are asked for; a cast follows, and TF.js has int32 all along."""

# Where an operator's data is not its first input.
_DATA = {"SelectV2": 1, "ScatterNd": 1, "Conv2DBackpropInput": 1, "Split": 1, "Bincount": 2, "DenseBincount": 2, "Fill": 1}


def gaps(retraced: Retraced) -> list[Finding]:
    """Every operator of a traced function that TF.js does not run, by its place in the source."""
    found: dict[tuple[str, str], list[str]] = {}
    for operation in _operations(retraced.function):
        reason = trouble(operation)
        if reason:
            operator, place = source_of(operation.name, retraced)
            if operator != operation.type and operator:
                reason = f"it needs {operation.type}: {reason}"
            found.setdefault((operator or operation.type, reason), []).append(place)
    return [
        Finding(operator, len(set(places)), Verdict.GAP, reason, tuple(dict.fromkeys(places)), _HINT)
        for (operator, reason), places in sorted(found.items())
    ]


@dataclass(frozen=True)
class Weakness:
    """An operator that the reference backend runs, and that others do not run, or not rightly.

    Attributes:
        operator: Of the source's graph.
        what: The operator of TF.js that stands for it, and what of it is meant.
        how: What goes wrong.
        backends: Where.
        places: The source's nodes.
    """

    operator: str
    what: str
    how: str
    backends: tuple[str, ...]
    places: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        """One clause, for a finding about the operator."""
        return f"{self.what} {self.how} on the backend{'s' if len(self.backends) > 1 else ''} {' and '.join(self.backends)}"

    def __str__(self) -> str:
        others = ": run the model on another" if _REFERENCE not in self.backends else ""
        return self.reason.replace(self.what, f"{self.what} ({_listed(self.places)})", 1) + others


def weaknesses(retraced: Retraced) -> list[Weakness]:
    """What backends lack or get wrong of a traced function."""
    known = target()
    found: dict[tuple[str, str, str, tuple[str, ...]], list[str]] = {}
    for operation in _operations(retraced.function):
        operator, place = source_of(operation.name, retraced)
        for what, how, backends in _weaknesses(operation, known):
            found.setdefault((operator or operation.type, what, how, backends), []).append(place)
    return [Weakness(*key, tuple(dict.fromkeys(places))) for key, places in sorted(found.items())]


def _weaknesses(operation: Any, known: TensorFlowJs) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    dtype, rank = _data(operation)
    lacking = known.lacking(operation.type)
    if lacking:
        yield operation.type, "has no kernel", lacking
    for backend in known.wrong:
        if backend not in (_REFERENCE, *lacking) and known.trouble(backend, operation.type, dtype, rank):
            yield f"{operation.type} of {dtype}", "goes wrong", (backend,)
    careless = tuple(backend for backend, operators in known.empty.items() if operation.type in operators)
    if careless and _may_reduce_nothing(operation):
        yield f"{operation.type} along a dynamic dimension", "is wrong, where that is empty,", careless


_TRANSPOSED = {"MatMul": "transpose_a", "BatchMatMul": "adj_x", "BatchMatMulV2": "adj_x"}


def _may_reduce_nothing(operation: Any) -> bool:
    """Whether the dimensions that an operation sums over may have no elements, while its result has."""
    import tensorflow as tf

    shape = operation.inputs[0].shape if operation.inputs else tf.TensorShape([])
    if (transposed := _TRANSPOSED.get(operation.type)) is not None:
        return shape.rank is None or shape[-2 if operation.get_attr(transposed) else -1] is None
    if len(operation.inputs) != 2 or "keep_dims" not in operation.node_def.attr:
        return False
    axes = tf.get_static_value(operation.inputs[1])
    return shape.rank is None or axes is None or any(shape[int(axis)] is None for axis in axes.ravel())


def _listed(places: Sequence[str]) -> str:
    return ", ".join(places[:3]) + (", …" if len(places) > 3 else "")


def trouble(operation: Any) -> str:
    """Why TF.js does not run a `tf.Operation`; empty where it does."""
    known = target()
    if operation.type in _FREE:
        return ""
    if not known.knows(operation.type):
        return f"TF.js {known.versions['@tensorflow/tfjs-converter']} does not have it"
    dtype, rank = _data(operation)
    if reason := known.trouble(_REFERENCE, operation.type, dtype, rank):
        return f"of {dtype}{'' if rank is None else f' with {rank} dimensions'}: {reason}"
    if missing := next((t.dtype.name for t in operation.outputs if t.dtype.base_dtype.name not in _HELD), ""):
        return f"its result is {missing}, which TF.js does not have"
    return ""


def _data(operation: Any) -> tuple[str, int | None]:
    """The dtype and the rank of what an operator works on."""
    position = _DATA.get(operation.type, 0)
    if not operation.outputs:
        return "", None
    if len(operation.inputs) <= position:
        return operation.outputs[0].dtype.base_dtype.name, operation.outputs[0].shape.rank
    tensor = operation.inputs[position]
    ranks = [t.shape.rank for t in operation.inputs if t.dtype == tensor.dtype]
    return tensor.dtype.base_dtype.name, None if None in ranks else max(ranks)


def source_of(name: str, retraced: Retraced) -> tuple[str, str]:
    """The source node (operator, name) that an operation of the traced graph stands for."""
    key = name
    while key not in retraced.places:
        if "/" not in key:
            return "", name
        key = key.rpartition("/")[0]
    return retraced.places[key]


def _operations(function: Any) -> Iterator[Any]:
    """The operations that the outputs need, those of loops and branches included."""
    yield from _reached(function.graph, function.outputs)


def _reached(graph: Any, outputs: Any) -> Iterator[Any]:
    from tensorflow.python.ops import control_flow_util_v2

    seen: set[str] = set()
    pending = [tensor.op for tensor in outputs]
    while pending:
        operation = pending.pop()
        if operation.name in seen:
            continue
        seen.add(operation.name)
        pending.extend(tensor.op for tensor in operation.inputs)
        yield operation
        for key in ("cond", "body", "then_branch", "else_branch"):
            if operation.type in _FREE and key in operation.node_def.attr:
                shapes = [t.shape for t in operation.inputs][1 if key.endswith("branch") else 0 :]
                inner = control_flow_util_v2.get_func_graph(operation, shapes, operation.get_attr(key).name)
                yield from _reached(inner, inner.outputs)
