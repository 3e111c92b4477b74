"""What kind of thing a refusal is about, told from its words: data, a dimension, a dtype, an attribute, a rank.

The importers' reasons are short clauses in one vocabulary, written where an operator's function finds that it cannot go on. A
reason that knows its kind itself is a `codes.Reason`; this is for the others, so that a finding is not just "not supported".
"""

from __future__ import annotations

import re

__all__ = ["kind_of"]

# In this order: a size that the data tell is more than a dynamic size, and a dtype's attribute is about the dtype.
_KINDS = (
    (
        "CK105",
        r"(computed from|depends? on|follows from|control flow on|condition on|only) (the )?data\b|known before the model runs"
        r"|\bdata (tell|decide)|only a run tells|that are computed from data|not known while tracing",
    ),
    ("CK106", r"\bdynamic\b|a symbolic size"),
    ("CK109", r"\bvariable\b|keeps (a )?(value|state)|without variables"),
    (
        "CK102",
        r"\bdtypes?\b|no (kernels?|tensors|counterpart) (for|of) \w*(int|float|complex|bool|string)\w*|string tensors"
        r"|\b(random numbers of|bits are cast|slices of strings|of the datatype|in (u?int|float|complex)\d+\b)",
    ),
    ("CK103", r"^\w+=\S+|the (attribute|option|mode|post-transform) |of the kind |\w+_(mode|policy) \w+|padded (unequally|less)"),
    ("CK104", r"\brank\b|dimensions$|spatial axes|number of axes|of several axes|do not broadcast|slices of a tensor"),
)  # fmt: skip


def kind_of(reason: str) -> str:
    """The code of a reason's kind; empty where its words tell none."""
    return next((code for code, words in _KINDS if re.search(words, reason)), "")
