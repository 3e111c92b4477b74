"""The small model as a directory that others can run: the file, a script, and the text of an issue."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convkit import __version__, readers
from convkit.reduction.failures import Failure
from convkit.reports.terminal import printable

__all__ = ["Repro", "write"]


@dataclass(frozen=True)
class Repro:
    """What a reduction came to.

    Attributes:
        directory: `model.onnx` or `model.pt2`, `repro.py` and `ISSUE.md`.
        model: The small model.
        before, after: How many nodes the model had, and has.
        failure: What both show.
        seconds: How long it took.
    """

    directory: Path
    model: Path
    before: int
    after: int
    failure: Failure
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": 1,
            "directory": str(self.directory),
            "model": self.model.name,
            "nodes": {"before": self.before, "after": self.after},
            "failure": {"kind": self.failure.kind, "component": self.failure.component, "message": self.failure.message},
            "seconds": self.seconds,
        }


def write(repro: Repro, target: str, suffix: str, route: Sequence[str], versions: Mapping[str, str]) -> None:
    """Writes the script and the issue beside the model."""
    script = _SCRIPT.format(model=repro.model.name, target=target, suffix=suffix, route=list(route))
    (repro.directory / "repro.py").write_text(script, encoding="utf-8")
    info = readers.inspect(repro.model)
    signature = "" if info.signature is None else str(info.signature)
    text = _ISSUE.format(
        title=printable(f"{' → '.join(route)}: {_first(repro.failure.message)}"),
        model=repro.model.name,
        target=target,
        suffix=suffix,
        kind=repro.failure.kind,
        message=printable(repro.failure.message),
        operators=printable(", ".join(f"{name} ×{count}" for name, count in info.operators.items())),
        signature=printable(signature),
        before=repro.before,
        after=repro.after,
        versions="\n".join(f"| {name} | {version} |" for name, version in sorted(versions.items())),
        convkit=__version__,
        python=f"{platform.python_version()} on {platform.system()} {platform.machine()}",
    )
    (repro.directory / "ISSUE.md").write_text(text, encoding="utf-8")


def _first(message: str) -> str:
    text = " ".join(message.split())
    return text if len(text) <= 90 else text[:89] + "…"


_SCRIPT = '''"""Shows the failure; see ISSUE.md."""

from pathlib import Path

import convkit

if __name__ == "__main__":
    here = Path(__file__).parent
    convkit.convert(here / "{model}", "{target}", here / "out{suffix}", route={route}, force=True)
'''

_ISSUE = """# {title}

**What happens** ({kind}):

```
{message}
```

**To reproduce**, with `{model}` beside:

```
convkit convert {model} --to {target} -o out{suffix} --force
```

or `python repro.py`. The model has {after} nodes, cut out of one with {before}: {operators}; {signature}.

| | version |
| --- | --- |
{versions}
| convkit | {convkit} |
| Python | {python} |
"""
