"""Files as modules: variables that outlive a run, order of axes, names of constants."""

from __future__ import annotations

import numpy as np
import torch
from litert_flatbuffers import Graph, Op, T, constant, schema, write
from litert_models import assert_close, compared, floats, imported, litert_file

from convkit.interpreters.litert.model import read_model
from convkit.interpreters.litert.module import LiteRTModule


def handle_options(name: str) -> object:
    made = schema().VarHandleOptionsT()
    made.sharedName = name
    return made


def accumulator() -> object:
    """A file that adds its input to a variable that starts at (1, 2), and gives the sum."""
    once = schema().CallOnceOptionsT()
    once.initSubgraphIndex = 1
    handle = T((), "RESOURCE")
    main = Graph(
        [T((2,)), handle, T((2,)), T((2,))],
        [
            Op("CALL_ONCE", [], [], once),
            Op("VAR_HANDLE", [], [1], handle_options("total")),
            Op("READ_VARIABLE", [1], [2], schema().ReadVariableOptionsT()),
            Op("ADD", [0, 2], [3], schema().AddOptionsT()),
            Op("ASSIGN_VARIABLE", [1, 3], [], schema().AssignVariableOptionsT()),
        ],
        [0],
        [3],
    )
    first = Graph(
        [handle, constant(np.array([1, 2], np.float32))],
        [
            Op("VAR_HANDLE", [], [0], handle_options("total")),
            Op("ASSIGN_VARIABLE", [0, 1], [], schema().AssignVariableOptionsT()),
        ],
        [],
        [],
    )
    return write(main, first)


def test_variables_start_as_call_once_says_and_go_on() -> None:
    path = accumulator()
    expected, got = compared(path, [[np.array([k, -k], np.float32)] for k in range(1, 5)])
    assert_close(expected, got)
    (name,) = got[-1]
    np.testing.assert_allclose(got[-1][name], [11, -8])


def test_convolutions_in_a_row_permute_at_the_edges_only() -> None:
    import tensorflow as tf

    def network(x):
        for seed in range(3):
            x = tf.nn.relu(tf.nn.conv2d(x, floats(3, 3, 4, 4, seed=seed), 1, "SAME") + floats(4, seed=seed))
            x = tf.pad(x * floats(4, seed=9), [[0, 0], [1, 0], [0, 1], [0, 0]])
        return x

    program = torch.export.load(imported(litert_file(network, [floats(1, 6, 6, 4)])).path)
    targets = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    on_data = [n for n in program.graph.nodes if "permute" in str(n.target) and n.args[0].name.startswith(("x", "arg", "a_"))]
    assert targets.count("aten.permute.default") <= 2 + targets.count("aten.mul.Tensor"), (targets, on_data)
    assert targets.count("aten.conv2d.default") == 3


def test_constants_are_parameters_under_their_own_names() -> None:
    graph = Graph([T((2, 3)), constant(floats(3)), T((2, 3))], [Op("ADD", [0, 1], [2], schema().AddOptionsT())], [0], [2])
    model = read_model(write(graph))
    module = LiteRTModule(model, model.entry(""), [(2, 3)])
    assert dict(module.named_parameters()).keys() == {"t1"}
    np.testing.assert_array_equal(module.t1, graph.tensors[1].data)
