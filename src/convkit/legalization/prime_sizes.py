"""Pins the dynamic dimensions of an exported program to primes, so that a converter without dynamic shapes can take it.

A prime that divides no integer of the program marks its symbol: in whatever the converter writes, a dimension that it
divides is a multiple of that symbol, because a prime divides a product only if it divides a factor. Sizes that are no
multiples (`batch + 1`, `(height - 1) // 2 + 1`) are known from the program's own symbolic shapes.

Where a program computes with a size as a *value* (a mean over a dynamic axis, `arange(length)`, a causal mask), a static
conversion would fold the prime into the weights. Those places are rewritten to read an extra input: a vector that holds
a size, or 0, 1, 2, … up to one. Who restores the dynamic dimensions replaces the extra inputs by computed tensors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import TYPE_CHECKING, Any

from convkit.errors import ConversionError
from convkit.legalization.replacements import DerivedInput, Known, Needs, Replacement, expression, plan_replacement

if TYPE_CHECKING:
    import sympy  # type: ignore[import-untyped]
    import torch

__all__ = ["DynamicSizes", "PinnedProgram", "SizeOrigin", "pin_sizes"]

# Larger primes collide with fewer sizes that a converter makes up (padding), and cost nothing: nothing is computed.
_SMALLEST = 11
_SMALLEST_IN_NARROW_RANGE = 5
_LARGEST = 1024
_PADDING = 4
_FEW = 64


@dataclass(frozen=True)
class SizeOrigin:
    """Where a symbol's size can be read: `input.shape[axis] == scale * symbol + offset`."""

    position: int
    axis: int
    scale: int = 1
    offset: int = 0


@dataclass(frozen=True)
class DynamicSizes:
    """What the primes in a pinned program stand for.

    Attributes:
        primes: The size that each symbol was pinned to.
        expressions: The sizes that are no plain multiples of symbols, and what they are in symbols.
        origins: Where each symbol can be read at run time.
        derived: The extra inputs, after the program's own.
        defaults: A size for each symbol that suits a file's default shape.
    """

    primes: Mapping[str, int]
    expressions: Mapping[int, sympy.Expr]
    origins: Mapping[str, SizeOrigin]
    derived: tuple[DerivedInput, ...]
    defaults: Mapping[str, int]

    def resolve(self, size: int) -> int | sympy.Expr:
        """What a size in the converted program stands for: itself, or an expression in symbols."""
        if size in self.expressions:
            return self.expressions[size]
        import sympy

        found: Any = sympy.Integer(1)
        rest = size
        for symbol, prime in self.primes.items():
            while rest > 0 and rest % prime == 0:
                rest //= prime
                found = found * sympy.Symbol(symbol, integer=True, positive=True)
        return size if rest == size else found * rest

    def default(self, size: int) -> int:
        """The size in the file's default shape."""
        found = self.resolve(size)
        return found if isinstance(found, int) else max(1, _evaluate(found, self.defaults))


@dataclass(frozen=True)
class PinnedProgram:
    """A program with static sizes.

    Attributes:
        module: Takes the program's flat user tensors and the derived inputs, gives its flat user outputs.
        samples: Zeros of the pinned shapes, one for each input of the module.
        sizes: What the pinned sizes stand for.
        rewritten: The operators that were replaced, with what happens instead.
    """

    module: torch.nn.Module
    samples: tuple[torch.Tensor, ...]
    sizes: DynamicSizes
    rewritten: Mapping[str, str]


