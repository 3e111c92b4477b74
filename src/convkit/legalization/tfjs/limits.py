"""Where an operator that TF.js knows falls short: dtypes, ranks and attributes that its kernels do not compute.

Read from the executors (tfjs-converter/src/operations/executors) and measured on the cpu backend.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from convkit.legalization.target import Finding, Verdict
from convkit.legalization.tfjs.retracing import Retraced
from convkit.legalization.tfjs.target import target

__all__ = ["backend_notes", "gaps", "source_of"]

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


def backend_notes(retraced: Retraced) -> list[str]:
    """One line per operator that the reference backend runs and another does not, or not rightly, with its places."""
    known = target()
    found: dict[tuple[str, str, str], list[str]] = {}
    for operation in _operations(retraced.function):
        place = source_of(operation.name, retraced)[1]
        dtype, rank = _data(operation)
        lacking = known.lacking(operation.type)
        if lacking:
            found.setdefault((operation.type, " and ".join(lacking), "has no kernel"), []).append(place)
        for backend in known.wrong:
            if backend not in (_REFERENCE, *lacking) and known.trouble(backend, operation.type, dtype, rank):
                found.setdefault((f"{operation.type} of {dtype}", backend, "goes wrong"), []).append(place)
    return [
        f"{what} ({_listed(places)}) {how} on the backend {where}: run the model on another"
        for (what, where, how), places in sorted(found.items())
    ]


def _listed(places: list[str]) -> str:
    told = list(dict.fromkeys(places))
    return ", ".join(told[:3]) + (", …" if len(told) > 3 else "")


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
