"""The proof in a browser: a TF.js model on Chromium's wasm, webgl and webgpu backends, compared with its source."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from convkit.artifact import Artifact
from convkit.browser import chromium
from convkit.components import Host, Runtime, Tracer
from convkit.errors import ConversionError, ConvkitError, UsageError
from convkit.formats import Format, Variant
from convkit.reports.schema import SCHEMA_VERSION, Tolerance, ValidationReport, Verdict
from convkit.validators.comparison import Comparison
from convkit.validators.localization import add_drift
from convkit.workers import toolchains
from convkit.workers.pool import WorkerPool

__all__ = ["BACKENDS", "BrowserReport", "validate"]

BACKENDS = ("wasm", "webgl", "webgpu")
_HOST = Host(group="browser", preload=("numpy",))
_MODULE = "convkit.browser.tfjs"
_FLOAT32 = Tolerance(1e-4, "float32 in a browser: kernels sum in other orders")
_SOFTWARE = 1e-2
# What software drivers call themselves: Chromium's, Mesa's, Windows's.
_SOFTWARE_DRIVERS = ("swiftshader", "llvmpipe", "softpipe", "basic render")


@dataclass
class BrowserReport:
    """What a browser made of a model.

    Attributes:
        browser: Its name and version.
        driver: The graphics driver of its WebGL, "" where it has none.
        adapter: What its WebGPU computes on, "" where it has none.
        backends: The comparison on each backend that ran the model.
        absent: Backends that this browser does not have, and why; they prove nothing and disprove nothing.
        failures: Why the others did not run it.
    """

    browser: str
    driver: str
    adapter: str = ""
    backends: dict[str, ValidationReport] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def software_driver(self) -> bool:
        """Whether the driver computes on the processor."""
        return _is_software(self.driver)

    @property
    def verdict(self) -> Verdict:
        if self.failures or not self.backends:
            return Verdict.FAILED
        proved = all(report.verdict is Verdict.PROVED for report in self.backends.values())
        return Verdict.PROVED if proved else Verdict.DRIFT

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "verdict": self.verdict.value,
            "browser": self.browser,
            "driver": self.driver,
            "software_driver": self.software_driver,
            "adapter": self.adapter,
            "backends": {name: report.to_json() for name, report in self.backends.items()},
            "absent": self.absent,
            "failures": self.failures,
        }


def validate(
    comparison: Comparison, target: Artifact, scratch: Path, pool: WorkerPool, locate: bool | None = None
) -> BrowserReport:
    """Runs the target in headless Chromium on every backend.

    Args:
        comparison: With the source and what to hold the target to.
        target: A TF.js model.
        scratch: An existing directory for arrays.
        pool: Whose workers run the source and the browser.
        locate: Tell where a difference starts on each backend: by default where the models differ there.

    Raises:
        UsageError: The target is no TF.js model.
        ToolchainError: There is no Chromium, or its packages cannot be installed.
        ConversionError: The source does not run.
    """
    if target.format is not Format.TFJS:
        raise UsageError(
            f"{target.path} is {target.variant.title}, and --browser runs TF.js models",
            hint="convkit preview shows ONNX and LiteRT models in a browser",
        )
    version = chromium.version(chromium.executable())
    toolchains.ensure("browser", auto=True)
    worker = pool.worker(_HOST)

    def call(function: str) -> Any:
        return worker.call(f"{_MODULE}:{function}", {}, stage="validate", component=version, timeout=comparison.timeout).result

    try:
        drivers = call("drivers")
        report = BrowserReport(version, drivers["webgl"], drivers["webgpu"])
        for backend in BACKENDS:
            if not drivers.get(backend, "processor"):
                report.absent[backend] = f"{version} has no {backend} on this machine: nothing was run on it"
                continue
            runtime = _runtime(backend, report)
            compared = replace(comparison, runtime=runtime, coarsest=_tolerance(backend, report))
            try:
                found = report.backends[backend] = compared.run(target, scratch, pool)[0]
                if locate or (locate is None and found.verdict is Verdict.DRIFT):
                    add_drift(compared, target, found, scratch, pool, _tracer(runtime))
            except ConversionError as error:
                if error.component != runtime.name:  # it is the source that does not run
                    raise
                report.failures[backend] = error.message
        return report
    finally:
        with suppress(ConvkitError):  # what went wrong before is what counts
            call("close")


def _runtime(backend: str, report: BrowserReport) -> Runtime:
    tfjs = toolchains.get("browser").version("@tensorflow/tfjs-core")
    where = ", ".join(filter(None, (report.browser, _driver(backend, report))))
    return Runtime(
        name=f"TF.js {tfjs} {backend} ({where})",
        variants=(Variant.TFJS_GRAPH, Variant.TFJS_LAYERS),
        host=_HOST,
        module=_MODULE,
        settings={"backend": backend},
    )


def _tracer(runtime: Runtime) -> Tracer:
    """What looks into a model where a runtime of this page runs it."""
    return Tracer(runtime.name, (Variant.TFJS_GRAPH,), runtime.host, runtime.module, runtime.settings)


def _driver(backend: str, report: BrowserReport) -> str:
    return {"webgl": report.driver, "webgpu": report.adapter}.get(backend, "")


def _is_software(driver: str) -> bool:
    return any(name in driver.lower() for name in _SOFTWARE_DRIVERS)


def _tolerance(backend: str, report: BrowserReport) -> Tolerance:
    driver = _driver(backend, report)
    return Tolerance(_SOFTWARE, f"{backend} on a software driver: {driver}") if _is_software(driver) else _FLOAT32