def pin_sizes(program: torch.export.ExportedProgram) -> PinnedProgram:
    """Pins every dynamic size of a program to a prime; a program without dynamic sizes keeps its sizes.

    Raises:
        ConversionError: A symbol's range holds no usable prime, a symbol cannot be read off an input, or an operator
            depends on a dynamic size in a way that is not expressible.
    """
    import torch

    inner = program.module()
    every = [n for n in inner.graph.nodes if n.op == "placeholder"]
    placeholders = [n for n in every if isinstance(n.meta["val"], torch.Tensor)]
    origins = _origins(placeholders)
    replacements, derived, mentioned = _plan_replacements(inner.graph)
    shapes = list(dict.fromkeys([*_symbolic_sizes(inner.graph), *(d.size for d in derived), *mentioned]))
    leading = _leading(placeholders)
    primes = _choose_primes(program, inner, origins, shapes, leading)
    sizes = DynamicSizes(
        primes,
        _expressions(shapes, primes, _static_integers(program, inner.graph)),
        origins,
        derived,
        # 1 for what is a batch, as TensorFlow's converter writes it; else the prime, which is valid: an image of one pixel
        # is no valid default, the interpreter would refuse to allocate its pooled tensors.
        {symbol: 1 if symbol in leading else prime for symbol, prime in primes.items()},
    )

    class StaticProgram(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.program = inner
            self.training = False  # an exported module refuses eval()

        def forward(self, *flat: torch.Tensor) -> tuple[torch.Tensor, ...]:
            known = dict(zip(derived, flat[len(placeholders) :], strict=True))
            given = dict(zip(placeholders, flat, strict=False))
            # An input that is no tensor was fixed by the export.
            inputs = [given[n] if n in given else n.meta["val"] for n in every]
            interpreter = _interpreter(self.program, replacements, known)
            with torch.fx.traceback.preserve_node_meta():
                found = interpreter.run(*inputs, enable_io_processing=False)
            return tuple(v for v in torch.utils._pytree.tree_leaves(found) if v is not None)

    samples = [
        torch.zeros([_evaluate(expression(d), primes) for d in n.meta["val"].shape], dtype=n.meta["val"].dtype)
        for n in placeholders
    ]
    for extra in derived:
        count = _evaluate(extra.size, primes) if extra.is_range else 1
        samples.append(torch.zeros(count, dtype=torch.int32))
    rewritten = {str(node.target): replacement.reason for node, replacement in replacements.items()}
    return PinnedProgram(StaticProgram(), tuple(samples), sizes, rewritten)


def _evaluate(size: sympy.Expr, primes: Mapping[str, int]) -> int:
    return int(size.subs({s: primes[s.name] for s in size.free_symbols}))


def _expressions(sizes: Sequence[sympy.Expr], primes: Mapping[str, int], static: set[int]) -> dict[int, sympy.Expr]:
    """The sizes that vary and are no plain multiples, by their value."""
    found = {}
    for size in sizes:
        value = _evaluate(size, primes)
        if not (_is_settled(size, primes) or _is_multiple(value, size, primes) or value in static):
            found[value] = size
    return found


def _is_multiple(value: int, size: sympy.Expr, primes: Mapping[str, int]) -> bool:
    """Whether `DynamicSizes.resolve` finds this expression from the value alone."""
    return bool(DynamicSizes(primes, {}, {}, (), {}).resolve(value) == size)


def _values(node: torch.fx.Node) -> list[Any]:
    import torch

    return [v for v in torch.utils._pytree.tree_leaves(node.meta.get("val")) if isinstance(v, torch.Tensor)]


def _symbolic_sizes(graph: torch.fx.Graph) -> Iterator[sympy.Expr]:
    """Every distinct symbolic dimension or size in the graph."""
    import torch

    seen = set()
    for node in graph.nodes:
        sizes = [d for v in _values(node) for d in v.shape]
        if isinstance(node.meta.get("val"), torch.SymInt):
            sizes.append(node.meta["val"])
        for size in sizes:
            if isinstance(size, torch.SymInt) and (found := expression(size)) not in seen and found.free_symbols:
                seen.add(found)
                yield found


def _origins(placeholders: Sequence[torch.fx.Node]) -> dict[str, SizeOrigin]:
    found: dict[str, SizeOrigin] = {}
    for position, node in enumerate(placeholders):
        for axis, size in enumerate(node.meta["val"].shape):
            found_size = expression(size)
            if len(found_size.free_symbols) != 1:
                continue
            symbol = next(iter(found_size.free_symbols))
            scale = found_size.coeff(symbol)
            offset = found_size - scale * symbol
            if not (scale.is_Integer and offset.is_Integer):
                continue
            origin = SizeOrigin(position, axis, int(scale), int(offset))
            if symbol.name not in found or (origin.scale, origin.offset) == (1, 0) != _affine(found[symbol.name]):
                found[symbol.name] = origin
    return found


def _affine(origin: SizeOrigin) -> tuple[int, int]:
    return origin.scale, origin.offset


def _leading(placeholders: Sequence[torch.fx.Node]) -> set[str]:
    """The symbols that are only ever an input's first axis: batches."""
    axes: dict[str, set[int]] = {}
    for node in placeholders:
        for axis, size in enumerate(node.meta["val"].shape):
            for symbol in expression(size).free_symbols:
                axes.setdefault(symbol.name, set()).add(axis)
    return {symbol for symbol, found in axes.items() if found == {0}}


def _static_integers(program: torch.export.ExportedProgram, graph: torch.fx.Graph) -> set[int]:
    """Every concrete size, and integer argument, of the program and its parameters."""
    import torch

    found: set[int] = set()
    for tensor in (*program.state_dict.values(), *program.constants.values()):
        if isinstance(tensor, torch.Tensor):
            found |= {int(d) for d in tensor.shape}
            if not tensor.is_floating_point() and tensor.numel() <= _FEW:
                found |= {abs(int(v)) for v in tensor.reshape(-1).tolist()}
    for node in graph.nodes:
        found |= {int(d) for v in _values(node) for d in v.shape if isinstance(d, int)}
        arguments = torch.utils._pytree.tree_leaves((node.args, dict(node.kwargs)))
        found |= {abs(a) for a in arguments if isinstance(a, int) and not isinstance(a, bool)}
    return {n for n in found if 1 < n < 1 << 31}


def _primes(low: int, high: int) -> Iterator[int]:
    return (n for n in range(max(low, 2), high + 1) if all(n % k for k in range(2, int(n**0.5) + 1)))


def _ranges(program: torch.export.ExportedProgram, symbols: Iterable[str]) -> dict[str, tuple[int, int]]:
    found = dict.fromkeys(symbols, (2, _LARGEST))
    for symbol, bounds in program.range_constraints.items():
        if str(symbol) in found:
            low, high = bounds.lower, bounds.upper
            # torch's own infinity says that it is finite.
            found[str(symbol)] = (int(low), int(high) if high < _LARGEST else _LARGEST)
    return found


def _choose_primes(
    program: torch.export.ExportedProgram,
    inner: Any,
    origins: Mapping[str, SizeOrigin],
    sizes: Sequence[sympy.Expr],
    leading: set[str],
) -> dict[str, int]:
    symbols = sorted({s.name for e in sizes for s in e.free_symbols})
    if missing := [s for s in symbols if s not in origins]:
        raise ConversionError(
            f"the dynamic size {missing[0]} of the program cannot be read off the shape of an input",
            hint="sizes that depend on the data have no LiteRT counterpart; pin that dimension",
        )
    static = _static_integers(program, inner.graph)
    ranges = _ranges(program, symbols)
    # What a program computes with a batch does not depend on its bound, unlike a length that positions are looked up for.
    unbounded = {s: (low, _LARGEST if s in leading else high) for s, (low, high) in ranges.items()}
    # First with room for padding, then without, then with the small primes that a narrow range leaves. At last sizes
    # that also occur as static ones are let pass: a deep feature map may be 3 × 3 at any prime in the range.
    for smallest, padding, reserved, within in (
        (_SMALLEST, _PADDING, static, ranges),
        (_SMALLEST, 0, static, ranges),
        (_SMALLEST_IN_NARROW_RANGE, 0, static, ranges),
        (_SMALLEST_IN_NARROW_RANGE, 0, static, unbounded),
        (_SMALLEST_IN_NARROW_RANGE, 0, set[int](), unbounded),
    ):
        candidates = [_usable_primes(s, smallest, padding, within[s], sizes, static, reserved) for s in symbols]
        for combination in islice(product(*candidates), 4096):
            primes = dict(zip(symbols, combination, strict=True))
            if len(set(combination)) == len(combination) and _is_unambiguous(sizes, primes, reserved):
                return primes
    raise ConversionError(
        "no sizes tell the dynamic dimensions apart from the static ones: "
        + ", ".join(f"{s} in {low}…{high}" for s, (low, high) in ranges.items()),
        hint="give the dynamic dimensions a wider range when you export",
    )


def _usable_primes(
    symbol: str,
    smallest: int,
    padding: int,
    within: tuple[int, int],
    sizes: Sequence[sympy.Expr],
    static: set[int],
    reserved: set[int],
) -> list[int]:
    """Primes for a symbol that are no static size's: small ones first, then some from the whole range."""
    alone = [e for e in sizes if {s.name for s in e.free_symbols} == {symbol}]
    usable = [
        p
        for p in _primes(max(within[0], smallest), min(within[1], _LARGEST))
        if not any((n + k) % p == 0 for n in static for k in range(padding + 1)) and _is_unambiguous(alone, {symbol: p}, reserved)
    ]
    return usable[:8] + usable[8 :: max(1, len(usable) // 8)]


def _is_unambiguous(sizes: Sequence[sympy.Expr], primes: Mapping[str, int], reserved: set[int]) -> bool:
    """Whether every symbolic size has a value that is not reserved, and that no other expression has."""
    values: dict[int, int] = {}
    for size in sizes:
        if _is_settled(size, primes):
            continue
        value, elsewhere = _evaluate(size, primes), _evaluate(size, _others(primes))
        if value <= 1 or value in reserved or values.setdefault(value, elsewhere) != elsewhere:
            return False
    return True


def _others(primes: Mapping[str, int]) -> dict[str, int]:
    """Sizes other than the primes, to tell expressions apart that agree on the primes."""
    return {symbol: 3 * prime + 1 for symbol, prime in primes.items()}


def _is_settled(size: sympy.Expr, primes: Mapping[str, int]) -> bool:
    """Whether an expression does not vary (`min(4, batch)` for batches that are larger)."""
    return _evaluate(size, primes) == _evaluate(size, _others(primes))


def _plan_replacements(
    graph: torch.fx.Graph,
) -> tuple[dict[torch.fx.Node, Replacement], tuple[DerivedInput, ...], tuple[sympy.Expr, ...]]:
    needs = Needs()
    found = {}
    for node in graph.nodes:
        if node.op == "call_function" and (replacement := plan_replacement(node, needs)) is not None:
            found[node] = replacement
    return found, tuple(needs.found), tuple(needs.mentioned)


def _interpreter(module: Any, replacements: Mapping[torch.fx.Node, Replacement], known: Known) -> torch.fx.Interpreter:
    import torch

    class PinningInterpreter(torch.fx.Interpreter):  # type: ignore[misc]
        def run_node(self, n: torch.fx.Node) -> Any:
            if n.op == "call_module" and n.target == "_guards_fn":
                return None  # the guards hold for the ranges; there is nothing to convert in them
            if "_assert" in str(n.target) or "sym_constrain" in str(n.target):
                return None
            if n in replacements:
                args, kwargs = self.fetch_args_kwargs_from_env(n)
                with torch.fx.traceback.set_current_meta(n):
                    return replacements[n].compute(known, *args, **kwargs)
            return super().run_node(n)

    return PinningInterpreter(module)
