"""One list of findings out of what probes say of operators and what the converters say of the model as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from convkit.legalization.target import Finding, Verdict
from convkit.probing.judging import Outcome
from convkit.probing.signatures import OperatorSignature

__all__ = ["merged", "reconciled"]

_SEVERITY = [Verdict.GAP, Verdict.REWRITTEN, Verdict.LEGAL]


def reconciled(
    signatures: Sequence[OperatorSignature],
    outcomes: Mapping[str, Outcome],
    whole: Sequence[Finding] | None,
    *,
    is_certain: bool,
) -> list[Finding]:
    """The findings on a model.

    Args:
        signatures: Its operators.
        outcomes: What probes have found, by digest; a signature without one is told of by the whole model's trial.
        whole: What the converters say of the whole model, None where they cannot tell.
        is_certain: Whether what they call legal has been converted. Then an operator that cannot be converted alone was converted
            in its place, and only wrong numbers count against it.
    """
    said = {f.operator: f for f in reversed(whole or ())}
    found: list[Finding] = []
    converted = is_certain and whole is not None and all(f.verdict is not Verdict.GAP for f in whole)
    for signature in signatures:
        finding = outcomes[signature.digest].finding(signature) if signature.digest in outcomes else None
        told = said.get(signature.operator)
        if finding is None or (converted and finding.verdict is Verdict.GAP and finding.code != "CK302"):
            legal = Finding(signature.operator, signature.count, Verdict.LEGAL, evidence="trial")
            finding = legal if told is None or told.verdict is Verdict.GAP else replace(told, count=signature.count)
        elif finding.verdict is Verdict.LEGAL and told is not None and told.verdict is Verdict.LEGAL:
            finding = replace(finding, reason=told.reason, where=told.where, hint=told.hint)  # what it warns of
        found.append(finding)
    mine = [f for f in found if f.verdict is Verdict.GAP]
    # A trial behind an importer names the importer's operators; the probe names the user's, for the same reason.
    found += [
        f
        for f in whole or ()
        if f.verdict is Verdict.GAP and not any(f.operator == g.operator or f.reason in g.reason for g in mine)
    ]
    own = {s.operator for s in signatures}
    found += [f for f in whole or () if f.verdict is Verdict.REWRITTEN and f.operator not in own]  # on the way
    return merged(_without_contradictions(found))


def _without_contradictions(findings: Sequence[Finding]) -> Iterable[Finding]:
    """Without the legal rest of an operator that the whole model's trial has named a gap for all its nodes."""
    refused = {f.operator for f in findings if f.verdict is Verdict.GAP and f.evidence != "probe"}
    return (f for f in findings if f.verdict is Verdict.GAP or f.operator not in refused)


def merged(findings: Iterable[Finding]) -> list[Finding]:
    """Findings that say the same of one operator as one, gaps first."""
    found: dict[tuple[str, ...], Finding] = {}
    for finding in findings:
        key = (finding.operator, finding.verdict, finding.reason, finding.hint, finding.code, finding.evidence)
        known = found.get(key)
        if known is None:
            found[key] = finding
        else:
            where = tuple(dict.fromkeys((*known.where, *finding.where)))
            found[key] = replace(known, count=known.count + finding.count, where=where)
    return sorted(found.values(), key=lambda f: (_SEVERITY.index(f.verdict), f.operator, f.reason))
