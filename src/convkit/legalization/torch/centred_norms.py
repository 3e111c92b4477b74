"""Norms of values whose mean is taken away before.

Kernels that compute a variance as E[x²] - E[x]² lose what the square of the mean has more digits of than the variance: of pixels
around 30 with a deviation of 1 a thousandth of the result. A norm takes the mean away itself, so that one of values without
a mean is the same, and its kernel has nothing to lose.

ExecuTorch's group norm (portable, 1.4.1) adds value to value besides, which of a hundred thousand pixels is wrong in the fifth
digit. Its layer norm is not: a group is a layer where the sizes of its pixels are known.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch

from convkit.legalization import exported_program as programs

__all__ = ["centre_norms"]

_aten = torch.ops.aten
_LAYER_NORMS = (_aten.layer_norm.default, _aten.native_layer_norm.default)
_GROUP_NORMS = (_aten.group_norm.default, _aten.native_group_norm.default)


def centre_norms(program: torch.export.ExportedProgram) -> None:
    """Takes the mean away before every layer norm and group norm whose own mean nobody reads, in place."""
    norms = [n for n in programs.calls(program) if n.target in (*_LAYER_NORMS, *_GROUP_NORMS) and _only_values(n)]
    for norm in norms:
        call = functools.partial(_call, norm)
        with norm.graph.inserting_before(norm):
            if norm.target in _GROUP_NORMS and _has_known_groups(norm):
                _replace(norm, _of_layers(norm, call))
                continue
            mean = _mean_of_last_axes(norm, call) if norm.target in _LAYER_NORMS else _mean_of_groups(norm, call)
            centred = call(_aten.sub.Tensor, norm.args[0], mean)
        norm.args = (centred, *norm.args[1:])
    if norms:
        program.graph_module.recompile()


def _has_known_groups(norm: torch.fx.Node) -> bool:
    return all(isinstance(size, int) for size in norm.args[0].meta["val"].shape[1:])


def _replace(norm: torch.fx.Node, result: torch.fx.Node) -> None:
    """Of the native operator, which has a tuple of results, the first is the one that is read."""
    for user in [norm] if norm.target is _GROUP_NORMS[0] else list(norm.users):
        user.replace_all_uses_with(result)
        norm.graph.erase_node(user)
    if norm.target is not _GROUP_NORMS[0]:
        norm.graph.erase_node(norm)


def _of_layers(norm: torch.fx.Node, call: Callable[..., torch.fx.Node]) -> torch.fx.Node:
    """A group norm as a layer norm of its groups, and its weights by channel."""
    if norm.target is _GROUP_NORMS[0]:
        given = list(norm.args)
        x, groups, weight, bias, eps, *_ = given + [None, None, 1e-5][len(given) - 2 :]
    else:
        x, weight, bias, _, _, _, groups, eps = norm.args
    batch, channels, *pixels = x.meta["val"].shape
    if not isinstance(batch, int):
        batch = call(_aten.sym_size.int, x, 0)
    count = channels // groups * math.prod(pixels)
    grouped = call(_aten.reshape.default, x, [batch, groups, count])
    centred = call(_aten.sub.Tensor, grouped, call(_aten.mean.dim, grouped, [-1], True))
    found = call(
        _aten.reshape.default, call(_aten.layer_norm.default, centred, [count], None, None, eps), [batch, channels, *pixels]
    )
    for operator, values in ((_aten.mul.Tensor, weight), (_aten.add.Tensor, bias)):
        if values is not None:
            found = call(operator, found, call(_aten.reshape.default, values, [1, channels, *(1 for _ in pixels)]))
    return found


def _only_values(norm: torch.fx.Node) -> bool:
    """Whether nobody reads the mean and the deviation that the native operators give out too."""
    return norm.target in (_LAYER_NORMS[0], _GROUP_NORMS[0]) or all(user.args[1] == 0 for user in norm.users)


def _mean_of_last_axes(norm: torch.fx.Node, call: Callable[..., torch.fx.Node]) -> torch.fx.Node:
    x, normalized, *_ = norm.args
    return call(_aten.mean.dim, x, list(range(-len(normalized), 0)), True)


def _mean_of_groups(norm: torch.fx.Node, call: Callable[..., torch.fx.Node]) -> torch.fx.Node:
    """From the means of the channels, so that nothing large, and no axis of pixels, is reshaped."""
    x, groups = norm.args[0], norm.args[1] if norm.target is _GROUP_NORMS[0] else norm.args[6]
    batch, channels, *pixels = x.meta["val"].shape
    if not isinstance(batch, int):
        batch = call(_aten.sym_size.int, x, 0)
    means = call(_aten.mean.dim, x, list(range(2, 2 + len(pixels))), True) if pixels else x
    grouped = [batch, groups, channels // groups]
    of_groups = call(_aten.mean.dim, call(_aten.reshape.default, means, grouped), [-1], True)
    return call(_aten.reshape.default, call(_aten.expand.default, of_groups, grouped), [batch, channels, *(1 for _ in pixels)])


def _call(norm: torch.fx.Node, operator: Any, *args: Any) -> torch.fx.Node:
    """A new node at the norm's place in the user's model."""
    node = norm.graph.call_function(operator, args)
    node.meta = {**norm.meta, "val": operator(*torch.fx.node.map_arg(args, lambda n: n.meta["val"]))}
    return node
