"""The stable codes of findings. A code keeps its meaning for ever; `convkit explain CK101` prints what stands here."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CODES", "Code", "Reason"]


@dataclass(frozen=True)
class Code:
    """One kind of finding.

    Attributes:
        name: "CK101".
        symbol: A readable identifier.
        level: "error" (it blocks), "warning" (it may drift) or "note".
        title: One line.
        explanation: What it means, and why it happens.
        way_out: What usually helps.
    """

    name: str
    symbol: str
    level: str
    title: str
    explanation: str
    way_out: str


class Reason(str):
    """Why an operator is refused, as text that knows the code of its kind: a `Finding` with this reason has that code."""

    code: str

    def __new__(cls, text: str, code: str) -> Reason:
        made = super().__new__(cls, text)
        made.code = code
        return made

    def __reduce__(self) -> tuple[type[Reason], tuple[str, str]]:
        return Reason, (str(self), self.code)

    @classmethod
    def like(cls, other: str, text: str) -> str:
        """A text that says more than `other`, with its code if it has one."""
        return cls(text, other.code) if isinstance(other, Reason) else text


_ALL = (
    Code(
        "CK101",
        "operator-not-supported",
        "error",
        "The converter has no translation for an operator",
        "The registry of the installed converter does not have the operator, no function body or decomposition leads to operators"
        " that it has, and none of convkit's rewrites applies.",
        "Another route may have it (`convkit plan`); else write the operator in the model with simpler ones. The finding names"
        " the place.",
    ),
    Code(
        "CK102",
        "dtype-not-supported",
        "error",
        "An operator is there, but not for this dtype",
        "The target's kernel exists for other dtypes only, and widening would change results or is not possible (float64 where"
        " the target has float32 only, strings, complex numbers).",
        "Cast around the operator in the model, or export in a dtype that the target has.",
    ),
    Code(
        "CK103",
        "attribute-not-supported",
        "error",
        "An operator is there, but not with this attribute's value",
        "The target implements some modes of the operator. The same operator with another value would be converted.",
        "Change the attribute in the model, if its meaning allows; the finding names the value.",
    ),
    Code(
        "CK104",
        "shape-not-supported",
        "error",
        "An operator is there, but not for this rank or shape",
        "The target's kernel is limited to some ranks or sizes.",
        "Reshape around the operator, or fix the dimension that the finding names.",
    ),
    Code(
        "CK105",
        "data-dependent",
        "error",
        "A shape, or a branch, depends on data",
        "The target computes all sizes before it runs, or needs a value at conversion time that the model computes from"
        " its inputs.",
        "Bound the size, move the step out of the model, or give the value as a constant.",
    ),
    Code(
        "CK106",
        "dynamic-dimension",
        "error",
        "A dimension cannot stay dynamic",
        "The model itself fixes the size, or the target needs it to be known.",
        "Export the model with that dimension fixed, or choose a route that keeps it.",
    ),
    Code(
        "CK107",
        "no-kernel",
        "error",
        "The file could be written, but no runtime would run it",
        "The converter accepts the operator, and the target's own runtime has no kernel for it: the file would fail when it is"
        " loaded or run.",
        "Another route, another backend, or the operator written with simpler ones.",
    ),
    Code(
        "CK108",
        "wrong-result",
        "error",
        "A known fault of the installed converter would give wrong numbers",
        "A probe with this version of the converter has shown that the operator is converted, runs, and computes something else.",
        "Another route; or a version of the library in which it is mended.",
    ),
    Code(
        "CK109",
        "keeps-state",
        "error",
        "The model keeps a value for its next run",
        "The target has no variables: only the first run would be right.",
        "Make the state an input and an output of the model.",
    ),
    Code(
        "CK110",
        "opaque",
        "error",
        "A part of the file cannot be read",
        "A delegate's or custom operator's payload is compiled for its own runtime.",
        "Convert from the model that this file was made from, or compile it without the delegate.",
    ),
    Code(
        "CK111",
        "conversion-failed",
        "error",
        "The converter fails on this model as a whole",
        "A dry run of the conversion failed, and the failure could not be tied to one operator.",
        "The reason is the converter's own; another route, or the log that the error names.",
    ),
    Code(
        "CK112",
        "probe-not-converted",
        "error",
        "An operator alone, as the model has it, is not converted",
        "A probe made a model of this one operator, with the model's attributes, dtypes and shapes, and the conversion to the"
        " target failed, though no table of the converter says so.",
        "Another form of the operator in the model (other attributes, other dtypes, simpler operators), or another route; the"
        " reason is the converter's own.",
    ),
    Code(
        "CK113",
        "probe-does-not-run",
        "error",
        "An operator alone is converted, and does not run",
        "A probe made a model of this one operator. The conversion wrote a file, and the target's own runtime does not load or"
        " run it.",
        "Another route or another form of the operator. Nothing but a change of the runtime mends the converted file.",
    ),
    Code(
        "CK114",
        "random",
        "error",
        "An operator's results are random",
        "A dropout that was exported in training, or random numbers that the model draws. No two runtimes draw the same ones, so"
        " that nothing could be proved, and many draw the same ones at every run.",
        "`model.eval()` before the export; noise that the model needs becomes an input of the model.",
    ),
    Code(
        "CK115",
        "opset-not-supported",
        "error",
        "An operator is there, but not in this version",
        "The importer knows the operator from a later opset on; in the one that the model is in it means something else.",
        "`onnx.version_converter.convert_version(model, 21)` brings the model to another opset; or export it again in one.",
    ),
    Code(
        "CK116",
        "made-for-other-models",
        "error",
        "A converter does not take models of this kind",
        "It has nothing to do with the model's operators: the converter is made for models with state, or without.",
        "Another route takes the model (`convkit plan`), and is preferred; its own findings tell what is missing there.",
    ),
    Code(
        "CK201",
        "rewritten",
        "note",
        "An operator is rewritten into ones that the target has",
        "The rewrite is exact, up to the order of floating-point operations.",
        "Nothing needs to be done.",
    ),
    Code(
        "CK301",
        "drift",
        "error",
        "An output differs from the source's by more than its tolerance",
        "Both models ran on the same inputs, each in its own runtime.",
        "`--tolerance` if the difference does not matter (the smallest that would have passed is printed); else another route.",
    ),
    Code(
        "CK302",
        "probe-drift",
        "error",
        "An operator alone is converted, runs, and computes something else",
        "A probe made a model of this one operator, and ran the source and the converted model on the same inputs, each in its"
        " own runtime. They differ by more than the dtype explains.",
        "Another route. If the difference does not matter to the model as a whole, `convkit convert` says so: its proof compares"
        " the model's outputs.",
    ),
)

CODES = {code.name: code for code in _ALL}
"""All codes by name."""
