"""Whether the tables tell what becomes of an ONNX model, or only a trial does.

They do where every operator has been proved in its form (`proved_operators.json`, from ONNX's own node tests and real models),
and nothing hangs on data: neither the path through the graph, nor a size or a parameter that must be known. Of other models the
tables would promise too much.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import onnx
import onnx_ir as ir

from convkit.formats import Variant
from convkit.interpreters.operators import Operators, normal_domain
from convkit.legalization.onnx.dataflow import OF_SHAPES, Knowledge
from convkit.legalization.proved import Form, ProvedOperators

__all__ = ["PROVED", "form", "is_certain", "name_of"]

PROVED = Path(__file__).with_name("proved_operators.json")

_QUANTITIES = frozenset(
    (
        *("axis", "batch_axis", "batch_dims", "block_size", "end", "group", "hidden_size", "k", "num_outputs", "start"),
        *("time_axis", "to"),
    )
)
"""Attributes whose 0 or 1 is a number; of others it is a choice."""

_BY_TORCH = frozenset({Variant.EXPORTED_PROGRAM.value, Variant.PTE.value})

_DATA_DECIDE = frozenset(
    {
        *("Compress", "NonMaxSuppression", "NonZero", "Unique"),  # how large the result is
        *("If", "Loop", "Scan", "SequenceMap"),  # which nodes run, and how often
        *("Optional", "OptionalGetElement", "OptionalHasElement"),  # whether there is a value
        *("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"),
    }
)


def is_certain(model: ir.Model, variant: str) -> bool:
    """Whether a model consists of what has been proved to convert, and of nothing that data decide.

    Args:
        model: As `preparation.load` gives it, before it is legalized.
        variant: What it is to become.
    """
    proved, target = ProvedOperators.load(PROVED), Variant(variant).format
    nodes = list(model.graph.all_nodes())
    known, table = Knowledge.of(nodes), _table(variant)
    return all(
        node.op_type in OF_SHAPES
        or all(map(known.is_number, node.outputs))  # computed before the model runs, by onnx's own reference
        or (
            proved.covers(target, name_of(node), form(node))
            and not _is_decided_by_data(node)
            and _knows_what_it_must(node, known, table, model.opset_imports.get(normal_domain(node.domain), 1))
        )
        for node in nodes
    )


def form(node: ir.Node) -> Form:
    """The dtypes of a node, and the choices among its attributes that are not what the standard has them default to."""
    choices = (a for a in node.attributes.values() if _is_choice(a) and not _is_default(node, a))
    return frozenset((f"< {_dtypes(node.inputs)}", f"> {_dtypes(node.outputs)}", *(f"{a.name}={_text(a)}" for a in choices)))


def _dtypes(values: Sequence[ir.Value | None]) -> str:
    named = (value.dtype.name for value in values if value is not None and value.dtype is not None)
    return ",".join(name for name, _ in itertools.groupby(named))


def _is_choice(attribute: ir.Attr) -> bool:
    if attribute.type == ir.AttributeType.STRING:
        return True
    return attribute.type == ir.AttributeType.INT and attribute.value in (0, 1) and attribute.name not in _QUANTITIES


def _is_default(node: ir.Node, attribute: ir.Attr) -> bool:
    default = _defaults(node.domain, node.op_type, node.version or onnx.defs.onnx_opset_version()).get(attribute.name)
    return default is not None and default == attribute.value


@cache
def _defaults(domain: str, operator: str, opset: int) -> Mapping[str, object]:
    """The values that the standard gives to attributes that are left out."""
    try:
        schema = onnx.defs.get_schema(operator, opset, normal_domain(domain))
    except onnx.defs.SchemaError:
        return {}
    return {
        name: value.decode() if isinstance(value := onnx.helper.get_attribute_value(a.default_value), bytes) else value
        for name, a in schema.attributes.items()
        if a.default_value.type
    }


def _text(attribute: ir.Attr) -> str:
    return attribute.as_string() if attribute.type == ir.AttributeType.STRING else str(attribute.value)


def name_of(node: ir.Node) -> str:
    """The operator with its domain, where that is not the standard's own."""
    domain = normal_domain(node.domain)
    return f"{domain}::{node.op_type}" if domain else node.op_type


def _is_decided_by_data(node: ir.Node) -> bool:
    if node.op_type == "Squeeze" and "axes" not in node.attributes and len(node.inputs) == 1:
        # Without axes it takes away what is 1, so that even the rank is unknown where a size is.
        shape = node.inputs[0].shape if node.inputs[0] is not None else None
        return shape is None or not shape.is_static()
    return node.op_type in _DATA_DECIDE


def _knows_what_it_must(node: ir.Node, known: Knowledge, table: Operators, opset: int) -> bool:
    """Whether the inputs that the importer needs as numbers, or as sizes, are known as such."""
    handler = table.find(node.domain, node.op_type, opset)
    if handler is None:
        return True  # it is rewritten, as it was when it was proved
    needs = {"Known": known.is_number, "Sizes": known.is_size}
    return all(needs[kind](value) for i, value in enumerate(node.inputs) if (kind := handler.kind(i)) in needs)


def _table(variant: str) -> Operators:
    """What the importer on the way to a variant reads of ONNX."""
    from convkit.interpreters.pytorch import table as pytorch
    from convkit.interpreters.tensorflow import table as tensorflow

    return pytorch.operators() if variant in _BY_TORCH else tensorflow.operators()
