"""A model on a page: its signature, its outputs on every backend of a browser, and how far they are from the reference."""

from __future__ import annotations

import json
import queue
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from convkit import readers
from convkit.arrays import load_arrays, save_arrays
from convkit.artifact import Artifact, ModelInfo
from convkit.browser.chromium import SOFTWARE_WEBGPU, Chromium
from convkit.browser.server import PageServer
from convkit.browser.site import add_litert, add_onnx, add_page, add_tfjs
from convkit.browser.static_litert import fix_sizes
from convkit.errors import ConversionError, UsageError
from convkit.formats import Format
from convkit.javascript.wire import WireError, pack_message
from convkit.readers.companions import companion
from convkit.reports.schema import SCHEMA_VERSION
from convkit.reports.terminal import human_bytes
from convkit.runtimes import tfjs
from convkit.validators.comparison import Comparison, runtime_of, titled
from convkit.workers import toolchains
from convkit.workers.pool import WorkerPool

__all__ = ["Preview", "PreviewReport", "prepare"]

_PACKAGES = {Format.TFJS: add_tfjs, Format.ONNX: add_onnx, Format.LITERT: add_litert}
_TOLERANCE = 1e-4
_SETS = 3


@dataclass(frozen=True)
class PreviewReport:
    """What a page measured.

    Attributes:
        model: The file's name.
        runtime: What computed the reference.
        tolerance: The share of an output's scale within which a backend agrees.
        backends: Per backend `backend`, `state` ("agrees", "differs", "failed", "absent"), `latency_ms` (warm median),
            `difference` (share of the output's scale) and `reason`.
    """

    model: str
    runtime: str
    tolerance: float
    backends: list[dict[str, Any]]

    @property
    def agrees(self) -> bool:
        """Whether every backend that the browser has agrees with the reference, and there is one."""
        there = [b["state"] for b in self.backends if b["state"] != "absent"]
        return bool(there) and set(there) == {"agrees"}

    def to_json(self) -> dict[str, Any]:
        return {"schema_version": SCHEMA_VERSION, "agrees": self.agrees, **vars(self)}


@dataclass
class Preview:
    """A page that is served until it is closed.

    Attributes:
        url: Its address; whoever has it can see the model.
        model: The file's name.
        runtime: What computed the reference.
        tolerance: The share of an output's scale within which a backend agrees.
        flags: For a Chromium that shows it.
    """

    url: str
    model: str
    runtime: str
    tolerance: float
    flags: tuple[str, ...]
    _server: PageServer
    _results: queue.Queue[dict[str, Any]] = field(default_factory=queue.Queue)

    def measure(self, timeout: float) -> PreviewReport:
        """Shows the page in headless Chromium and returns what it measured.

        Raises:
            ToolchainError: There is no Chromium.
            ConversionError: The page fails, or is not done in time (seconds).
        """
        browser = Chromium(self.url, self.flags)
        try:
            deadline = time.monotonic() + timeout
            while True:
                with suppress(queue.Empty):
                    return self._report(self._results.get(timeout=0.2))
                if not browser.running or time.monotonic() > deadline:
                    raise _failure(f"the page was not done within {timeout:g} s: {browser.last_words()}")
        finally:
            browser.close()

    def _report(self, result: Mapping[str, Any]) -> PreviewReport:
        if "error" in result:
            raise _failure(str(result["error"])[:600])
        return PreviewReport(self.model, self.runtime, self.tolerance, list(result["backends"]))

    def close(self) -> None:
        self._server.close()


def prepare(comparison: Comparison, scratch: Path, pool: WorkerPool, port: int) -> Preview:
    """Computes the reference and serves the page.

    Args:
        comparison: Whose source is the model.
        scratch: A directory that lasts as long as the page.
        pool: Whose worker computes the reference.
        port: To serve on, 0 for any.

    Raises:
        UsageError: No browser runs models of the format.
        ConversionError: The runtime does not run the model.
        ToolchainError: The page's packages cannot be installed.
    """
    comparison = _as_the_browser_takes_it(comparison, scratch)
    artifact, info = comparison.source, comparison.source_info
    if artifact.format not in _PACKAGES or info is None:
        raise UsageError(
            f"{artifact.path.name} is {artifact.variant.title}, which no browser runs",
            hint="convert it first: convkit convert … --to tfjs (or onnx, or litert)",
        )
    toolchains.ensure("browser", auto=True)
    sets = _reference(comparison, scratch, pool)
    if artifact.format is Format.TFJS:
        sets = [(recipe, _narrowed(artifact, inputs), expected) for recipe, inputs, expected in sets]
    server = PageServer(port)
    try:
        runtime = titled(runtime_of(artifact.variant))
        tolerance = max(_TOLERANCE, *(t.relative for t in comparison.tolerances(artifact).values()))
        # LiteRT's kernels for WebGPU do not compile on a software driver; without one, it is said to be absent.
        flags = () if artifact.format is Format.LITERT else SOFTWARE_WEBGPU
        preview = Preview(server.url("page/preview.html"), artifact.path.name, runtime, tolerance, flags, server)
        content = {
            "title": artifact.path.name,
            "kind": artifact.variant.title,
            "engine": artifact.format.value,
            "runtime": runtime,
            "tolerance": tolerance,
            "signature": artifact.signature.to_json() if artifact.signature else None,
            "details": _details(info),
            "files": _files(server, artifact, info),
            "sets": [_served(server, index, *one) for index, one in enumerate(sets)],
        }
        add_page(server)
        _PACKAGES[artifact.format](server, toolchains.node_toolchain("browser"))
        encoded = json.dumps(content).encode()
        server.add_answer("preview.json", lambda: encoded)
        server.add_receiver("results", _receiver(preview._results))
        return preview
    except BaseException:
        server.close()
        raise


