"""Routes: order, reasons, obstacles."""

from __future__ import annotations

import pytest

from convkit import Format, NoRouteError, UsageError, Variant
from convkit.components import Converter, Host
from convkit.planner import plan_routes


def edge(name, source, target, cost=1.0, packages=()):
    return Converter(name, (source,), target, Host(group="g", packages=packages), cost)


PT, TS, ONNX, SM, TFLITE = (
    Variant.EXPORTED_PROGRAM,
    Variant.TORCHSCRIPT,
    Variant.ONNX,
    Variant.SAVEDMODEL,
    Variant.TFLITE,
)
EDGES = (
    edge("direct", PT, TFLITE),
    edge("pt-onnx", PT, ONNX),
    edge("onnx-tflite", ONNX, TFLITE),
    edge("onnx-sm", ONNX, SM),
    edge("sm-tflite", SM, TFLITE),
    edge("capture", TS, PT, 0.5),
    edge("legacy", TS, ONNX, 2.5),
)


def names(routes):
    return [r.names for r in routes]


def test_the_cheapest_route_comes_first_and_the_others_follow():
    assert names(plan_routes(PT, Format.LITERT, registered=EDGES)) == [
        ["direct"],
        ["pt-onnx", "onnx-tflite"],
        ["pt-onnx", "onnx-sm", "sm-tflite"],
    ]


def test_a_variant_is_captured_first():
    routes = names(plan_routes(TS, Format.LITERT, registered=EDGES))
    assert routes[0] == ["capture", "direct"]
    assert ["legacy", "onnx-tflite"] in routes


def test_via_forces_a_format():
    assert names(plan_routes(PT, Format.LITERT, via=Format.SAVEDMODEL, registered=EDGES)) == [["pt-onnx", "onnx-sm", "sm-tflite"]]


def test_no_route_is_an_error():
    with pytest.raises(NoRouteError, match="LiteRT to ONNX"):
        plan_routes(TFLITE, Format.ONNX, registered=EDGES)
    with pytest.raises(NoRouteError, match="through TF"):
        plan_routes(PT, Format.LITERT, via=Format.TFJS, registered=EDGES)


def test_the_same_variant_is_no_conversion():
    with pytest.raises(UsageError, match="already"):
        plan_routes(ONNX, Format.ONNX, registered=EDGES)


def test_a_missing_package_costs_its_route_and_says_the_command():
    edges = (edge("better", PT, TFLITE, 0.1, ("no-such-distribution",)), *EDGES)
    routes = plan_routes(PT, Format.LITERT, registered=edges)
    assert routes[0].names == ["direct"]
    assert routes[-1].names == ["better"]
    assert "pip install no-such-distribution" in routes[-1].obstacles[0]


def test_a_route_never_returns_to_a_format():
    edges = (*EDGES, edge("back", ONNX, PT))
    for route in plan_routes(PT, Format.LITERT, registered=edges):
        assert "back" not in route.names
