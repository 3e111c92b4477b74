"""The options of operators, under the schema's names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import numpy as np

from convkit.readers.damage import DamagedFileError

__all__ = ["callees", "decoded"]


def callees(options: Mapping[str, Any]) -> Iterator[int]:
    """The subgraphs that an operator with these options calls."""
    yield from (value for name, value in options.items() if _is_callee(name))


def _is_callee(option: str) -> bool:
    return option.endswith("subgraph_index") or option == "subgraph"


def decoded(data: Any, kind: int, position: int, creator: str) -> Mapping[str, Any]:
    """The options at a position under the schema's names, enumerations by name; those at their defaults are left out."""
    from ai_edge_litert import schema_py_generated as schema
    from flatbuffers.table import Table as Generated

    options = getattr(schema, creator)(kind, Generated(data, position))
    if options is None:
        return {"unknown_options": kind}
    defaults = vars(type(options)())
    found = {}
    for name, value in vars(options).items():
        if isinstance(value, np.ndarray):
            value = value.tolist()
        default = defaults[name]
        key = re.sub(r"(?<=[a-z0-9])([A-Z])|(?<=[A-Z])([A-Z])(?=[a-z])", r"_\1\2", name).lower()
        at_default = not isinstance(value, list) and value == default and not _is_callee(key)
        if value is None or at_default:
            continue
        names = _enumeration(key)
        found[key] = _named(names, value, key) if names else value.decode() if isinstance(value, bytes) else value
    return found


@cache
def _enumeration(key: str) -> tuple[str, ...]:
    """The names of an option's values, () where it is no enumeration."""
    from ai_edge_litert import schema_py_generated as schema

    kind = _ENUMERATIONS.get(key)
    if kind is None:
        return ()
    names = {value: name for name, value in vars(getattr(schema, kind)).items() if not name.startswith("_")}
    return tuple(names[value] for value in range(len(names)))


_ENUMERATIONS = {
    "fused_activation_function": "ActivationFunctionType",
    "padding": "Padding",
    "mode": "MirrorPadMode",
    "weights_format": "FullyConnectedOptionsWeightsFormat",
    "kernel_type": "LSTMKernelType",
    "in_data_type": "TensorType",
    "out_data_type": "TensorType",
    "out_type": "TensorType",
    "idx_out_type": "TensorType",
    "output_type": "TensorType",
    "reduce_function": "ReduceWindowFunction",
    "comparison_direction": "StablehloComparisonDirection",
}


def _named(names: tuple[str, ...], value: int, option: str) -> str:
    if not 0 <= value < len(names):
        raise DamagedFileError(f"{option} {value} of {len(names)}")
    return names[value]
