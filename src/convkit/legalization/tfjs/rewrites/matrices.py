"""Products of matrices, and the matrices that are made of diagonals."""

from __future__ import annotations

from typing import Any

from convkit.legalization.tfjs.choosing import choose
from convkit.legalization.tfjs.nodes import Node, RefusedError
from convkit.legalization.tfjs.rewriting import rewrite

__all__: list[str] = []


@rewrite("BatchMatMulV2", "BatchMatMulV3", reason="with equal batch dimensions: TF.js counts through those that broadcast")
def batch_matmul(node: Node, x: Any, y: Any) -> Any:
    """Source: the kernels take batch i of an operand with n batches as i modulo n, which is right for leading ones only."""
    import tensorflow as tf

    if x.shape.rank is None or y.shape.rank is None:
        raise RefusedError("the rank of its operands is unknown")
    if not _counts_through(x.shape.as_list()[:-2], y.shape.as_list()[:-2]):
        batch = tf.broadcast_dynamic_shape(tf.shape(x)[:-2], tf.shape(y)[:-2])
        x, y = (tf.broadcast_to(v, tf.concat([batch, tf.shape(v)[-2:]], 0)) for v in (x, y))
    elif node.type == "BatchMatMulV2":
        return None
    return tf.raw_ops.BatchMatMulV2(x=x, y=y, adj_x=node.attribute("adj_x"), adj_y=node.attribute("adj_y"))


def _counts_through(a: list[int | None], b: list[int | None]) -> bool:
    """Whether batch dimensions are equal behind the leading ones of one side; two dynamic ones are taken to be equal."""
    rank = max(len(a), len(b))
    pairs = list(zip([1] * (rank - len(a)) + a, [1] * (rank - len(b)) + b, strict=True))
    while pairs and 1 in pairs[0]:
        side = 0 if pairs[0][0] == 1 else 1
        while pairs and pairs[0][side] == 1:
            pairs.pop(0)
        break
    return all(mine == theirs for mine, theirs in pairs)


@rewrite("Einsum", reason="as transposes and products of matrices: the wasm backend has no Einsum")
def einsum(node: Node, *operands: Any) -> Any:
    from convkit.interpreters.operators import UnsupportedError
    from convkit.interpreters.tensorflow.operators.einsum import einsum as composed

    try:
        return composed(*operands, equation=node.attribute("equation"))  # type: ignore[no-untyped-call]
    except UnsupportedError as error:
        raise RefusedError(str(error)) from error


@rewrite("MatrixBandPart", reason="by comparing rows with columns: TF.js takes no negative bounds")
def band_part(_node: Node, x: Any, lower: Any, upper: Any) -> Any:
    import tensorflow as tf

    shape = tf.shape(x)
    rows, columns = tf.range(shape[-2])[:, tf.newaxis], tf.range(shape[-1])[tf.newaxis]
    below = tf.logical_or(lower < 0, rows - columns <= lower)
    above = tf.logical_or(upper < 0, columns - rows <= upper)
    return choose(tf.logical_and(below, above), x, tf.zeros([], x.dtype))


@rewrite("MatrixDiag", reason="by comparing rows with columns")
def matrix_diagonal(_node: Node, diagonal: Any) -> Any:
    import tensorflow as tf

    index = tf.range(tf.shape(diagonal)[-1])
    on = tf.equal(index[:, tf.newaxis], index[tf.newaxis])
    return choose(on, diagonal[..., tf.newaxis], tf.zeros([], diagonal.dtype))


@rewrite("MatrixDiagV2", "MatrixDiagV3", reason="by comparing rows with columns")
def matrix_diagonal_v3(node: Node, diagonal: Any, *others: Any) -> Any:
    import numpy as np

    if np.any(node.known(1) != 0) or np.any(node.known(2) >= 0) or np.any(node.known(3) >= 0) or np.any(node.known(4) != 0):
        raise RefusedError("it makes other matrices than square ones with one diagonal")
    return matrix_diagonal(node, diagonal)


@rewrite("MatrixDiagPart", reason="by comparing rows with columns")
def diagonal_part(_node: Node, x: Any) -> Any:
    import tensorflow as tf

    shape = tf.shape(x)
    size = tf.minimum(shape[-2], shape[-1])
    on = tf.equal(tf.range(shape[-2])[:, tf.newaxis], tf.range(shape[-1])[tf.newaxis])
    kept = tf.reduce_sum(tf.where(on, x, tf.zeros([], x.dtype)), -2)
    return kept[..., :size]


@rewrite("MatrixDiagPartV2", "MatrixDiagPartV3", reason="by comparing rows with columns")
def diagonal_part_v3(node: Node, x: Any, *others: Any) -> Any:
    import numpy as np

    if np.any(node.known(1) != 0):
        raise RefusedError("it takes another diagonal than the main one")
    return diagonal_part(node, x)


@rewrite("MatrixSetDiag", "MatrixSetDiagV2", "MatrixSetDiagV3", reason="by comparing rows with columns")
def set_diagonal(node: Node, x: Any, diagonal: Any, *others: Any) -> Any:
    import numpy as np
    import tensorflow as tf

    if others and np.any(node.known(2) != 0):
        raise RefusedError("it sets another diagonal than the main one")
    shape = tf.shape(x)
    on = tf.equal(tf.range(shape[-2])[:, tf.newaxis], tf.range(shape[-1])[tf.newaxis])
    if x.shape[-2] is not None and x.shape[-2] == x.shape[-1]:
        return choose(on, diagonal[..., tf.newaxis], x)
    raise RefusedError("its matrices are not known to be square")
