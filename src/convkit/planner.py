"""Plans routes: which chains of converters lead from a variant to a format, in which order, and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from convkit.components import Converter
from convkit.errors import NoRouteError, UsageError
from convkit.formats import Format, Variant
from convkit.registry import converters, lacking_packages

__all__ = ["Route", "missing", "plan_routes"]

_MAX_STEPS = 4
_STEP_COST = 1.0
"""What every further step to another format costs: each one is a chance to fail and to drift."""


@dataclass(frozen=True)
class Route:
    """A chain of converters, its cost, and what keeps it from running here.

    Attributes:
        steps: From the source to the target.
        obstacles: What must be installed first, with the command; empty when the route can run now.
        installable: Whether every obstacle is a toolchain that convkit provisions by itself at first use.
    """

    steps: tuple[Converter, ...]
    obstacles: tuple[str, ...] = ()
    installable: bool = False

    @property
    def cost(self) -> float:
        crossings = sum(s.target.format is not s.sources[0].format for s in self.steps)
        return sum(s.cost for s in self.steps) + _STEP_COST * max(0, crossings - 1)

    @property
    def names(self) -> list[str]:
        return [s.name for s in self.steps]

    @property
    def variants(self) -> list[Variant]:
        """The variants that the model passes through after the source."""
        return [s.target for s in self.steps]

    def __str__(self) -> str:
        return " → ".join(self.names)


def plan_routes(
    source: Variant, target: Format, *, via: Format | None = None, registered: Iterable[Converter] | None = None
) -> list[Route]:
    """All routes, cheapest first; those that cannot run here come last.

    Args:
        source: The variant to start from.
        target: The format to reach.
        via: A format that the route must pass through.
        registered: The converters to plan with, all registered ones by default.

    Raises:
        UsageError: The source is of the target's written variant already.
        NoRouteError: Nothing leads there.
    """
    if source is target.default_variant:
        raise UsageError(f"the model is {source.title} already", hint="choose another format for --to")
    edges = tuple(converters() if registered is None else registered)
    found = [
        _judged(steps)
        for steps in _chains(edges, source, target)
        if via is None or any(s.target.format is via for s in steps[:-1])
    ]
    if not found:
        through = f" through {via.title}" if via else ""
        raise NoRouteError(
            f"no route leads from {source.title} to {target.title}{through}",
            hint="convkit formats --matrix shows which pairs are connected",
        )
    return sorted(found, key=lambda r: (bool(r.obstacles) and not r.installable, r.cost, r.names))


def _chains(
    edges: tuple[Converter, ...], source: Variant, target: Format, walked: tuple[Converter, ...] = ()
) -> Iterator[tuple[Converter, ...]]:
    """Simple paths: no format is left and entered again, and the target ends the path."""
    if len(walked) == _MAX_STEPS:
        return
    left = {s.sources[0].format for s in walked} | {source.format}
    for edge in edges:
        if source not in edge.sources:
            continue
        within = edge.target.format is source.format
        if not within and edge.target.format in left:
            continue
        if within and any(edge.target in s.sources or edge.target is s.target for s in walked):
            continue
        chain = (*walked, edge)
        if edge.target is target.default_variant:
            yield chain
        elif edge.target.format is not target or within:
            yield from _chains(edges, edge.target, target, chain)


def _judged(steps: tuple[Converter, ...]) -> Route:
    obstacles, installable = [], True
    for step in steps:
        if lacking := missing(step):
            obstacles.append(lacking)
            installable = installable and step.host.toolchain != "main"
    return Route(steps, tuple(dict.fromkeys(obstacles)), bool(obstacles) and installable)


def missing(converter: Converter) -> str:
    """What must be installed before a converter can run, as one clause with the command; "" when it can run."""
    if converter.host.toolchain != "main":
        from convkit.workers import toolchains

        name = converter.host.toolchain
        return "" if toolchains.get(name).installed() else f"the toolchain {name}: convkit toolchain install {name}"
    lacking = lacking_packages(converter.host)
    return f"{', '.join(lacking)}: pip install {' '.join(lacking)}" if lacking else ""
