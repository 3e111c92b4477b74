"""Token ids stay below the rows of the table that they index, in every format that tells."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from convkit import inspect
from convkit.readers.index_bounds import Lookup, Node, index_bounds


@pytest.mark.parametrize("suffix", ["pt2", "onnx", "tflite"])
def test_the_fixture_transformer_tells_its_vocabulary(suffix, model):
    assert inspect(model("digits_transformer", suffix)).metadata["index_bounds"] == {"tokens": 17}


def test_the_smallest_table_counts_and_moves_are_followed():
    nodes = [Node("ids", ("moved",)), Lookup("moved", 30), Lookup("ids", 20), Lookup("elsewhere", 2)]
    assert index_bounds(["ids", "other"], nodes) == {"ids": 20}


def test_a_one_hot_by_comparison_is_a_table(tmp_path):
    graph = helper.make_graph(
        [helper.make_node("Unsqueeze", ["ids", "axis"], ["wide"]), helper.make_node("Equal", ["wide", "numbers"], ["y"])],
        "one_hot",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.BOOL, ["n", 9])],
        [numpy_helper.from_array(np.arange(9), "numbers"), numpy_helper.from_array(np.array([1]), "axis")],
    )
    path = tmp_path / "one_hot.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), path)
    assert inspect(path).metadata["index_bounds"] == {"ids": 9}
