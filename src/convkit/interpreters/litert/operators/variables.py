"""Resource variables: read and replaced by name."""

from __future__ import annotations

from convkit.interpreters.litert.table import operator
from convkit.interpreters.litert.values import Variable, variable_name
from convkit.interpreters.operators import UnsupportedError, Value


@operator("VAR_HANDLE", foldable=False)
def handle(*, container="", shared_name="", node):
    return Variable(variable_name(node.operator))


@operator("READ_VARIABLE", foldable=False)
def read(handle: Value, *, node):
    interpreter = node.interpreter
    if handle.name not in interpreter.variables:
        raise UnsupportedError(f"the variable {handle.name!r} is read, and no CALL_ONCE gives it a first value")
    return interpreter.from_edge(interpreter.variables[handle.name], node.output)


@operator("ASSIGN_VARIABLE", foldable=False)
def assign(handle: Value, value: Value, *, node):
    declared = node.operator.inputs[1]
    node.interpreter.variables[handle.name] = node.interpreter.to_edge(value, declared)
    return ()
