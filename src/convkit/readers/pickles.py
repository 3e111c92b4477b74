"""Reads a pickle as data: an interpreter of its opcodes that imports nothing and calls nothing.

What a pickle would import becomes a `Global`, what it would call a `Call` with its arguments. So the shapes in a state
dict and the names that a hostile file would run are read by the same means, and neither is trusted.

Opcodes: Lib/pickletools.py of CPython, which documents each one and what it does to the stack.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, NamedTuple

from convkit.readers.damage import DamagedFileError

__all__ = ["Call", "Global", "Persistent", "Pickle", "mapping_of", "read_pickle"]


class Global(NamedTuple):
    """Something that unpickling would import."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Persistent(NamedTuple):
    """A reference to something outside of the pickle: torch's storages."""

    id: Any


@dataclass(eq=False, slots=True)
class Call:
    """An object that unpickling would make by calling something, and what it would put into it afterwards."""

    function: Any
    args: Any
    items: dict[Any, Any] = field(default_factory=dict)
    elements: list[Any] = field(default_factory=list)
    state: Any = None


@dataclass(frozen=True, slots=True)
class Pickle:
    """A pickle's value, and everything that it would import, in order of appearance."""

    value: Any
    globals: tuple[str, ...]

    def objects(self) -> Iterator[Any]:
        """Every value inside, each once: shared and cyclic structures end."""
        pending, seen = [self.value], set[int]()
        while pending:
            value = pending.pop()
            if id(value) in seen:
                continue
            seen.add(id(value))
            yield value
            if isinstance(value, dict):
                pending += [*value, *value.values()]
            elif isinstance(value, (list, tuple)):
                pending += value
            elif isinstance(value, Call):
                pending += [value.function, value.args, value.items, value.elements, value.state]


def mapping_of(value: Any) -> dict[Any, Any] | None:
    """The items of a dict or OrderedDict, None for anything else."""
    if isinstance(value, dict):
        return value
    if isinstance(value, Call) and value.function == Global("collections", "OrderedDict"):
        return value.items
    return None


class _Key:
    """Stands for a dictionary key that is no plain value: hashing nested tuples can be made to take for ever."""


_PLAIN = (str, bytes, int, float, bool, type(None))
_MARK = object()
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_DICT": dict, "EMPTY_SET": list}
_IGNORED = frozenset(("PROTO", "FRAME", "READONLY_BUFFER"))
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_EXTENSIONS = frozenset(("EXT1", "EXT2", "EXT4"))