_Arrays = Mapping[str, np.ndarray]


def _as_the_browser_takes_it(comparison: Comparison, scratch: Path) -> Comparison:
    """The same model at fixed sizes where the browser's runtime has no dynamic ones."""
    source = comparison.source
    if source.format is not Format.LITERT or source.signature is None or not source.signature.dynamic_dims:
        return comparison
    file = scratch / source.path.name
    fix_sizes(source.path, file)
    info = readers.inspect(file)
    return replace(comparison, source=replace(source, path=file, signature=info.signature), source_info=info)


def _reference(comparison: Comparison, scratch: Path, pool: WorkerPool) -> list[tuple[str, _Arrays, _Arrays]]:
    """The input sets that the model runs on, with the outputs of convkit's own runtime."""
    artifact = comparison.source
    runtime = runtime_of(artifact.variant)
    sets = comparison.input_sets(artifact)[:_SETS]
    files = [(scratch / f"preview-{i}.npz", scratch / f"preview-{i}-expected.npz") for i in range(len(sets))]
    for chosen, (inputs, _) in zip(sets, files, strict=True):
        save_arrays(inputs, chosen.arrays)
    arguments = {
        "module": runtime.module,
        "artifact": artifact.to_json(),
        "inputs": [str(inputs) for inputs, _ in files],
        "outputs": [str(outputs) for _, outputs in files],
    }
    answer = pool.worker(runtime.host).call(
        "convkit.workers.running:run", arguments, stage="validate", component=titled(runtime), timeout=comparison.timeout
    )
    ran: list[tuple[str, _Arrays, _Arrays]] = [
        (chosen.recipe, chosen.arrays, load_arrays(outputs))
        for chosen, (_, outputs), result in zip(sets, files, answer.result, strict=True)
        if not result["error"]
    ]
    if not ran:
        raise _failure(f"{titled(runtime)} does not run the model: {answer.result[0]['error']}")
    return ran


def _narrowed(artifact: Artifact, arrays: _Arrays) -> _Arrays:
    """Inputs in the dtypes that TF.js has."""
    assert artifact.signature is not None
    return {spec.name: tfjs.narrowed(spec, arrays[spec.name]) for spec in artifact.signature.inputs}


def _served(server: PageServer, index: int, recipe: str, inputs: _Arrays, expected: _Arrays) -> dict[str, str]:
    addresses = {}
    for role, arrays in (("inputs", inputs), ("expected", expected)):
        try:
            message = b"".join(pack_message({}, arrays))
        except WireError as error:
            raise _failure(f"the {role} cannot be shown: {error}") from None
        addresses[role] = f"sets/{index}/{role}"
        server.add_answer(addresses[role], lambda message=message: message)  # type: ignore[misc]
    return {"recipe": recipe, **addresses}


def _files(server: PageServer, artifact: Artifact, info: ModelInfo) -> dict[str, Any]:
    """The addresses of the model's files, as the format's engine takes them."""
    if artifact.format is Format.TFJS:
        return _tfjs_files(server, artifact)
    model = server.add_file(f"model/model{artifact.path.suffix}", artifact.path)
    if artifact.format is Format.LITERT:
        assert artifact.signature is not None
        return {"model": model, "outputs": artifact.signature.output_names}
    names = info.metadata.get("external_data", ())
    paths = {name: companion(artifact.path, name, "a tensor") for name in names}
    return {"model": model, "data": {name: server.add_file(f"model/data-{i}", p) for i, (name, p) in enumerate(paths.items())}}


def _tfjs_files(server: PageServer, artifact: Artifact) -> dict[str, Any]:
    from convkit.readers.tfjs import load_model
    from convkit.readers.tfjs_weights import weight_groups

    file, model = load_model(artifact.path)
    shards = [
        [server.add_file(f"model/{g}-{s}.bin", shard) for s, shard in enumerate(group.shards)]
        for g, group in enumerate(weight_groups(file, model))
    ]
    return {"model": server.add_file("model/model.json", file), "shards": shards}


def _details(info: ModelInfo) -> list[tuple[str, str]]:
    """Label and text of what the page says of the model."""
    kinds = sorted(info.operators.items(), key=lambda item: (-item[1], item[0]))
    details = [("Size", human_bytes(info.size))]
    if info.parameters is not None:
        details.append(("Parameters", f"{info.parameters:,}"))
    if kinds:
        details.append(("Operators", ", ".join(f"{count}\N{NO-BREAK SPACE}×\N{NO-BREAK SPACE}{name}" for name, count in kinds)))
    return details


def _receiver(results: queue.Queue[dict[str, Any]]) -> Callable[[bytes], None]:
    def receive(body: bytes) -> None:
        with suppress(ValueError):  # not from our page: nothing to take in
            data = json.loads(body)
            if isinstance(data, dict) and ("error" in data or isinstance(data.get("backends"), list)):
                results.put(data)

    return receive


def _failure(message: str) -> ConversionError:
    return ConversionError(message, stage="preview", component="preview")
