"""The terminal face: the lines that a conversion prints, and a drift table."""

from __future__ import annotations

import math

from convkit.artifact import Artifact, ModelInfo, size_of
from convkit.components import Converter
from convkit.legalization.target import Finding, Verdict
from convkit.registry import installed_version
from convkit.reports.schema import Cost, Emitted, OutputMetrics, Performance, Stage, Tolerance, ValidationReport
from convkit.signature import Signature

__all__ = [
    "describe_difference",
    "describe_findings",
    "describe_source",
    "describe_stage",
    "describe_step",
    "describe_validation",
    "failing_lines",
    "human_bytes",
    "human_seconds",
    "metric_values",
    "noise_text",
    "passing",
    "performance_lines",
    "printable",
]

# Everything below a space but the tab, DEL, and the C1 controls, of which one starts escape sequences too.
_CONTROLS = {c: f"\\x{c:02x}" for c in (*range(9), *range(10, 32), *range(127, 160))}


def printable(text: str) -> str:
    """The text with control characters spelt out: names come from files, and a terminal obeys escape sequences.

    Lone surrogates, which stand for undecodable bytes of a path and cannot be printed, are spelt out too.
    """
    return text.translate(_CONTROLS).encode("utf-8", "backslashreplace").decode()


def human_bytes(count: float) -> str:
    """`18 KB`, in powers of 1000."""
    for unit in ("B", "KB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if count >= 10 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def human_seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def describe_source(artifact: Artifact) -> str:
    signature = "signature not recorded" if artifact.signature is None else str(artifact.signature)
    return f"{artifact.path.name} · {artifact.variant.title} · {signature}"


def describe_step(step: Converter) -> str:
    """The converter with the version of the library behind it."""
    if step.host.toolchain != "main":
        from convkit.workers import toolchains

        version = toolchains.get(step.host.toolchain).version(step.host.packages[0])
    else:
        version = installed_version(step.host.packages[0]) if step.host.packages else None
    library = step.host.packages[0] if step.host.packages else step.name
    return f"{step.name} {version}" if library == step.name and version else f"{step.name} ({library} {version})"


def describe_findings(findings: list[Finding]) -> str:
    if not findings:
        return "no operators recorded"
    total = sum(f.count for f in findings)
    parts = []
    for verdict, word in ((Verdict.GAP, "gap"), (Verdict.REWRITTEN, "rewritten")):
        chosen = [f for f in findings if f.verdict is verdict]
        if chosen:
            parts.append(f"{sum(f.count for f in chosen)} {word}: " + ", ".join(f.operator for f in chosen))
    return f"{total} operators, " + ("; ".join(parts) if parts else "all legal")


def describe_stage(stage: Stage) -> str:
    return f"{human_seconds(stage.seconds)} ({stage.component})"


def passing(required: float) -> str:
    """A tolerance that passes, in two digits: rounded up, so that it does when it is typed."""
    if required == 0 or not math.isfinite(required):
        return "0" if required == 0 else "none"
    step = 10.0 ** (math.floor(math.log10(required)) - 1)
    return f"{math.ceil(round(required / step, 6)) * step:.1e}"


def noise_text(output: OutputMetrics) -> str:
    """How many noise floors a difference is: "4.1 × the noise floor 8.0e-07"; "" where no floor is known."""
    times = output.times_noise
    return "" if output.noise is None or times is None else f"{times:.2g} × the noise floor {output.noise.relative:.1e}"


def describe_difference(output: OutputMetrics) -> str:
    """An output's difference as a share of its scale, and in multiples of the noise floor."""
    return ", ".join(filter(None, (f"{output.required:.1e} of its scale", noise_text(output))))


def metric_values(output: OutputMetrics) -> list[str]:
    """Name and value of every metric of the output's kind, and of the user's own."""
    return [f"{name} {value:.6g}" for name, value in output.metrics.items()]


def describe_validation(report: ValidationReport) -> str:
    """All input sets in one line: the largest difference, in multiples of the noise too, and what would have passed."""
    outputs = [o for s in report.sets for o in s.outputs]
    tolerance = max((o.allowed for o in outputs), default=0.0)
    sets = len(report.sets)
    text = f"{sets} input set{'s' if sets != 1 else ''} × {report.target_runtime}: max |Δ| {report.max_abs:.1e}"
    text += f", {report.required:.1e} of scale"
    if told := noise_text(max(outputs, key=lambda o: o.required)) if outputs else "":
        text += f", {told}"
    text += f" (tolerance {tolerance:.0e}, smallest that passes {passing(report.required)})"
    if report.cosine is not None:
        text += f" · cosine {report.cosine:.6f}"
    if report.top1 is not None:
        text += f" · top-1 agreement {100 * report.top1:.4g} %"
    return text


def inspection_lines(info: ModelInfo) -> list[tuple[str, str]]:
    """Label and text of every line that `convkit inspect` prints."""
    lines = [("format", f"{info.format.title} · {info.variant.title}"), ("size", human_bytes(info.size))]
    if info.parameters is not None:
        lines.append(("parameters", f"{info.parameters:,}"))
    lines.extend(("signature", line) for line in _signature_lines(info.signatures))
    if info.has_examples:
        lines.append(("examples", "the file keeps example inputs"))
    lines.extend((key.replace("_", " "), _plain(value)) for key, value in info.metadata.items())
    if info.operators:
        ranked = sorted(info.operators.items(), key=lambda item: (-item[1], item[0]))
        lines.append(("operators", f"{sum(info.operators.values())} of {len(ranked)} kinds"))
        lines.extend(("", f"{count:6} × {name}") for name, count in ranked)
    lines.extend(("needs", text) for text in info.requires)
    lines.extend(("note", text) for text in info.notes)
    return lines


def _signature_lines(signatures: tuple[Signature, ...]) -> list[str]:
    if not signatures:
        return ["not recorded"]
    prefix = len(signatures) > 1
    return [f"{s.name}: {s}" if prefix else str(s) for s in signatures]


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return str(value)


def written_line(artifact: Artifact | Emitted) -> str:
    return f"{artifact.path.name} ({human_bytes(size_of(artifact.path))})"


def failing_lines(report: ValidationReport) -> list[tuple[str, str]]:
    """Where the inputs that drift are, and how to run them again; nothing where there are none."""
    found = report.failing
    if found is None:
        return []
    inputs = "; ".join(f"{name} {text}" for name, text in found.inputs.items())
    again = f"convkit validate {report.source or 'SOURCE'} {report.target or 'CONVERTED'} --inputs {found.path}"
    return [
        ("failing", f"{found.path} ({inputs}), from {found.recipe}, in {found.runs} runs and {found.seconds:.1f} s"),
        ("again", again),
    ]


def performance_lines(measured: Performance | None) -> list[tuple[str, str]]:
    """The time of a run, and the size, of both sides; nothing where they were not measured."""
    if measured is None:
        return []
    source, target = measured.source, measured.target
    text = f"{_latency(source)} → {_latency(target)}{_ratio(source.seconds, target.seconds)}"
    lines = [("latency", f"{text}; warm, on {measured.recipe}")]
    if source.size is not None and target.size is not None:
        sizes = f"{human_bytes(source.size)} → {human_bytes(target.size)}"
        lines.append(("size", f"{sizes}{_ratio(source.size, target.size)}"))
    return lines


def _latency(cost: Cost) -> str:
    """`1.2 ms (median of 5)`."""
    milliseconds = 1000 * cost.seconds
    time = human_seconds(cost.seconds) if milliseconds >= 1000 else f"{milliseconds:.3g} ms"
    return f"{time} ({f'median of {cost.runs}' if cost.runs > 1 else 'one run'})"


def _ratio(source: float, target: float) -> str:
    return f", × {target / source:.2f}" if source > 0 else ""


_MOST_FAILURES = 8


def output_lines(report: ValidationReport) -> list[tuple[str, str]]:
    """A line per output that agrees on all input sets, for the set that comes nearest to its tolerance; one per failure."""
    lines, failures = [], []
    for name in report.tolerances:
        mine = [(o, s) for s in report.sets for o in s.outputs if o.name == name]
        failed = [(o, s) for o, s in mine if not o.passed]
        failures += [
            ("DRIFT", f"{name} ({s.recipe}): {_measured(o)} · {_held_to(o, report.tolerances[name])}") for o, s in failed
        ]
        if mine and not failed:
            worst, chosen = max(mine, key=lambda pair: pair[0].required)
            where = chosen.recipe if len(mine) == 1 else f"{chosen.recipe}; the {len(mine) - 1} others are no worse"
            lines.append(("ok", f"{name}: {_briefly(worst)} ({where})"))
    if len(failures) > _MOST_FAILURES:
        more = f"{len(failures) - _MOST_FAILURES} more, see --report or --json"
        failures = [*failures[:_MOST_FAILURES], ("", more)]
    return [*failures, *lines]


def _briefly(output: OutputMetrics) -> str:
    if output.required == 0:
        return "equal"
    return " · ".join(
        filter(None, (f"{output.required:.1e} of scale {output.scale:.3g}", noise_text(output), *metric_values(output)))
    )


def _measured(output: OutputMetrics) -> str:
    parts = [output.problem] if output.problem else []
    if math.isfinite(output.max_abs):
        parts += [f"max |Δ| {output.max_abs:.2e}", f"{output.required:.1e} of scale {output.scale:.3g}"]
        if output.noise is not None and (told := noise_text(output)):
            parts.append(f"{told} ({output.noise.reason})")
        parts.append(f"rmse {output.rmse:.1e}")
        parts += [] if output.sqnr_db is None else [f"SQNR {output.sqnr_db:.0f} dB"]
        parts += metric_values(output)
    return " · ".join(parts)


def _held_to(output: OutputMetrics, tolerance: Tolerance) -> str:
    widened = output.allowed > tolerance.relative
    reason = "above the noise floor" if widened else tolerance.reason
    return f"tolerance {output.allowed:.0e}, {reason}; smallest that passes {passing(output.required)}"
