"""Elementwise operators that TF.js lacks, or computes by another rule than TensorFlow."""

from __future__ import annotations

import math
from typing import Any

from convkit.legalization.tfjs.choosing import choose
from convkit.legalization.tfjs.nodes import Node, RefusedError
from convkit.legalization.tfjs.rewriting import rewrite

__all__: list[str] = []


@rewrite("Erfc", reason="computed as 1 − Erf")
def erfc(_node: Node, x: Any) -> Any:
    import tensorflow as tf

    return 1.0 - tf.math.erf(x)


@rewrite("TruncateDiv", "Div", reason="TF.js divides integers downwards: divided by magnitude, and the sign put back")
def truncate_divide(node: Node, x: Any, y: Any) -> Any:
    import tensorflow as tf

    if not x.dtype.is_integer:
        return None if node.type != "TruncateDiv" else tf.where(x / y < 0, tf.math.ceil(x / y), tf.math.floor(x / y))
    if node.input_dtype().startswith("u"):
        return tf.raw_ops.FloorDiv(x=x, y=y)
    return tf.sign(x) * tf.sign(y) * tf.raw_ops.FloorDiv(x=tf.abs(x), y=tf.abs(y))


@rewrite(
    "TruncateMod", "Mod", reason="TF.js's remainder has the divisor's sign: computed by magnitude, under the dividend's sign"
)
def truncate_modulo(_node: Node, x: Any, y: Any) -> Any:
    import tensorflow as tf

    return tf.sign(x) * tf.raw_ops.FloorMod(x=tf.abs(x), y=tf.abs(y))


@rewrite("FloorDiv", reason="TF.js gives int32 for any dtype: computed as a quotient, rounded down")
def floor_divide(_node: Node, x: Any, y: Any) -> Any:
    import tensorflow as tf

    return tf.math.floor(tf.raw_ops.RealDiv(x=x, y=y)) if x.dtype.is_floating else None


@rewrite("Round", reason="integers are round")
def round_(_node: Node, x: Any) -> Any:
    import tensorflow as tf

    return tf.identity(x) if x.dtype.is_integer else None


@rewrite("Cast", reason="a truth value as a comparison with 0")
def cast(node: Node, x: Any) -> Any:
    """wasm copies the bits of a number. A cast to a small integer keeps its lower bits."""
    import tensorflow as tf

    from convkit.legalization.tfjs.narrowing import NARROWED, UNHELD, wrapped

    source, result = node.input_dtype(), node.output_dtype()
    if result == "bool" and source != "bool":
        return tf.not_equal(x, tf.zeros([], x.dtype))
    if x.dtype == tf.int32 and result in NARROWED and result not in UNHELD and source != result:
        return wrapped(x, result) if "int" in result else None
    return None


@rewrite("SelectV2", reason="truth values by And and Or")
def select(_node: Node, condition: Any, x: Any, y: Any) -> Any:
    import tensorflow as tf

    return choose(condition, x, y) if x.dtype == tf.bool else None


@rewrite("ClipByValue", reason="as Minimum and Maximum")
def clip(_node: Node, x: Any, low: Any, high: Any) -> Any:
    import tensorflow as tf

    if x.dtype.is_floating and low.shape.rank == high.shape.rank == 0:
        return None
    return tf.minimum(tf.maximum(x, low), high)


@rewrite("Rint", reason="computed as Round")
def rint(_node: Node, x: Any) -> Any:
    import tensorflow as tf

    return tf.raw_ops.Round(x=x)


@rewrite("Inv", reason="computed as Reciprocal")
def inverse(_node: Node, x: Any) -> Any:
    import tensorflow as tf

    return tf.raw_ops.Reciprocal(x=x)


@rewrite("Softsign", reason="computed as x ÷ (1 + |x|)")
def softsign(_node: Node, x: Any) -> Any:
    import tensorflow as tf

    return x / (1.0 + tf.abs(x))


@rewrite("Xlogy", "Xlog1py", "Xdivy", "MulNoNan", reason="computed with a Select for zeros")
def zero_wins(node: Node, x: Any, y: Any) -> Any:
    import tensorflow as tf

    zero = tf.zeros([], x.dtype)
    if node.type == "MulNoNan":
        return tf.where(tf.equal(y, zero), zero, x * y)
    other = {"Xlogy": tf.math.log, "Xlog1py": tf.math.log1p, "Xdivy": tf.math.reciprocal}[node.type](y)
    return tf.where(tf.equal(x, zero), zero, x * other)


@rewrite("L2Loss", reason="computed as half the sum of squares")
def l2_loss(_node: Node, x: Any) -> Any:
    import tensorflow as tf

    return tf.reduce_sum(x * x) * 0.5


