"""Traces on disk: what is recorded comes back, windows on a file and not copies in memory."""

from __future__ import annotations

import numpy as np
import pytest

from convkit.traces import Recorder, Trace, TracedOperator, fetched, sketch_of


@pytest.fixture
def recorded(tmp_path):
    record = Recorder(tmp_path)
    record.operator(TracedOperator("add", "Add", ("x", "w"), ("y",), {"axis": [1, 2]}, "layers.0 (model.py:3)"))
    record.tensor("x", np.arange(6, dtype=np.float32).reshape(2, 3))
    record.tensor("w", np.ones((3,), np.float16), constant=True)
    record.tensor("y", np.arange(1, 7, dtype=np.float32).reshape(3, 2).T)
    record.edges({"input": "x"}, {"output": "y"})
    record.note("told by a test")
    record.close()
    return Trace.open(tmp_path)


def test_what_is_recorded_comes_back(recorded):
    operator = recorded.operators[0]
    assert (operator.name, operator.operator, operator.inputs, operator.outputs) == ("add", "Add", ("x", "w"), ("y",))
    assert operator.attributes == {"axis": [1, 2]} and operator.place == "layers.0 (model.py:3)"
    assert recorded.inputs == {"input": "x"} and recorded.outputs == {"output": "y"} and recorded.notes == ("told by a test",)
    assert recorded.tensors["w"].constant and not recorded.tensors["x"].constant
    # Not contiguous when it was recorded.
    np.testing.assert_array_equal(recorded.array("y"), np.arange(1, 7, dtype=np.float32).reshape(3, 2).T)
    assert isinstance(recorded.array("x").base, np.memmap)
    assert recorded.array("nothing") is None


def test_empty_and_scalar_tensors_and_large_weights(tmp_path):
    record = Recorder(tmp_path)
    record.tensor("empty", np.zeros((0, 4), np.float32))
    record.tensor("scalar", np.float32(3))
    record.tensor("large", np.zeros(3_000_000, np.float32), constant=True)
    record.tensor("text", np.array(["a"]))
    record.close()
    trace = Trace.open(tmp_path)
    assert trace.array("empty").shape == (0, 4)
    assert trace.array("scalar").shape == () and trace.array("scalar") == 3
    assert trace.array("large") is None and trace.tensors["large"].sketch.size == 3_000_000
    assert "text" not in trace.tensors


def test_what_is_computed_from_constants_alone_is_one(tmp_path):
    record = Recorder(tmp_path)
    steps = [("Transpose", "w", "t"), ("RandomNormalLike", "t", "r"), ("Mul", "t", "m"), ("Constant", "", "c"), ("Add", "x", "a")]
    for kind, read, made in steps:
        record.operator(TracedOperator(made, kind, ("c", read) if kind == "Add" else (read,), (made,)))
    record.tensor("x", np.ones(2))
    record.tensor("w", np.ones(2), constant=True)
    for name in ("c", "t", "r", "m", "a"):
        record.tensor(name, np.ones(2))
    record.close()
    assert {n for n, t in Trace.open(tmp_path).tensors.items() if t.constant} == {"w", "t", "m", "c"}


def test_a_sketch_does_not_change_with_the_layout():
    array = np.random.default_rng(0).standard_normal((2, 3, 5, 7)).astype(np.float32)
    mine, other = sketch_of(array), sketch_of(np.ascontiguousarray(array.transpose(0, 2, 3, 1)))
    np.testing.assert_allclose(
        [mine.low, mine.high, mine.mean, mine.magnitude, mine.rms],
        [other.low, other.high, other.mean, other.magnitude, other.rms],
        rtol=1e-5,
        atol=1e-7,
    )
    assert abs(mine.rms - float(np.sqrt((array.astype(np.float64) ** 2).mean()))) < 1e-6


def test_a_sketch_of_what_is_not_finite():
    sketch = sketch_of(np.array([np.nan, np.inf, 1.0, 3.0], np.float32))
    assert (sketch.size, sketch.finite, sketch.low, sketch.high) == (4, 2, 1.0, 3.0)
    assert sketch_of(np.array([np.nan], np.float32)).finite == 0
    assert np.isfinite(sketch_of(np.array([3e38, -3e38], np.float32)).rms)


def test_tensors_are_fetched_a_few_at_a_time_within_a_budget():
    asked = []

    def fetch(names):
        asked.append(len(names))
        return [(str(n), np.zeros(256, np.uint8)) for n in names]

    found = dict(fetched(list(range(100)), fetch, budget=2570))
    assert list(found) == [str(n) for n in range(100)]
    assert asked[0] == 8 and set(asked[1:-1]) == {10}
