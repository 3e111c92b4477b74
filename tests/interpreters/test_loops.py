"""What the body of a loop tells before it runs."""

from __future__ import annotations

from typing import Any

import onnx
import onnx_ir as ir
import pytest

from convkit.interpreters.interpreter import Subgraph
from convkit.interpreters.loops import always_continues, constants, rounds


def _body(condition: str, outer: dict[str, int] | None = None) -> Subgraph:
    """A body with a counter `k`, a bound `m` and a sum `h`."""
    text = f"""<ir_version: 8, opset_import: ["" : 17]>
        g (int64 i, bool before, int64 k, int64 m, float h) => (bool after, int64 k2, int64 m2, float h2)
            <int64 one = {{1}}, int64 two = {{2}}, int64 nine = {{9}}, bool yes = {{1}}> {{
            k2 = Add(two, k) m2 = Identity(m) h2 = Add(h, h) next = Add(i, one)
            {condition}
        }}"""
    graph = ir.from_proto(onnx.parser.parse_model(text)).graph
    return Subgraph(graph, None, {graph.initializers[name]: value for name, value in (outer or {}).items()})  # type: ignore[arg-type]


def _known(value: Any) -> Any:
    if isinstance(value, ir.Value):
        return None if value.const_value is None else value.const_value.numpy().item()
    return value


@pytest.mark.parametrize(
    ("condition", "made"),
    (
        ("after = Less(k2, m)", 4),  # 0, 2, 4, 6 of 7
        ("after = Greater(m, k2)", 4),
        ("kf = Cast <to = 1> (k2) mf = Cast <to = 1> (m) after = Less(kf, mf)", 4),
        ("after = Less(k2, nine)", 5),
        ("a = Less(k2, m) b = Less(next, two) after = And(a, b)", 2),
        ("after = Less(k, m)", 5),  # compared before it grows
        ("i2 = Cast <to = 1> (i) two2 = Cast <to = 1> (two) after = Less(i2, two2)", 3),
        ("a = Less(i, m) b = Less(next, m) after = And(a, b)", 7),  # tf2onnx's `while`
        ("after = Less(k2, h)", None),
        ("after = Less(h2, m)", None),
        ("after = Not(before)", None),
    ),
)
def test_rounds_of_a_counter(condition: str, made: int | None) -> None:
    assert rounds(_body(condition), [0, 7, None], _known) == made


def test_a_true_condition_makes_one_round_at_least() -> None:
    assert rounds(_body("after = Less(k2, m)"), [10, 7, None], _known) == 1


def test_conditions_that_stay_true() -> None:
    assert always_continues(_body("after = Identity(before)").graph)
    assert always_continues(_body("after = Identity(yes)").graph)
    assert not always_continues(_body("after = Not(before)").graph)


def test_values_that_are_only_handed_on() -> None:
    assert constants(_body("after = Identity(before)").graph, 3) == {1}
