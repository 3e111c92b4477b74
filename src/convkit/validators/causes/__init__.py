"""Why an operator of the target computes something else: a catalogue of causes, each tested by an experiment in numpy.

A cause is a function that is given a `Case` and returns what it found, or None; the modules of this package register theirs.
An experiment computes what the target would have computed if that were the cause, and holds it against what it has computed.
"""

from __future__ import annotations

from convkit.validators.causes import channels, operands, parameters, recurrent, values, windows  # noqa: F401 - they register
from convkit.validators.causes.case import Case, Cause, explained

__all__ = ["Case", "Cause", "explained"]
