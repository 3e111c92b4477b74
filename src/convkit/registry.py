"""Finds converters, runtimes, tracers, emitters, faces and metrics: modules of our packages, and third parties' entry points."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from importlib import metadata
from types import ModuleType

from convkit.components import Converter, Emitter, Face, Host, Metric, Runtime, Tracer
from convkit.errors import UsageError
from convkit.formats import Variant

__all__ = [
    "broken_plugins",
    "converters",
    "emitters",
    "faces",
    "find_converter",
    "host_versions",
    "installed_version",
    "lacking_packages",
    "metrics",
    "runtime_for",
    "runtimes",
    "tracers",
]


def _modules(package: str) -> Iterator[ModuleType]:
    """The modules of `convkit.<package>`, then those that third parties name under the entry-point group of that name."""
    root = importlib.import_module(f"convkit.{package}")
    for info in pkgutil.iter_modules(root.__path__):
        if not info.name.startswith("_"):
            yield importlib.import_module(f"{root.__name__}.{info.name}")
    for point in metadata.entry_points(group=f"convkit.{package}"):
        try:
            module = importlib.import_module(point.module)
        except (Exception, SystemExit) as error:  # somebody else's package must not take convkit down; `convkit doctor` tells
            _broken[f"{point.name} ({point.module})"] = f"{type(error).__name__}: {error}"
            continue
        descriptor, kind = _DESCRIPTORS[package]
        if not isinstance(getattr(module, descriptor, None), kind):
            _broken[f"{point.name} ({point.module})"] = f"it defines no {descriptor} = {kind.__name__}(…)"
            continue
        yield module


_DESCRIPTORS: dict[str, tuple[str, type]] = {
    "converters": ("CONVERTER", Converter),
    "runtimes": ("RUNTIME", Runtime),
    "emitters": ("EMITTER", Emitter),
    "reports.faces": ("FACE", Face),
    "tracing": ("TRACER", Tracer),
    "validators.metrics": ("METRIC", Metric),
}
_broken: dict[str, str] = {}


def broken_plugins() -> dict[str, str]:
    """Entry points that could not be imported, and why."""
    converters()
    runtimes()
    emitters()
    faces()
    tracers()
    metrics()
    return dict(_broken)


@cache
def converters() -> tuple[Converter, ...]:
    """All registered converters.

    Raises:
        UsageError: when two of them have the same name.
    """
    found: dict[str, Converter] = {}
    for module in _modules("converters"):
        converter = getattr(module, "CONVERTER", None)
        if isinstance(converter, Converter):
            if converter.name in found:
                raise UsageError(
                    f"two converters are called {converter.name!r}: {found[converter.name].module} and {module.__name__}",
                    hint="uninstall one of the two packages",
                )
            found[converter.name] = replace(converter, module=module.__name__)
    return tuple(found.values())


@cache
def runtimes() -> tuple[Runtime, ...]:
    """All registered runtimes."""
    return tuple(
        replace(module.RUNTIME, module=module.__name__)
        for module in _modules("runtimes")
        if isinstance(getattr(module, "RUNTIME", None), Runtime)
    )


@cache
def tracers() -> tuple[Tracer, ...]:
    """All registered tracers."""
    modules = [m for m in _modules("tracing") if isinstance(getattr(m, "TRACER", None), Tracer)]
    return tuple(replace(m.TRACER, module=m.__name__) for m in modules)


@cache
def emitters() -> dict[str, Emitter]:
    """All registered emitters, by name."""
    modules = [m for m in _modules("emitters") if isinstance(getattr(m, "EMITTER", None), Emitter)]
    return {m.EMITTER.name: replace(m.EMITTER, module=m.__name__) for m in modules}


@cache
def faces() -> dict[str, Face]:
    """The faces of a report, by suffix."""
    found = [m.FACE for m in _modules("reports.faces") if isinstance(getattr(m, "FACE", None), Face)]
    return {suffix: face for face in found for suffix in face.suffixes}


@cache
def metrics() -> dict[str, Metric]:
    """All registered metrics, by name."""
    found = [m.METRIC for m in _modules("validators.metrics") if isinstance(getattr(m, "METRIC", None), Metric)]
    return {metric.name: metric for metric in found}


def runtime_for(variant: Variant) -> Runtime | None:
    """The runtime that loads a variant, None where no registered one does."""
    return next((r for r in runtimes() if variant in r.variants), None)


def find_converter(name: str) -> Converter:
    """The converter of that name.

    Raises:
        UsageError: listing the names.
    """
    for converter in converters():
        if converter.name == name:
            return converter
    raise UsageError(f"there is no converter {name!r}", hint="the converters are " + ", ".join(c.name for c in converters()))


@cache
def installed_version(distribution: str) -> str | None:
    """The version of a distribution in this interpreter's environment, None where it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def host_versions(host: Host) -> dict[str, str]:
    """The versions of the packages that a host names and of those that its tools are for; lacking ones are left out."""
    from convkit.workers import toolchains

    own = installed_version if host.toolchain == "main" else toolchains.get(host.toolchain).version
    found = {package: own(package) for package in host.packages}
    for tool in map(toolchains.node_toolchain, host.tools):
        found |= {package: tool.version(package) for package in tool.packages}
    return {package: version for package, version in found.items() if version}


def lacking_packages(host: Host) -> list[str]:
    """The distributions that a host of this interpreter needs and that are not installed; a toolchain brings its own."""
    return [p for p in host.packages if host.toolchain == "main" and installed_version(p) is None]
