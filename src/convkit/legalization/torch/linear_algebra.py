"""Factorisations and solutions of small systems, written out row by row.

Algorithms: G. Golub, C. Van Loan, "Matrix Computations", 4th edition, 3.1, 3.4, 4.2, 5.2, 9.3. Every matrix is (…, rows,
columns) with static rows and columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from convkit.legalization.torch.decompositions import decomposes

if TYPE_CHECKING:
    import torch

_LARGEST = 16
"""How many rows or columns are written out at most."""

_HALVINGS = 11
_TAYLOR_TERMS = {False: 16, True: 26}
"""Powers that are summed for a norm of at most 2, in single and in double precision."""


def _is_small(*matrices: torch.Tensor) -> bool:
    sizes = [n for m in matrices for n in m.shape[-2:]]
    return all(isinstance(n, int) and 0 < n <= _LARGEST for n in sizes)


def _identity(rows: int, columns: int, dtype: torch.dtype) -> torch.Tensor:
    """Of comparisons: `torch.eye` becomes bytes on its way to LiteRT."""
    import torch

    return (torch.arange(rows).unsqueeze(-1) == torch.arange(columns)).to(dtype)


def _is_real(*matrices: torch.Tensor) -> bool:
    return all(m.is_floating_point() for m in matrices)


@decomposes("cholesky.default", reason="Cholesky's factorisation column by column")
def cholesky(x: torch.Tensor, upper: bool = False) -> Any:
    """The triangular factor L of x = L Lᵀ, or its transpose; nan where x is not positive definite."""
    import torch

    if not _is_small(x) or not _is_real(x):
        return NotImplemented
    x = x.mT if upper else x
    columns: list[torch.Tensor] = []
    for k in range(x.shape[-1]):
        rest = x[..., k:, k]
        for column in columns:
            rest = rest - column[..., k:] * column[..., k : k + 1]
        below = rest / rest[..., :1].sqrt()
        columns.append(torch.nn.functional.pad(below, [k, 0]))
    lower = torch.stack(columns, -1)
    return lower.mT if upper else lower


@decomposes("linalg_cholesky_ex.default", reason="Cholesky's factorisation column by column")
def cholesky_ex(x: torch.Tensor, *, upper: bool = False, check_errors: bool = False) -> Any:
    """The factor, and 0 for success."""
    import torch

    lower = cholesky(x.mT if upper else x)
    if lower is NotImplemented:
        return NotImplemented
    return lower.mT if upper else lower, torch.zeros(x.shape[:-2], dtype=torch.int32)


def _substituted(triangle: torch.Tensor, right: torch.Tensor, upper: bool, is_unit: bool = False) -> torch.Tensor:
    """The solution of a triangular system by substitution; batch axes are broadcast."""
    import torch

    size = triangle.shape[-1]
    rows: dict[int, torch.Tensor] = {}
    for k in reversed(range(size)) if upper else range(size):
        row = right[..., k, :]
        for done, value in rows.items():
            row = row - triangle[..., k, done].unsqueeze(-1) * value
        rows[k] = row if is_unit else row / triangle[..., k, k].unsqueeze(-1)
    return torch.stack([rows[k] for k in range(size)], -2)


@decomposes("linalg_solve_triangular.default", reason="substitution row by row")
def solve_triangular(x: torch.Tensor, right: torch.Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Any:
    """The solution of x · result = right, or with `left` unset of result · x = right."""
    if not _is_small(x) or not _is_real(x, right):
        return NotImplemented
    if left:
        return _substituted(x, right, upper, unitriangular)
    return _substituted(x.mT, right.mT, not upper, unitriangular).mT


@decomposes("triangular_solve.default", reason="substitution row by row")
def triangular_solve(
    right: torch.Tensor, x: torch.Tensor, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> Any:
    """The solution of x · result = right, and a copy of x."""
    if not _is_small(x) or not _is_real(x, right):
        return NotImplemented
    matrix, is_upper = (x.mT, not upper) if transpose else (x, upper)
    return _substituted(matrix, right, is_upper, unitriangular), x.clone()


@decomposes("cholesky_solve.default", reason="substitution forwards and backwards")
def cholesky_solve(right: torch.Tensor, x: torch.Tensor, upper: bool = False) -> Any:
    """The solution of (x xᵀ) · result = right for a lower factor x, of (xᵀ x) · result = right for an upper one."""
    if not _is_small(x) or not _is_real(x, right):
        return NotImplemented
    lower = x.mT if upper else x
    return _substituted(lower.mT, _substituted(lower, right, upper=False), upper=True)


@decomposes("cholesky_inverse.default", reason="substitution forwards and backwards")
def cholesky_inverse(x: torch.Tensor, upper: bool = False) -> Any:
    """The inverse of the matrix that the factor is of."""
    if not _is_small(x) or not _is_real(x):
        return NotImplemented
    return cholesky_solve(_identity(x.shape[-1], x.shape[-1], x.dtype), x, upper)


@decomposes("lu_solve.default", reason="substitution forwards and backwards after the row exchanges")
def lu_solve(right: torch.Tensor, data: torch.Tensor, pivots: torch.Tensor) -> Any:
    """The solution of a system whose factorisation P L U is given."""
    if not _is_small(data) or not _is_real(right, data):
        return NotImplemented
    return linalg_lu_solve(data, pivots, right)


@decomposes("linalg_lu_solve.default", reason="substitution forwards and backwards after the row exchanges")
def linalg_lu_solve(
    data: torch.Tensor, pivots: torch.Tensor, right: torch.Tensor, *, left: bool = True, adjoint: bool = False
) -> Any:
    """The solution of a system whose factorisation P L U is given."""
    import torch

    if not left or adjoint or not _is_small(data) or not _is_real(data, right):
        return NotImplemented
    size = data.shape[-1]
    positions = torch.arange(size)
    for k in range(size):  # row k and row pivots[k] - 1 change places
        other = (pivots[..., k : k + 1] - 1).to(torch.int64)
        order = torch.where(positions == k, other, torch.where(positions == other, k, positions))
        index = order.unsqueeze(-1).expand(*torch.broadcast_shapes(order.shape[:-1], right.shape[:-2]), size, right.shape[-1])
        right = right.expand(index.shape).gather(-2, index)
    return _substituted(data, _substituted(data, right, upper=False, is_unit=True), upper=True)


def _householder(column: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The reflection 1 - τ v vᵀ that takes a column to (β, 0, …), v beginning with 1, as LAPACK's `larfg` has it: (v, τ, β)."""
    import torch

    first, rest = column[..., :1], column[..., 1:]
    tail = rest.square().sum(-1, keepdim=True)
    norm = (first.square() + tail).sqrt()
    beta = torch.where(first >= 0, -norm, norm)
    is_done = tail == 0
    tau = torch.where(is_done, torch.zeros_like(beta), (beta - first) / torch.where(is_done, torch.ones_like(beta), beta))
    scale = torch.where(is_done, torch.ones_like(beta), first - beta)
    vector = torch.cat([torch.ones_like(first), torch.where(is_done, torch.zeros_like(rest), rest / scale)], -1)
    return vector, tau, torch.where(is_done, first, beta)


