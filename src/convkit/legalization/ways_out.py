"""What to do about a gap: a change of the model that has been tried, for operators that people do meet.

A suggestion is one sentence with the code to write. `benchmarks/ways_out.py` follows each: the changed model must convert.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from convkit.legalization.target import Finding, Verdict

__all__ = ["GENERAL", "way_out", "with_ways_out"]

_INVERSE = (
    "invert by iteration, which is products only: `y = x.mT / (x.abs().sum(-1).amax(-1) * x.abs().sum(-2).amax(-1))[..., None,"
    " None]`, then some 30 times `y = 2 * y - y @ x @ y` (it is the pseudo-inverse of a matrix that is not square)"
)
_POWER = (
    "find the largest singular value by power iteration, which is products only: `v = torch.ones(x.shape[-1])`, then some 20"
    " times `v = functional.normalize(x.mT @ (x @ v), dim=0)`; the value is `(x @ v).norm()`"
)
_SPECTRUM = (
    "if only the largest eigenvalue counts, find it by power iteration: `v = torch.ones(x.shape[-1])`, then some 20 times"
    " `v = functional.normalize(x @ v, dim=0)`; the value is `v @ x @ v`. Else compute the decomposition before the model, and"
    " make its result an input of the model"
)
_NOISE = "make the random numbers an input of the model: `def forward(self, x, noise)`, and draw them where the model is called"

# By the name of torch's operator without its overload; the first pattern that fits.
_TORCH: Mapping[str, str] = {
    r"linalg_(pinv|inv|inv_ex|solve|solve_ex|lstsq)|inverse|pinverse|_linalg_solve_ex": _INVERSE,
    r"linalg_(svd|svdvals|matrix_norm|norm)|_linalg_svd|svd|nuclear_norm": _POWER,
    r"linalg_eig\w*|_linalg_eigh": _SPECTRUM,
    r"linalg_cholesky|cholesky": "call `torch.linalg.cholesky_ex(x)[0]`, which does the same without the check for an error",
    r"special_ndtri": "write it as `2 ** 0.5 * torch.erfinv(2 * p - 1)`",
    r"special_(chebyshev|hermite|legendre|laguerre|shifted_chebyshev)_\w+": (
        "write the polynomial out: the third Chebyshev polynomial is `4 * x ** 3 - 3 * x`"
    ),
    r"special_\w*(bessel|airy)\w+|special_zeta|igammac?|special_gammaincc?": (
        "take values from a table: compute the function at the points of a grid when the model is built, register them as a"
        " buffer, and interpolate: `k = position.floor().clamp(0, n - 2)`, `torch.lerp(table[k.long()], table[k.long() + 1],"
        " position - k)`"
    ),
    r"linalg_det|_linalg_det|logdet|linalg_slogdet|_linalg_slogdet": (
        "write the determinant of a small matrix out: `x[0, 0] * x[1, 1] - x[0, 1] * x[1, 0]` for 2 × 2"
    ),
    r"polar": "compute the parts: `torch.stack((r * angle.cos(), r * angle.sin()), -1)` is what `torch.view_as_real` would give",
    r"bincount": "count with a fixed number of bins: `functional.one_hot(x, bins).sum(0)`",
    r"_unique2|unique\w*": "keep the full length: `torch.sort(x)[0]`, with a mask where a value differs from the one before",
    r"repeat_interleave": (
        "repeat to a fixed length: `torch.searchsorted(repeats.cumsum(0), torch.arange(length), right=True)` are the indices to"
        " take"
    ),
    r"rrelu\w*": "use `functional.leaky_relu` with the mean of the two slopes: it is what `rrelu` does in `eval()`",
    r"hash_tensor": "leave it out of the model: it is a checksum, and can be computed from the model's outputs",
}

# By ONNX's operator.
_ONNX: Mapping[str, str] = {
    r"MaxRoiPool": (
        "use RoiAlign with `mode='max'` and `sampling_ratio=2` (`torchvision.ops.roi_align`), which newer detectors are trained"
        " with"
    ),
    r"Random\w+|Multinomial|Bernoulli": "make the random numbers an input of the graph, and draw them where the model is called",
    r"String\w+|RegexFullMatch|TfIdfVectorizer|LabelEncoder|CategoryMapper": (
        "split text where the model is called, and make the tokens' numbers the model's input: cut the graph behind this operator"
        " with `onnx.utils.extract_model`"
    ),
    r"ImageDecoder": "decode where the model is called: cut the graph behind this operator with `onnx.utils.extract_model`",
    r"ZipMap|DictVectorizer|CastMap": (
        "export without maps: `options={'zipmap': False}` in skl2onnx; or cut the graph before this operator with"
        " `onnx.utils.extract_model`"
    ),
    r"SVM\w+": "export a linear model or a tree ensemble in its place, or write the kernel out: a MatMul and an Exp",
}

# By the kind of the reason.
_KINDS: Mapping[str, str] = {
    "CK102": (
        "compute in a dtype that the target has: `x.to(torch.int64)` in place of unsigned numbers, float32 in place of float64"
    ),
    "CK105": (
        "keep the full size and mask what does not count: `torch.where(mask, x, 0)` in place of `x[mask]`, and"
        " `torch.arange(n) < count` in place of a slice to `count`"
    ),
    "CK103": "give the attribute another value in the model, or leave it out: the finding names what is not supported",
    "CK104": "reshape before and behind the operator to fewer axes: `x.flatten(0, 1)`, and `unflatten` what comes out",
    "CK106": (
        "make that dimension static: export the model with a fixed size, or fix it in an ONNX file with"
        " `python -m onnxruntime.tools.make_dynamic_shape_fixed --dim_param NAME --dim_value 1 in.onnx out.onnx`"
    ),
    "CK115": (
        "bring the model to a newer opset: `onnx.version_converter.convert_version(onnx.load(path), 21)`, or export it in one"
    ),
    "CK109": "make the state an input and an output of the model: `def forward(self, x, state): …; return y, new_state`",
    "CK114": _NOISE,
}

GENERAL = (
    "compute it where the model is called, and make its result an input of the model; or write it with operators that the target"
    " has"
)
_UNTOLD = ("", "rewrite it with other operators in the model", "replace it in the model, or see `convkit plan` for another route")
"""Hints that say no more than that something must be done."""
_WHOLE = frozenset(("torch.export", "tf.function"))
"""What findings name that are about a model as a whole."""


def way_out(finding: Finding) -> str:
    """What to do about a gap, as one sentence; what its converter knows to say comes first."""
    if finding.hint not in _UNTOLD:
        return finding.hint
    if finding.code == "CK114" and "eval()" in finding.reason:
        return "call `eval()` on the model before it is exported"
    own, kind = _of_operator(finding.operator), _KINDS.get(finding.code, "")
    # A size that depends on data can be bounded in the way of the operator that makes it; a dtype is the same for all.
    return (own or kind if finding.code == "CK105" else kind or own) or GENERAL


def _of_operator(operator: str) -> str:
    if match := re.fullmatch(r"(?:aten|prims)\.(\w+?)_?\.\w+", operator):
        return next((told for pattern, told in _TORCH.items() if re.fullmatch(pattern, match[1])), "")
    if operator in _WHOLE or operator.startswith("higher_order."):
        return ""
    if re.fullmatch(r"\w+\.\w+\.default", operator):
        return "write the custom operator with torch's own operators: what a package registers with torch.library no target knows"
    if ("::" in operator or "." in operator) and not operator.startswith("ai.onnx"):
        return (
            "export the model without this custom operator, or define it as a function of standard operators in the file"
            " (onnx.helper.make_function): convkit inlines it"
        )
    name = operator.rpartition(".")[2].rpartition("::")[2]
    return next((told for pattern, told in _ONNX.items() if re.fullmatch(pattern, name)), "")


def with_ways_out(findings: Iterable[Finding]) -> list[Finding]:
    """The findings, with what to do about each gap."""
    return [replace(f, hint=way_out(f)) if f.verdict is Verdict.GAP else f for f in findings]