class _Machine:
    """The unpickling machine: a stack, a memo, and one method per group of opcodes."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.globals: dict[str, None] = {}

    def pop(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise DamagedFileError("the pickle takes more from its stack than it has put there")
        return self.stack.pop()

    def top(self) -> Any:
        value = self.pop()
        self.stack.append(value)
        return value

    def pop_mark(self) -> list[Any]:
        taken: list[Any] = []
        while self.stack:
            value = self.stack.pop()
            if value is _MARK:
                return taken[::-1]
            taken.append(value)
        raise DamagedFileError("the pickle lacks a mark on its stack")

    def imported(self, module: Any, name: Any) -> Global:
        """Records an import; names that the pickle computes are recorded as such."""
        known = isinstance(module, str) and isinstance(name, str)
        found = Global(module, name) if known else Global("?", "a name that the pickle computes")
        self.globals[str(found)] = None
        return found

    def step(self, name: str, arg: Any) -> None:
        stack = self.stack
        if name in _IGNORED:
            return
        if name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name in _TUPLES:
            stack.append(tuple([self.pop() for _ in range(_TUPLES[name])][::-1]))
        elif name in _ACTIONS:
            _ACTIONS[name](self, arg)
        elif name in _EXTENSIONS:
            stack.append(self.imported("copyreg", f"extension {arg}"))
        elif arg is not None:
            stack.append(arg)
        else:
            raise DamagedFileError(f"the pickle has the opcode {name}")

    def put(self, arg: Any) -> None:
        self.memo[len(self.memo) if arg is None else arg] = self.top()

    def get(self, arg: Any) -> None:
        if arg not in self.memo:
            raise DamagedFileError(f"the pickle refers to entry {arg} of its memo, which is not there")
        self.stack.append(self.memo[arg])

    def append(self, values: list[Any]) -> None:
        target = self.top()
        if isinstance(target, list):
            target += values
        elif isinstance(target, Call):
            target.elements += values

    def set_items(self, flat: list[Any]) -> None:
        target = self.top()
        items = target.items if isinstance(target, Call) else target
        if not isinstance(items, dict) or len(flat) % 2:
            raise DamagedFileError("the pickle sets items of something that has none")
        for key, value in zip(flat[::2], flat[1::2], strict=True):
            items[key if type(key) in _PLAIN else _Key()] = value

    def call(self, args: Any, function: Any) -> None:
        self.stack.append(Call(function, args))

    def build(self) -> None:
        state, target = self.pop(), self.top()
        if isinstance(target, Call):
            target.state = state

    def dictionary(self) -> None:
        flat = self.pop_mark()
        self.stack.append({})
        self.set_items(flat)

    def global_(self, arg: str) -> Global:
        module, _, name = arg.partition(" ")
        return self.imported(module, name)

    def stack_global(self) -> None:
        name, module = self.pop(), self.pop()
        self.stack.append(self.imported(module, name))

    def obj(self) -> None:
        function, *args = self.pop_mark() or [None]
        self.call(tuple(args), function)

    def new_with_keywords(self) -> None:
        keywords, args, function = self.pop(), self.pop(), self.pop()
        self.call((args, keywords), function)


_ACTIONS: dict[str, Callable[[_Machine, Any], Any]] = {
    "MARK": lambda m, _: m.stack.append(_MARK),
    "POP": lambda m, _: m.stack.pop() if m.stack and m.stack[-1] is _MARK else m.pop(),
    "POP_MARK": lambda m, _: m.pop_mark(),
    "DUP": lambda m, _: m.stack.append(m.top()),
    "LIST": lambda m, _: m.stack.append(m.pop_mark()),
    "FROZENSET": lambda m, _: m.stack.append(m.pop_mark()),
    "TUPLE": lambda m, _: m.stack.append(tuple(m.pop_mark())),
    "DICT": lambda m, _: m.dictionary(),
    "APPEND": lambda m, _: m.append([m.pop()]),
    "APPENDS": lambda m, _: m.append(m.pop_mark()),
    "ADDITEMS": lambda m, _: m.append(m.pop_mark()),
    "SETITEM": lambda m, _: m.set_items([m.pop(), m.pop()][::-1]),
    "SETITEMS": lambda m, _: m.set_items(m.pop_mark()),
    "PUT": _Machine.put,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": lambda m, _: m.put(None),
    "GET": _Machine.get,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "GLOBAL": lambda m, arg: m.stack.append(m.global_(arg)),
    "STACK_GLOBAL": lambda m, _: m.stack_global(),
    "INST": lambda m, arg: m.call(tuple(m.pop_mark()), m.global_(arg)),
    "OBJ": lambda m, _: m.obj(),
    "REDUCE": lambda m, _: m.call(m.pop(), m.pop()),
    "NEWOBJ": lambda m, _: m.call(m.pop(), m.pop()),
    "NEWOBJ_EX": lambda m, _: m.new_with_keywords(),
    "BUILD": lambda m, _: m.build(),
    "PERSID": lambda m, arg: m.stack.append(Persistent(arg)),
    "BINPERSID": lambda m, _: m.stack.append(Persistent(m.pop())),
}


def read_pickle(data: bytes | BytesIO) -> Pickle:
    """The next pickle of a stream, without executing any of it.

    Raises:
        DamagedFileError: when it is cut off, or no pickle.
    """
    machine = _Machine()
    stream = BytesIO(data) if isinstance(data, bytes) else data
    try:
        for opcode, arg, _ in pickletools.genops(stream):
            if opcode.name == "STOP":
                return Pickle(machine.pop(), tuple(machine.globals))
            machine.step(opcode.name, arg)
    except ValueError as error:
        raise DamagedFileError(f"the pickle is truncated or corrupt: {error}") from error
    raise DamagedFileError("the pickle has no end")
