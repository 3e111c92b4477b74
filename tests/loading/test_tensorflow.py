"""What is told of TensorFlow's errors."""

from __future__ import annotations

from convkit.loading.tensorflow import first_line


def test_the_first_line_is_the_one_that_says_what_is_wrong() -> None:
    told = """Graph execution error:

Detected at node Conv/depthwise defined at (most recent call last):
<stack traces unavailable>
only equal strides
\t [[{{node Conv/depthwise}}]] [Op:__inference_1]"""
    assert first_line(RuntimeError(told)) == "only equal strides"
    assert first_line(RuntimeError("Graph execution error:")) == "Graph execution error:"
    assert first_line(ValueError()) == "ValueError"
