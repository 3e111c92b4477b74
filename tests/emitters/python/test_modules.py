"""The tree of submodules, and the expressions that reach into it."""

from __future__ import annotations

import torch
from torch import nn

from convkit.emitters.python.expressions import Text, call, flat
from convkit.emitters.python.modules import Tree


def tree(*names, others=()):
    return Tree.of({name: torch.zeros(len(name)) for name in names}, dict.fromkeys(others, ""))


def assignments(of):
    return list(of.assignments(lambda tensor: call("buffer", [Text(str(len(tensor)))]), 0))


def test_equal_layers_are_a_loop():
    found = tree("layers.0.weight", "layers.1.weight", "layers.2.weight", "head.bias")
    assert assignments(found) == [
        "self.layers = nn.ModuleList(Weights(weight=buffer(15)) for _ in range(3))",
        "self.head = Weights(bias=buffer(9))",
    ]
    assert found.access("layers.1.weight") == "self.layers[1].weight"


def test_layers_that_differ_are_a_list():
    found = tree("layers.0.weight", "layers.1.bias")
    assert assignments(found) == [
        "self.layers = nn.ModuleList([Weights(weight=buffer(15)), Weights(bias=buffer(13))])",
    ]


def test_numbers_with_gaps_keep_their_numbers():
    found = tree("features.0.weight", "features.3.weight")
    assert "nn.ModuleDict(" in assignments(found)[0]
    assert found.access("features.3.weight") == 'self.features["3"].weight'


def test_names_that_python_does_not_take_are_kept():
    names = ("0.weight", "a-b.c", "x.for", "x.1.y", "x.z", "x.self.w", "self.w")
    found = tree(*names)

    class Weights(nn.Module):
        def __init__(self, /, **members):
            super().__init__()
            for name, member in members.items():
                setattr(self, name, member)

    root = nn.Module()
    scope = {"self": root, "Weights": Weights, "nn": nn, "buffer": lambda *shape: nn.Buffer(torch.zeros(shape))}
    exec("\n".join(assignments(found)), scope)
    assert set(root.state_dict()) == set(names)
    for name in names:
        assert eval(found.access(name), scope) is root.get_buffer(name)


def test_a_module_without_tensors_of_its_own_is_made_for_a_tied_one():
    found = tree("embed.weight", others=("head.weight",))
    assert assignments(found)[1] == "self.head = Weights()"
    assert found.holder("head.weight") == ("self.head", "weight")


def test_an_empty_call_is_one():
    assert flat(call("Weights")) == "Weights()"