def _reflected(x: torch.Tensor, vector: torch.Tensor, tau: torch.Tensor) -> torch.Tensor:
    """(1 - τ v vᵀ) x."""
    v = vector.unsqueeze(-1)
    return x - tau.unsqueeze(-1) * v * (v * x).sum(-2, keepdim=True)


@decomposes("linalg_qr.default", reason="Householder's reflections column by column")
def qr(x: torch.Tensor, mode: str = "reduced") -> Any:
    """Orthogonal and upper triangular factors."""
    import torch

    if not _is_small(x) or not _is_real(x):
        return NotImplemented
    rows, columns = x.shape[-2:]
    count = min(rows, columns)
    reflections, triangle = [], x
    for k in range(count):
        vector, tau, _ = _householder(triangle[..., k:, k])
        vector = torch.nn.functional.pad(vector, [k, 0])
        reflections.append((vector, tau))
        triangle = _reflected(triangle, vector, tau)
    width = rows if mode == "complete" else count
    if mode == "r":
        return torch.zeros(0, dtype=x.dtype), triangle[..., :count, :].triu()
    q = _identity(rows, width, x.dtype).expand(*x.shape[:-2], rows, width)
    for vector, tau in reversed(reflections):
        q = _reflected(q, vector, tau)
    return q, triangle[..., :width, :].triu()


@decomposes("ormqr.default", reason="Householder's reflections one by one")
def ormqr(x: torch.Tensor, tau: torch.Tensor, other: torch.Tensor, left: bool = True, transpose: bool = False) -> Any:
    """Q · other, Qᵀ · other, or from the right, Q being the product of the reflections that `x` and `tau` hold."""
    if not _is_small(x) or not _is_real(x, other):
        return NotImplemented
    result = other if left else other.mT
    vectors = _reflections(x, tau.shape[-1])
    # (other Q)ᵀ = Qᵀ otherᵀ, and Q = H1 H2 …, so that its transpose applies H1 first.
    order = range(tau.shape[-1]) if transpose == left else reversed(range(tau.shape[-1]))
    for k in order:
        result = _reflected(result, vectors[k], tau[..., k : k + 1])
    return result if left else result.mT


