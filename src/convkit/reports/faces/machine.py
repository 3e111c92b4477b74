"""JSON: the record itself. `check.schema.json` beside this module's package describes that of a check."""

from __future__ import annotations

import json

from convkit.components import Face
from convkit.reports.document import Document

__all__ = ["FACE"]


def render(document: Document) -> str:
    """The record, indented, with a line feed at its end."""
    return json.dumps(dict(document.record), indent=2, ensure_ascii=False) + "\n"


FACE = Face("json", (".json",), render)
