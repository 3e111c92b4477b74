"""What stands in another's place: outputs of the model, parts of an operator that has several, operands of a product."""

from __future__ import annotations

from collections.abc import Iterator

from convkit.reports.drift import Suspect
from convkit.traces import TracedOperator
from convkit.validators.agreement import Agreement
from convkit.validators.causes import Cause
from convkit.validators.edges import Edges
from convkit.validators.operator_kinds import kind_of

__all__ = ["exchanged_operands", "exchanged_outputs", "exchanged_parts"]

_SWAPPED_OUTPUTS = "swapped-outputs"
_SWAPPED_PARTS = "swapped-parts"
_SWAPPED_OPERANDS = "swapped-operands"
_SCALING = {"multiply", "divide"}


def exchanged_outputs(graph: Agreement) -> Iterator[tuple[TracedOperator, Suspect]]:
    """What makes outputs of the model that stand in each other's place."""
    for name, mine in graph.source.outputs.items():
        found, maker = graph.known.get(mine), graph.origin(mine)
        if found is None or maker is None or found.error <= graph.tolerated:
            continue
        for other, theirs in graph.target.outputs.items():
            swapped = graph.output(mine, theirs) if other != name else None
            if swapped is not None and swapped.error <= graph.tolerated:
                text = f"output {name} of the source is output {other} of the target"
                evidence = f"they agree to {swapped.error:.1e} of scale"
                observed = found.error, mine, found.name
                yield maker, _suspect(maker, observed, Cause(_SWAPPED_OUTPUTS, text, evidence))


def exchanged_parts(graph: Agreement) -> Iterator[tuple[TracedOperator, Suspect]]:
    """Operators with several outputs of which two bear each other's names in the target."""
    for operator in graph.operators:
        parts = [o for o in operator.outputs if o in graph.known and graph.known[o].error <= graph.tolerated]
        for place, first in enumerate(parts):
            for second in parts[place + 1 :]:
                if graph.known[first].name == second and graph.known[second].name == first:
                    text = f"its parts {first} and {second} stand in each other's place"
                    evidence = f"what the target calls {first} is the source's {second}, and the other way round"
                    yield operator, _suspect(operator, (None, "", ""), Cause(_SWAPPED_PARTS, text, evidence))


def exchanged_operands(graph: Agreement, edges: Edges, reader: TracedOperator) -> Iterator[tuple[TracedOperator, Suspect]]:
    """What makes an input that the target has transposed, because a product takes its operands in the other order: that
    product, or what splits both of them from one tensor.

    Args:
        graph, edges: Of the comparison.
        reader: An operator whose inputs agree, if only in some layout, and whose output does not.
    """
    for name in reader.inputs:
        if name not in graph.known or not graph.known[name].layout.axes:
            continue
        product = _computed_by(graph, name)
        operands = [] if product is None else graph.computed_inputs(product)
        if product is None or kind_of(product.operator) != "matrix product" or len(operands) != 2:
            continue
        if not edges.takes_exchanged(product, graph.observed(product), operands):
            continue
        evidence = f"{name} agrees when it is transposed, which {reader.name} does not take into account"
        observed = graph.known[name].error, name, graph.known[name].name
        first, second = (_computed_by(graph, operand) for operand in operands)
        if first is not None and first is second and len(first.outputs) > 1:
            text = f"its parts stand in each other's place: they are the operands of {product.name}"
            yield first, _suspect(first, observed, Cause(_SWAPPED_PARTS, text, evidence))
        text = "its operands stand in each other's place"
        yield product, _suspect(product, observed, Cause(_SWAPPED_OPERANDS, text, evidence))


def _computed_by(graph: Agreement, name: str) -> TracedOperator | None:
    """The operator that a tensor comes from, behind those that only arrange it or scale it by a constant."""
    maker = graph.origin(name)
    while maker is not None and kind_of(maker.operator) in _SCALING and len(graph.computed_inputs(maker)) == 1:
        maker = graph.origin(graph.computed_inputs(maker)[0])
    return maker


def _suspect(operator: TracedOperator, observed: tuple[float | None, str, str], cause: Cause) -> Suspect:
    return Suspect(
        operator.name,
        operator.operator,
        operator.place,
        0.0,
        *observed,
        (operator.name,),
        cause.text,
        cause.code,
        cause.evidence,
    )
