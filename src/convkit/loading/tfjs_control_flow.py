"""Loops and branches of TensorFlow 1 in a graph: found, and taken out of it.

TF.js's graphs spell control flow in single nodes (Enter, Merge, Switch, NextIteration, Exit, LoopCond), which mean what "Dynamic
Control Flow in Machine Learning" (Yu et al., EuroSys 2018) says. TensorFlow 2 and the converters from it want whole loops and
branches. Here they become `Loop`s and `Choice`s, whose parts are computed by the plain nodes that are left.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from convkit.errors import ConversionError
from convkit.loading.tfjs_bodies import Body

__all__ = ["Choice", "ControlFlow", "Loop", "inner", "sources_of", "structured"]

_FLOW = frozenset({"Enter", "RefEnter", "Exit", "Merge", "Switch", "NextIteration", "LoopCond"})


@dataclass
class Loop:
    """A while loop.

    Attributes:
        initial: The variables' first values.
        variables: The tensors that stand for the variables in the condition and the body.
        following: The variables' next values, computed from `variables`.
        condition: Whether there is a next round.
        results: The tensors that stand for the variables after the loop: to the variable's place.
    """

    initial: list[str] = field(default_factory=list)
    variables: list[str] = field(default_factory=list)
    following: list[str] = field(default_factory=list)
    condition: str = ""
    results: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Choice:
    """A tensor that is one of two, which are computed only when they are needed.

    Attributes:
        predicate: Which one.
        if_true: The tensor when it holds.
        if_false: The tensor when it does not.
        entries: The tensors that stand for outer ones inside of the branches, to these.
    """

    predicate: str
    if_true: str
    if_false: str
    entries: dict[str, str]


@dataclass
class ControlFlow:
    """The control flow of a body.

    Attributes:
        nodes: The plain nodes.
        made: The tensors that loops and choices give.
        aliases: Tensors that are others.
        refused: Tensors of which neither could be made, and why; what nobody needs does no harm.
    """

    nodes: dict[str, Any]
    made: dict[str, Loop | Choice]
    aliases: dict[str, str]
    refused: dict[str, str] = field(default_factory=dict)

    def node(self, tensor: str) -> Any:
        """The plain node that gives a tensor.

        Raises:
            ConversionError: It comes from control flow that fits no loop and no branch.
        """
        if tensor in self.refused:
            raise ConversionError(self.refused[tensor])
        return self.nodes[tensor.partition(":")[0]]

    def resolved(self, tensor: str) -> str:
        """The tensor of a plain node, a loop or a choice that a tensor is."""
        for _ in range(len(self.aliases) + 1):
            if tensor not in self.aliases:
                return tensor
            tensor = self.aliases[tensor]
        raise ConversionError(f"the graph's control flow runs in a circle at {tensor!r}")

    def inputs(self, node: Any) -> list[str]:
        """The tensors that a plain node takes."""
        return [self.resolved(reference) for reference in node.input if not reference.startswith("^")]


def structured(body: Body) -> ControlFlow:
    """Finds the loops and choices of a body.

    Raises:
        ConversionError: naming a loop without an entry or a condition.
    """
    flow = ControlFlow({n: v for n, v in body.nodes.items() if v.op not in _FLOW}, {}, {})
    if len(flow.nodes) == len(body.nodes):
        return flow
    loops = _Loops(body, flow)
    loops.find()
    _Choices(body, flow, loops).find()
    return flow


def _data(node: Any, count: int) -> list[str]:
    inputs = [reference for reference in node.input if not reference.startswith("^")]
    if len(inputs) != count:
        raise ConversionError(f"the {node.op} {node.name!r} has {len(inputs)} inputs, not {count}")
    return inputs


class _Loops:
    """Loops by the frames that their `Enter`s name."""

    def __init__(self, body: Body, flow: ControlFlow) -> None:
        self._nodes = body.nodes
        self._flow = flow
        self.variables: dict[str, Loop] = {}

    def find(self) -> None:
        frames: dict[bytes, Loop] = {}
        for node in self._of("Enter", "RefEnter"):
            self._flow.aliases[f"{node.name}:0"] = _data(node, 1)[0]
        for node in self._of("NextIteration", "LoopCond"):
            self._flow.aliases[f"{node.name}:0"] = _data(node, 1)[0]
        for node in self._of("Merge"):
            self._take_variable(node, frames)
        for node in self._of("Switch"):
            data, predicate = _data(node, 2)
            if (loop := self.variables.get(data)) is not None:
                loop.condition = predicate
                self._flow.aliases[f"{node.name}:1"] = data
                self._give(f"{node.name}:0", loop, loop.variables.index(data))
        for node in self._of("Exit"):
            self._flow.aliases[f"{node.name}:0"] = _data(node, 1)[0]
        for loop in frames.values():
            if not loop.condition:
                raise ConversionError(f"the loop over {', '.join(loop.variables)} has no condition")

    def _of(self, *operators: str) -> Iterator[Any]:
        return (node for node in self._nodes.values() if node.op in operators)

    def _take_variable(self, merge: Any, frames: dict[bytes, Loop]) -> None:
        """A `Merge` of what enters a frame and of what comes back in it."""
        sources = {self._operator(reference): reference for reference in _data(merge, 2)}
        if "NextIteration" not in sources:
            return
        if "Enter" not in sources:
            raise ConversionError(f"the loop variable {merge.name!r} enters no loop")
        frame = self._nodes[sources["Enter"].partition(":")[0]].attr["frame_name"].s
        loop = frames.setdefault(frame, Loop())
        loop.initial.append(sources["Enter"])
        loop.following.append(sources["NextIteration"])
        loop.variables.append(f"{merge.name}:0")
        self.variables[f"{merge.name}:0"] = loop

    def _operator(self, reference: str) -> str:
        node = self._nodes.get(reference.partition(":")[0])
        return "" if node is None else str(node.op)

    def _give(self, tensor: str, loop: Loop, place: int) -> None:
        loop.results[tensor] = place
        self._flow.made[tensor] = loop


class _Choices:
    """Choices by the `Switch`es that lie behind a `Merge`."""

    def __init__(self, body: Body, flow: ControlFlow, loops: _Loops) -> None:
        self._body, self._flow, self._loops = body, flow, loops

    def find(self) -> None:
        for node in self._body.nodes.values():
            if node.op == "Merge" and f"{node.name}:0" not in self._loops.variables:
                try:
                    self._take(node)
                except ConversionError as error:
                    self._flow.refused[f"{node.name}:0"] = error.message

    def _take(self, merge: Any) -> Choice:
        made = self._flow.made.get(f"{merge.name}:0")
        if isinstance(made, Choice):
            return made
        references = _data(merge, 2)
        sides = [self._switches(reference) for reference in references]
        if not all(sides):
            # TensorFlow's constants wait for the branch that they are in; TF.js takes the first constant, whatever holds.
            raise ConversionError(f"a branch that meets another in {merge.name!r} is a constant, which TF.js takes in any case")
        predicates = {self._predicate(switch) for side in sides for switch, _ in side}
        if len(predicates) != 1:
            raise ConversionError(f"the branches that meet in {merge.name!r} do not follow from one condition")
        outputs = [{output for _, output in side} for side in sides]
        if sorted(map(sorted, outputs)) != [[0], [1]]:
            raise ConversionError(f"the branches that meet in {merge.name!r} are not exclusive")
        if_false, if_true = references if outputs[0] == {0} else reversed(references)
        entries = {f"{s}:{output}": _data(self._body.nodes[s], 2)[0] for side in sides for s, output in side}
        choice = Choice(predicates.pop(), if_true, if_false, entries)
        self._flow.made[f"{merge.name}:0"] = choice
        return choice

    def _predicate(self, switch: str) -> str:
        """What decides a `Switch`; identities stand between it and some of those of one branch."""
        tensor = self._flow.resolved(_data(self._body.nodes[switch], 2)[1])
        while (node := self._flow.nodes.get(tensor.partition(":")[0])) is not None and node.op == "Identity":
            tensor = self._flow.inputs(node)[0]
        return tensor

    def _switches(self, reference: str) -> set[tuple[str, int]]:
        """The `Switch`es of the branch that a tensor is computed in, and which of their outputs it comes from."""
        found: set[tuple[str, int]] = set()
        seen: set[str] = set()
        pending = [reference]
        while pending:
            tensor = self._flow.resolved(pending.pop())
            if tensor in seen or tensor in self._loops.variables:
                continue
            seen.add(tensor)
            name, _, index = tensor.partition(":")
            node = self._body.nodes.get(name)
            if node is None:
                continue
            if isinstance(made := self._flow.made.get(tensor), Loop):
                pending += [*made.initial, *made.following, made.condition]
            elif node.op == "Switch":
                found.add((name, int(index)))
            elif node.op == "Merge":
                pending += [*self._take(node).entries.values(), self._take(node).predicate]
            else:
                pending += [i for i in node.input if not i.startswith("^")]
        return found


def inner(tensors: Iterable[str], fed: Iterable[str], flow: ControlFlow) -> tuple[set[str], list[str]]:
    """What has to be computed inside of a loop or branch to get `tensors` from the tensors `fed` to it.

    Returns:
        The tensors that depend on what is fed, and those next to them that do not, which the surroundings compute.
    """
    dependent: dict[str, bool | None] = dict.fromkeys(fed, True)
    outside: dict[str, None] = {}
    pending = [flow.resolved(t) for t in tensors]
    wanted = list(pending)
    while pending:
        tensor = pending[-1]
        if tensor in dependent and dependent[tensor] is not None:
            pending.pop()
            continue
        sources = sources_of(tensor, flow)
        if tensor not in dependent:
            dependent[tensor] = None
            pending += [s for s in sources if s not in dependent]
        else:
            dependent[tensor] = any(dependent[s] for s in sources)
            pending.pop()
    for tensor in wanted:
        if not dependent[tensor]:
            outside[tensor] = None
    for tensor, inside in dependent.items():
        if inside:
            outside.update(dict.fromkeys(s for s in sources_of(tensor, flow) if not dependent.get(s)))
    return {t for t, inside in dependent.items() if inside}, list(outside)


def sources_of(tensor: str, flow: ControlFlow) -> list[str]:
    """The tensors that one is computed from; of a loop or a choice what it takes from outside."""
    made = flow.made.get(tensor)
    if isinstance(made, Loop):
        _, outside = inner([made.condition, *made.following], made.variables, flow)
        return [*(flow.resolved(t) for t in made.initial), *outside]
    if isinstance(made, Choice):
        _, outside = inner([made.if_true, made.if_false], made.entries, flow)
        return [flow.resolved(made.predicate), *outside, *(flow.resolved(t) for t in made.entries.values())]
    node = flow.nodes.get(tensor.partition(":")[0])
    return [] if node is None else flow.inputs(node)
