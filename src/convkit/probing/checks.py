"""`convkit check --probe`: the routes of a model, each judged by probes of its operators until one has no gap."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from convkit import routing, sources
from convkit.artifact import Artifact, PyTorchSource
from convkit.checking import Walk, WholeWalk
from convkit.components import ONNX_HOST
from convkit.delegation.shares import Shares, together
from convkit.events import Event, Observer, ignore
from convkit.formats import Format, Variant
from convkit.legalization.target import Finding, Verdict
from convkit.options import ConvertOptions
from convkit.planner import Route
from convkit.probing import programs
from convkit.probing.cache import Cache, identity
from convkit.probing.judging import Judgement, Outcome, Probe, halves, judged
from convkit.probing.real_values import RealValues
from convkit.probing.reconciling import merged, reconciled
from convkit.probing.signatures import Described, OperatorSignature
from convkit.registry import runtime_for
from convkit.workers.pool import WorkerPool

__all__ = ["HUBS", "Probed", "probe_routes"]


@dataclass(frozen=True)
class Probed:
    """What a check with probes came to.

    Attributes:
        routes: Per route its findings; None where nothing can be told before the conversion (no hub on the way).
        delegation: What XNNPACK has of the operators on the last of them, each alone.
    """

    routes: list[tuple[Route, list[Finding] | None]]
    delegation: Shares | None


HUBS = (Variant.ONNX, Variant.EXPORTED_PROGRAM)
"""Whose models can be taken apart into operators."""
_DRIFT, _OTHER_MODELS = "CK302", "CK116"
_COMPANY = 32
"""Operators that are tried together: a conversion costs much the same for few and for many."""
_LONGEST = 60
"""Characters of their names that are told while they are tried."""


def probe_routes(
    model: Path | None,
    target: Format,
    options: ConvertOptions,
    pytorch: PyTorchSource,
    pool: WorkerPool,
    scratch: Path,
    observe: Observer = ignore,
) -> Probed:
    """What probes say of the routes that a conversion would take, in order, up to the first without gaps.

    A route that starts in another format than a hub's is imported into the hub first.

    """
    artifact, info = sources.identify(model, pytorch)
    artifact = sources.selected(artifact, info, options.converter_options.get("signature"))
    routes = routing.runnable(routing.chosen(artifact, target, options), options, observe)
    routing.provision_runtimes((artifact.variant, target.default_variant), options, observe)
    source = sources.describe(artifact, info, options.inputs, scratch, pool, options.timeout)
    trials = WholeWalk(source, options, pool, scratch)
    probing = _Probing(trials, target, pool, scratch, options.timeout, observe)
    found: list[tuple[Route, list[Finding] | None]] = []
    for route in routes:
        routing.provision(route, observe)
        findings = probing.findings(route)
        found.append((route, findings))
        if findings is not None and all(f.verdict is not Verdict.GAP for f in findings):
            break
    return Probed(found, together(probing.shares))


@dataclass(frozen=True)
class _Probing:
    """One source that is probed on several routes.

    Attributes:
        trials: What the converters say of the model as a whole, which no operator alone can show.
        shares: What XNNPACK has of each operator on the latest route, and how often the model has it.
    """

    trials: Walk
    target: Format
    pool: WorkerPool
    scratch: Path
    timeout: float | None
    observe: Observer
    shares: list[tuple[Shares, int]] = field(default_factory=list)

    def findings(self, route: Route) -> list[Finding] | None:
        """What the converters say of the model as a whole, and what probes say of each operator that reaches a hub."""
        artifact = self.trials.source.artifact
        if artifact.variant not in HUBS:
            return self._behind_importers(route)
        described = self._described(artifact)
        cache = Cache.of(identity(artifact.variant, route, self.target))
        whole = self._whole(route, described.structure, cache)
        if any(f.code == _OTHER_MODELS for f in whole or ()):  # its operators have nothing to do with it
            return whole
        outcomes = self._outcomes(artifact, route, described, cache, _refused(whole))
        return reconciled(described.signatures, outcomes, whole, is_certain=all(s.static_host for s in route.steps))

    def _behind_importers(self, route: Route) -> list[Finding] | None:
        """The same for a source that is brought into a hub first; the operators that reach the hub are the hub's."""
        whole = self.trials.findings(route)
        if whole is None or any(f.verdict is Verdict.GAP for f in whole):
            return whole
        for position in range(1, len(route.steps)):
            hub = self.trials.halts.get(tuple(route.names[:position]))
            if hub is not None and hub.variant in HUBS:
                rest = Route(route.steps[position:])
                described = self._described(hub)
                outcomes = self._outcomes(hub, rest, described, Cache.of(identity(hub.variant, rest, self.target)), ())
                told = reconciled(described.signatures, outcomes, [], is_certain=False)
                return merged([*(f for f in told if f.verdict is not Verdict.LEGAL), *whole])
        return whole

    def _whole(self, route: Route, structure: str, cache: Cache) -> list[Finding] | None:
        """The trial of the whole model; known where a model of the same structure has been tried with made-up inputs."""

        def tried() -> list[Finding] | None:
            self.observe(Event("probe", "the model as a whole", running=True))
            return self.trials.findings(route)

        return tried() if self.trials.source.given else cache.findings(f"model-{structure}", tried)

    def _outcomes(
        self, hub: Artifact, route: Route, described: Described, cache: Cache, refused: Collection[str]
    ) -> dict[str, Outcome]:
        """The verdicts by digest: known ones, and those of probes that are made now."""
        signatures = described.signatures
        digests = dict.fromkeys(s.digest for s in signatures if s.digest)
        known = {digest: outcome for digest in digests if (outcome := _known(cache, digest)) is not None}
        missing = {s.digest: s for s in signatures if s.digest and s.digest not in known}
        found = {**known, **(self._new(hub, route, list(missing.values()), cache, refused) if missing else {})}
        drifting = [s for s in signatures if s.digest in found and found[s.digest].code == _DRIFT]
        found |= self._on_real_values(hub, route, described.structure, drifting, cache)
        told = ((found[s.digest].delegation, s.count) for s in signatures if s.digest in found)
        self.shares[:] = [(shares, count) for shares, count in told if shares is not None]
        return found

    def _on_real_values(
        self, hub: Artifact, route: Route, structure: str, drifting: Sequence[OperatorSignature], cache: Cache
    ) -> dict[str, Outcome]:
        """The verdicts by digest on operators that drift on made-up inputs, on what the model gives them, where that is known.

        They are kept for models of the same structure, but for those that a user's own inputs have shown.
        """
        real = RealValues(self.trials.source, hub, self.pool, self.scratch, self.timeout)
        is_kept, found = not self.trials.source.given, {}
        for signature in drifting:
            key = f"{structure}-{signature.digest}"
            outcome = _known(cache, key) if is_kept else None
            if outcome is None:
                outcome = self._judged(hub, route, [signature], real).outcomes.get(signature.digest, Outcome(None))
                if is_kept:
                    cache.put(key, outcome.to_json())
            if outcome.verdict is not None:
                found[signature.digest] = outcome
        return found

    def _described(self, hub: Artifact) -> Described:
        if hub.variant is Variant.EXPORTED_PROGRAM:
            return programs.described(hub.path)
        answer = self.pool.worker(ONNX_HOST).call(
            "convkit.probing.onnx_models:described", {"path": str(hub.path)}, stage="check", component="onnx"
        )
        return Described.from_json(answer.result)

    def _new(
        self, hub: Artifact, route: Route, signatures: Sequence[OperatorSignature], cache: Cache, refused: Collection[str]
    ) -> dict[str, Outcome]:
        """The verdicts on signatures that nothing is known of yet; kept for the next time.

        They are tried in companies; those of operators that the converters refuse (`refused`) alone, as they would fail the rest.
        """
        for step in route.steps:
            self.pool.worker(step.host)
        others = [s for s in signatures if s.operator not in refused]
        ahead = [others[first : first + _COMPANY] for first in range(0, len(others), _COMPANY)]
        ahead += [[s] for s in signatures if s.operator in refused]
        outcomes: dict[str, Outcome] = {}
        while ahead:
            company = ahead.pop(0)
            names = ", ".join(dict.fromkeys(s.operator for s in company))
            told = f"{names if len(names) < _LONGEST else names[:_LONGEST] + '…'} ({len(outcomes)} of {len(signatures)} done)"
            self.observe(Event("probe", told, running=True))
            judgement = self._judged(hub, route, company)
            for digest, outcome in judgement.outcomes.items():
                outcomes[digest] = outcome
                if outcome.verdict is not None:  # else it may have been the moment's fault
                    cache.put(digest, outcome.to_json())
            ahead[:0] = [list(part) for part in judgement.rest]
        return outcomes

    def _judged(
        self, hub: Artifact, route: Route, company: Sequence[OperatorSignature], real: RealValues | None = None
    ) -> Judgement:
        """What a model of these operators shows, on inputs that are made up or on `real` ones. Of one that cannot be made nothing
        is told, nor of one whose real inputs nobody knows."""
        file = self.scratch / f"{company[0].digest}{hub.variant.suffix}"
        probes = self._written(hub, company, file)
        if not probes:
            return Judgement({}, halves(company) if len(company) > 1 else ())
        samples = real.samples({name: value for probe in probes for name, value in probe.inputs.items()}) if real else None
        if real and samples is None:
            return Judgement({})
        judgement = judged(file, probes, hub.variant, self.target, route, self.pool, self.timeout, samples)
        file.unlink(missing_ok=True)
        return judgement

    def _written(self, hub: Artifact, company: Sequence[OperatorSignature], file: Path) -> list[Probe]:
        """Has a model of these operators written, and what it has of each; nothing where there is none."""
        runtime = runtime_for(hub.variant)
        assert runtime is not None
        wanted = {str(file): [s.node for s in company]}
        if hub.variant is Variant.ONNX:
            host, module, arguments = ONNX_HOST, "onnx_models", {"path": str(hub.path), "wanted": wanted}
        else:
            host, module, arguments = runtime.host, "program_models", {"artifact": hub.to_json(), "wanted": wanted}
        answer = self.pool.worker(host).call(f"convkit.probing.{module}:write", arguments, stage="check", component=runtime.name)
        told = answer.result.get(str(file), [])
        return [Probe(s, tuple(own["outputs"]), own["inputs"]) for s, own in zip(company, told, strict=bool(told))]


def _refused(findings: Sequence[Finding] | None) -> set[str]:
    return {f.operator for f in findings or () if f.verdict is Verdict.GAP}


def _known(cache: Cache, digest: str) -> Outcome | None:
    kept = cache.get(digest)
    try:
        return None if kept is None else Outcome.from_json(kept)
    except (ValueError, LookupError, TypeError):
        return None