@rewrite(
    "BitwiseAnd", "BitwiseOr", "BitwiseXor", reason="computed bit by bit: TF.js's executor does not find the operands of its own"
)
def bitwise(node: Node, x: Any, y: Any) -> Any:
    """Source: tfjs-converter's operator list calls the operands of BitwiseAnd x and y, its executor a and b."""
    import tensorflow as tf

    dtype = node.input_dtype()
    powers, negative = _bit_values(dtype)
    a, b = (tf.math.floormod(tf.raw_ops.FloorDiv(x=v[..., tf.newaxis], y=powers), 2) for v in (x, y))
    result = tf.reduce_sum(_joined(node.type, a, b) * powers, -1)
    if negative is None:
        return result
    signs = (tf.cast(v < 0, tf.int32) for v in (x, y))
    return result + _joined(node.type, *signs) * negative


def _joined(operator: str, a: Any, b: Any) -> Any:
    """The bits 0 and 1 of two operands, joined."""
    if operator == "BitwiseAnd":
        return a * b
    return a + b - a * b * (1 if operator == "BitwiseOr" else 2)


def _bit_values(dtype: str) -> tuple[Any, Any]:
    """The values of the bits that carry a number, and that of the sign (None where there is none)."""
    import tensorflow as tf

    width = {"int8": 7, "uint8": 8, "int16": 15, "uint16": 16}.get(dtype, 31)
    sign = None if dtype.startswith("u") else tf.constant(-(1 << width), tf.int32)
    return tf.constant([1 << k for k in range(width)], tf.int32), sign


@rewrite("Invert", reason="computed as −1 − x")
def invert(node: Node, x: Any) -> Any:
    from convkit.legalization.tfjs.narrowing import wrapped

    return wrapped(-1 - x, node.input_dtype())


@rewrite("Bitcast", reason="as the same bits of a number with or without sign")
def bitcast(node: Node, x: Any) -> Any:
    from convkit.legalization.tfjs.narrowing import wrapped

    source, result = node.input_dtype(), node.output_dtype()
    if {source, result} not in ({"int8", "uint8"}, {"int16", "uint16"}):
        raise RefusedError(f"TF.js does not take the bits of {source} for {result}")
    return wrapped(x, result)


@rewrite("LeftShift", "RightShift", reason="computed as a product or quotient with a power of two")
def shift(node: Node, x: Any, y: Any) -> Any:
    import tensorflow as tf

    from convkit.legalization.tfjs.narrowing import wrapped

    dtype = node.input_dtype()
    if dtype in ("uint32", "int64", "uint64"):
        raise RefusedError(f"shifts of {dtype} do not fit into int32")
    width = {"int8": 8, "uint8": 8, "int16": 16, "uint16": 16}.get(dtype, 32)
    powers = tf.constant([1 << k for k in range(31)], tf.int32)
    power = tf.gather(powers, tf.clip_by_value(y, 0, min(width, 31) - 1))
    if node.type == "RightShift":
        return tf.raw_ops.FloorDiv(x=x, y=power)
    return wrapped(x * power, dtype)


@rewrite("FakeQuantWithMinMaxVars", "FakeQuantWithMinMaxArgs", reason="TF.js ignores it: computed by its definition")
def fake_quantization(node: Node, x: Any, low: Any = None, high: Any = None) -> Any:
    import tensorflow as tf

    if low is None:
        low, high = (tf.constant(node.attribute(key), tf.float32) for key in ("min", "max"))
    levels = float((1 << node.attribute("num_bits")) - 1)
    first = 1.0 if node.attribute("narrow_range") else 0.0
    scale = (high - low) / (levels - first)
    zero = first - low / scale
    nudged = tf.clip_by_value(tf.floor(zero + 0.5), first, levels)
    low, high = (first - nudged) * scale, (levels - nudged) * scale
    return tf.floor((tf.clip_by_value(x, low, high) - low) / scale + 0.5) * scale + low


@rewrite("Angle", "Conj", reason="computed from the real and the imaginary part")
def complex_parts(node: Node, x: Any) -> Any:
    import tensorflow as tf

    if node.type == "Conj":
        return tf.complex(tf.math.real(x), -tf.math.imag(x)) if x.dtype.is_complex else tf.identity(x)
    return tf.atan2(tf.math.imag(x), tf.math.real(x))


@rewrite("ApproximateEqual", reason="computed as |x − y| < tolerance")
def approximate_equal(node: Node, x: Any, y: Any) -> Any:
    import tensorflow as tf

    return tf.abs(x - y) < float(node.attribute("tolerance"))


_LANCZOS = (676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059, 12.507343278686905)
_LANCZOS_SMALL = (-0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7)


@rewrite("Lgamma", reason="computed by Lanczos' approximation")
def log_gamma(_node: Node, x: Any) -> Any:
    """ln Γ by Lanczos' approximation (g = 7, nine terms), and by the reflection formula below ½."""
    import tensorflow as tf

    mirrored = x < 0.5
    z = tf.where(mirrored, -x, x - 1.0)
    total = 0.99999999999980993
    for position, coefficient in enumerate((*_LANCZOS, *_LANCZOS_SMALL), 1):
        total = total + coefficient / (z + float(position))
    t = z + 7.5
    value = 0.5 * math.log(2 * math.pi) + (z + 0.5) * tf.math.log(t) - t + tf.math.log(total)
    reflected = math.log(math.pi) - tf.math.log(tf.abs(tf.sin(math.pi * x))) - value
    return tf.where(mirrored, reflected, value)
