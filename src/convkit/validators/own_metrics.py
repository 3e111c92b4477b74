"""The user's own metrics: `--metric [OUTPUT=]FUNCTION[>=BOUND]`, and the same in the API.

A function is named as `file.py:function` or `package.module:function` and runs in a worker, so that what it imports or prints, or
its end, is not the caller's; or it is the name of a registered metric, or in the API a function itself. It is called with the
source's array and the target's and returns a number, or a mapping of names to numbers.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convkit.arrays import load_arrays
from convkit.components import Host
from convkit.errors import UsageError
from convkit.registry import metrics as registered
from convkit.signature import Signature
from convkit.validators.judging import Judge, Run
from convkit.validators.metering import applied
from convkit.workers.pool import WorkerPool

__all__ = ["MetricRequest", "judge_by_own", "parse"]

_HOST = Host("metrics", preload=("numpy",))
_HINT = "write [OUTPUT=]file.py:function, with a bound if you like, in quotes: 'logits=file.py:function>=0.99'"
_REQUEST = re.compile(r"^(?:(?P<output>[^=<>]+)=)?(?P<function>[^=<>]+?)\s*(?:(?P<relation>[<>]=?)\s*(?P<bound>[^\s<>=]+))?\s*$")
_RELATIONS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


@dataclass(frozen=True)
class MetricRequest:
    """A metric that the user asks for.

    Attributes:
        function: `file.py:function`, `package.module:function`, the name of a registered metric, or a function.
        output: The output that it is for, "" for all.
        relation: ">=", "<=", ">" or "<" where its value has a bound, else "".
        bound: What its value, or each of its values, is held to.
    """

    function: str | Callable[..., Any]
    output: str = ""
    relation: str = ""
    bound: float = 0.0

    @property
    def name(self) -> str:
        """As reports call it: the function's own name."""
        text = self.function if isinstance(self.function, str) else getattr(self.function, "__name__", "metric")
        return text.rpartition(":")[2]

    def __str__(self) -> str:
        function = self.function if isinstance(self.function, str) else self.name
        return (f"{self.output}=" if self.output else "") + function + (f"{self.relation}{self.bound:g}" if self.relation else "")

    def broken_by(self, values: Mapping[str, float]) -> list[str]:
        """What is said of each value that is not within the bound; one that is no number is not."""
        if not self.relation:
            return []
        held = _RELATIONS[self.relation]
        return [f"{name} is {v:.6g}, not {self.relation} {self.bound:g}" for name, v in values.items() if not held(v, self.bound)]


def parse(asked: object) -> tuple[MetricRequest, ...]:
    """The requests in what a caller gives: a text or a function, several of them, or a mapping of outputs to them.

    Raises:
        UsageError: A text cannot be read, or names neither a function nor a registered metric.
    """
    return tuple(_requests(asked))


def _requests(asked: object) -> Iterator[MetricRequest]:
    if asked is None:
        return
    if isinstance(asked, MetricRequest):
        yield asked
    elif isinstance(asked, str):
        yield _read(asked)
    elif isinstance(asked, Mapping):
        for output, each in asked.items():
            for request in _requests(each):
                yield MetricRequest(request.function, str(output), request.relation, request.bound)
    elif callable(asked):
        yield MetricRequest(asked)
    elif isinstance(asked, Sequence):
        for each in asked:
            yield from _requests(each)
    else:
        raise UsageError(f"a metric cannot be a {type(asked).__name__}", hint=_HINT)


def _read(text: str) -> MetricRequest:
    match = _REQUEST.match(text.strip())
    if match is None:
        raise UsageError(f"cannot read the metric {text!r}", hint=_HINT)
    try:
        bound = float(match["bound"] or 0.0)
    except ValueError:
        raise UsageError(f"cannot read the bound {match['bound']!r} of the metric {text!r}", hint=_HINT) from None
    function = match["function"].strip()
    home, colon, name = function.rpartition(":")
    if not colon and function not in registered():
        raise UsageError(f"there is no metric {function!r}", hint=f"{_HINT}; or one of {', '.join(registered())}")
    if home.endswith(".py"):
        if not Path(home).is_file():
            raise UsageError(f"there is no file {home} for the metric {text!r}", hint="check the path")
        function = f"{Path(home).absolute()}:{name}"
    return MetricRequest(function, (match["output"] or "").strip(), match["relation"] or "", bound)


def judge_by_own(
    requests: Sequence[MetricRequest],
    signature: Signature,
    judge: Judge,
    runs: Sequence[Run],
    pool: WorkerPool,
    timeout: float | None,
) -> None:
    """Has the user's metrics measure every run that was judged, and adds what they say.

    Raises:
        UsageError: One cannot be imported, fails, or returns no number.
        WorkerCrashError: One ended its process.
    """
    for request in requests:
        names = [request.output] if request.output else signature.output_names
        jobs = [(number, name) for number in judge.taken for name in names if judge.has_values(number, name)]
        for (number, name), values in zip(jobs, _measured(request, jobs, runs, pool, timeout), strict=True):
            judge.judge_by(number, name, values, request.broken_by(values))


def _measured(
    request: MetricRequest,
    jobs: Sequence[tuple[int, str]],
    runs: Sequence[Run],
    pool: WorkerPool,
    timeout: float | None,
) -> list[dict[str, float]]:
    if isinstance(request.function, str) and ":" in request.function:
        pairs = [[name, str(runs[number].expected), str(runs[number].got)] for number, name in jobs]
        arguments = {"function": request.function, "name": request.name, "directory": str(Path.cwd()), "pairs": pairs}
        answer = pool.worker(_HOST).call(
            "convkit.workers.measuring:measure",
            arguments,
            stage="validate",
            component=f"the metric {request.name}",
            timeout=timeout,
        )
        return list(answer.result)
    function = registered()[request.function].compute if isinstance(request.function, str) else request.function
    return [
        applied(request.name, function, name, load_arrays(runs[number].expected)[name], load_arrays(runs[number].got)[name])
        for number, name in jobs
    ]