def _reflections(x: torch.Tensor, count: int) -> list[torch.Tensor]:
    """The vectors below the diagonal, with the 1 that is not stored."""
    import torch

    rows = x.shape[-2]
    positions = torch.arange(rows)
    return [
        torch.where(
            positions == k,
            torch.ones((), dtype=x.dtype),
            torch.where(positions > k, x[..., :, k], torch.zeros((), dtype=x.dtype)),
        )
        for k in range(count)
    ]


@decomposes("linalg_householder_product.default", "orgqr.default", reason="Householder's reflections one by one")
def householder_product(x: torch.Tensor, tau: torch.Tensor) -> Any:
    """The first columns of Q."""

    if not _is_small(x) or not _is_real(x):
        return NotImplemented
    result = _identity(x.shape[-2], x.shape[-1], x.dtype).expand(x.shape)
    vectors = _reflections(x, tau.shape[-1])
    for k in reversed(range(tau.shape[-1])):
        result = _reflected(result, vectors[k], tau[..., k : k + 1])
    return result


@decomposes("matrix_exp.default", "linalg_matrix_exp.default", reason="a Taylor polynomial of the halved matrix, squared again")
def matrix_exp(x: torch.Tensor) -> Any:
    """exp of square matrices whose norm is at most 2¹², by scaling and squaring."""
    import torch

    if not _is_real(x):
        return NotImplemented
    norm = x.abs().sum(-1, keepdim=True).amax(-2, keepdim=True)
    count = torch.zeros_like(norm)
    scaled = x
    for step in range(_HALVINGS):
        is_large = norm > 2.0 ** (step + 1)
        scaled = torch.where(is_large, scaled / 2, scaled)
        count = torch.where(is_large, torch.full_like(count, step + 1), count)
    result = term = _identity(x.shape[-1], x.shape[-1], x.dtype).expand(x.shape)
    for k in range(1, _TAYLOR_TERMS[x.dtype == torch.float64]):
        term = term @ scaled / k
        result = result + term
    for step in range(_HALVINGS):
        result = torch.where(count > step, result @ result, result)
    return result


@decomposes("addmv.default", reason="a product of matrices")
def addmv(x: torch.Tensor, matrix: torch.Tensor, vector: torch.Tensor, *, beta: float = 1, alpha: float = 1) -> torch.Tensor:
    """beta · x + alpha · (matrix · vector)."""
    product = (matrix @ vector.unsqueeze(1)).squeeze(1)
    return _blended(x, product, beta, alpha)


@decomposes("addbmm.default", reason="a sum of products of matrices")
def addbmm(x: torch.Tensor, first: torch.Tensor, second: torch.Tensor, *, beta: float = 1, alpha: float = 1) -> torch.Tensor:
    """beta · x + alpha · Σ first[k] · second[k]."""
    return _blended(x, (first @ second).sum(0), beta, alpha)


def _blended(x: torch.Tensor, product: torch.Tensor, beta: float, alpha: float) -> torch.Tensor:
    product = product if alpha == 1 else product * alpha
    if beta == 0:  # what x holds is ignored then, nan included
        return product
    return product + (x if beta == 1 else x * beta)


@decomposes("_linalg_slogdet.default", reason="Gauss' elimination with pivoting")
def slogdet(x: torch.Tensor) -> Any:
    """The determinant's sign and the logarithm of its size; then, for torch's gradient only, factors and pivots: zeros here."""
    import torch

    if not _is_small(x) or not _is_real(x):
        return NotImplemented
    size = x.shape[-1]
    sign = torch.ones_like(x[..., 0, 0])
    logarithm = torch.zeros_like(sign)
    rest = x
    for _ in range(size):
        rest, pivot, is_exchanged = _eliminated(rest)
        sign = sign * torch.sign(pivot) * torch.where(is_exchanged, -torch.ones_like(sign), torch.ones_like(sign))
        logarithm = logarithm + torch.log(pivot.abs())
    return sign, logarithm, torch.zeros_like(x), torch.zeros(x.shape[:-1], dtype=torch.int32)


def _eliminated(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The matrix without its first column and the row of the largest element there; that element; and whether rows changed."""
    import torch

    size = x.shape[-1]
    place = x[..., 0].abs().argmax(-1, keepdim=True)
    index = place.unsqueeze(-1).expand(*x.shape[:-2], 1, size)
    row = x.gather(-2, index)
    positions = torch.arange(size)
    # The first row takes the place of the pivot's.
    x = torch.where((positions == place).unsqueeze(-1), x[..., :1, :], x)[..., 1:, :]
    pivot = row[..., :1]
    factor = x[..., :1] / torch.where(pivot == 0, torch.ones_like(pivot), pivot)
    return (x - factor * row)[..., 1:], pivot[..., 0, 0], place[..., 0] != 0
