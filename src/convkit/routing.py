"""Which of the planned routes are taken, in which order, and what must be installed for them first."""

from __future__ import annotations

from collections.abc import Iterable

from convkit.artifact import Artifact
from convkit.components import Host
from convkit.errors import NoRouteError, ToolchainError, UsageError
from convkit.events import Event, Observer
from convkit.formats import Format, Variant
from convkit.options import ConvertOptions
from convkit.planner import Route, plan_routes
from convkit.registry import runtime_for

__all__ = ["chosen", "hosts", "provision", "provision_runtimes", "runnable"]


def chosen(artifact: Artifact, target: Format, options: ConvertOptions) -> list[Route]:
    """The planner's routes, or the one that the user named."""
    routes = plan_routes(artifact.variant, target, via=options.via)
    known = {o.name: o for route in routes for step in route.steps for o in step.options}
    if unknown := set(options.converter_options) - set(known):
        raise UsageError(
            f"no converter on the way has the option {', '.join(sorted(unknown))}",
            hint="; ".join(f"{o.name}: {o.help}" for o in known.values()) or "leave it out: the converters here have none",
        )
    if options.route is None:
        return routes
    named = [r for r in routes if tuple(r.names) == options.route]
    if not named:
        raise UsageError(
            f"there is no route {' → '.join(options.route)}",
            hint="the routes are " + "; ".join(",".join(r.names) for r in routes),
        )
    return named


def runnable(routes: list[Route], options: ConvertOptions, observe: Observer) -> list[Route]:
    """The routes whose packages are there, and whose toolchains are there or may be installed when they are reached.

    The first one is made ready now, because its workers are about to start.
    """
    ready: list[Route] = []
    obstacles: list[str] = []
    for route in routes:
        if route.obstacles and not (route.installable and options.install):
            obstacles.extend(f"{route} needs {o}" for o in route.obstacles)
            continue
        if not ready:
            try:
                provision(route, observe)
            except ToolchainError as error:
                obstacles.append(f"{error.message} ({error.hint})" if error.hint else error.message)
                continue
        ready.append(route)
    if not ready:
        raise NoRouteError("no route can run here: " + "; ".join(dict.fromkeys(obstacles)), hint="convkit doctor")
    return ready


def hosts(route: Route, source: Variant, target: Variant) -> list[Host]:
    """The hosts of all that takes part in a conversion: the converters, and both sides' runtimes."""
    runtimes = filter(None, map(runtime_for, (source, target)))
    return [*(step.host for step in route.steps), *(runtime.host for runtime in runtimes)]


def provision(route: Route, observe: Observer) -> None:
    """Installs the toolchains of a route that are not there yet.

    Raises:
        ToolchainError: One cannot be installed, or must not be (`CONVKIT_OFFLINE=1`).
    """
    if not route.obstacles:
        return
    for step in route.steps:
        if step.host.toolchain != "main":
            _provision(step.host.toolchain, True, observe)


def provision_runtimes(variants: Iterable[Variant], options: ConvertOptions, observe: Observer) -> None:
    """Installs the tools of the runtimes of variants that are not there yet.

    Raises:
        ToolchainError: One cannot be installed, or must not be.
    """
    for runtime in filter(None, map(runtime_for, variants)):
        for tool in runtime.host.tools:
            _provision(tool, options.install, observe)


def _provision(name: str, auto: bool, observe: Observer) -> None:
    from convkit.workers import toolchains

    if not toolchains.get(name).installed():
        observe(Event("toolchain", name, running=True))
        toolchains.ensure(name, auto, lambda text: observe(Event("toolchain", text)))
