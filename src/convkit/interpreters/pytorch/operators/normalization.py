"""Normalisation over batch, instance, layer, group, channels."""

from __future__ import annotations

import torch
from torch.nn import functional

from convkit.interpreters.operators import Known
from convkit.interpreters.pytorch.backend import torch_dtype
from convkit.interpreters.pytorch.table import operator


def _per_channel(values, x):
    """Values of axis 1 in a shape that broadcasts with x."""
    return values.reshape([1, -1] + [1] * (x.dim() - 2))


def _wants(node, first):
    """Whether a node is asked for outputs from a position on."""
    return any(output.name and (output.uses() or output.is_graph_output()) for output in node.outputs[first:])


def _accepts_inference(node):
    if _wants(node, 1):
        return "statistics of the batch (training) before opset 14"
    spatial = node.attributes.get_int("spatial", 1)
    return None if spatial else "statistics per element (spatial=0)"


def _batch_norm(x, scale, bias, mean, variance, epsilon):
    if x.dtype == mean.dtype == scale.dtype:
        return functional.batch_norm(x, mean, variance, scale, bias, training=False, eps=epsilon)
    wide = torch.promote_types(torch.promote_types(x.dtype, mean.dtype), scale.dtype)
    y, mean, variance, scale, bias = (t.to(wide) for t in (x, mean, variance, scale, bias))
    return functional.batch_norm(y, mean, variance, scale, bias, training=False, eps=epsilon).to(x.dtype)


@operator("BatchNormalization", accepts=_accepts_inference)
def batch_normalization(x, scale, bias, mean, variance, *, epsilon=1e-5, momentum=0.9, spatial=1):
    return _batch_norm(x, scale, bias, mean, variance, epsilon)


@operator("BatchNormalization", since=14)
def batch_normalization_or_training(x, scale, bias, mean, variance, *, epsilon=1e-5, momentum=0.9, training_mode=0):
    if not training_mode:
        return _batch_norm(x, scale, bias, mean, variance, epsilon)
    axes = [axis for axis in range(x.dim()) if axis != 1]
    wide = x.to(mean.dtype)
    batch_mean = torch.mean(wide, axes)
    centred = wide - _per_channel(batch_mean, x)
    batch_variance = torch.mean(centred * centred, axes)
    normal = centred * torch.rsqrt(_per_channel(batch_variance, x) + epsilon)
    y = (normal * _per_channel(scale, x) + _per_channel(bias, x)).to(x.dtype)
    running = [old * momentum + new * (1 - momentum) for old, new in ((mean, batch_mean), (variance, batch_variance))]
    return y, *running


@operator("InstanceNormalization")
def instance_normalization(x, scale, bias, *, epsilon=1e-5):
    return torch.group_norm(x, scale.shape[0], scale, bias, epsilon)


@operator("GroupNormalization", since=18)
def group_normalization_per_group(x, scale, bias, *, num_groups, epsilon=1e-5):
    repeated = [t.unsqueeze(1).expand(num_groups, x.shape[1] // num_groups).reshape(-1) for t in (scale, bias)]
    return torch.group_norm(x, num_groups, *repeated, epsilon)


@operator("GroupNormalization", since=21)
def group_normalization(x, scale, bias, *, num_groups, epsilon=1e-5, stash_type=1):
    wide = _stash(x, stash_type)
    normal = torch.group_norm(wide, num_groups, None, None, epsilon).to(x.dtype)
    if wide.dtype == x.dtype:
        return torch.group_norm(x, num_groups, scale, bias, epsilon)
    return normal * _per_channel(scale, x) + _per_channel(bias, x)


@operator("LayerNormalization")
def layer_normalization(x, scale, bias=None, *, axis=-1, epsilon=1e-5, stash_type=1, node):
    axis = axis % x.dim()
    wide = _stash(x, stash_type)
    shape = list(x.shape[axis:])
    fits = all(isinstance(size, int) for size in shape) and all(t is None or list(t.shape) == shape for t in (scale, bias))
    if wide.dtype == x.dtype and fits:
        y, mean, deviation = torch.native_layer_norm(x, shape, scale, bias, epsilon)
        return (y, mean, deviation) if _wants(node, 1) else y
    normal, mean, deviation = torch.native_layer_norm(wide, shape, None, None, epsilon)
    y = normal.to(x.dtype) * scale
    y = y if bias is None else y + bias
    return (y, mean, deviation) if _wants(node, 1) else y


@operator("RMSNormalization")
def rms_normalization(x, scale, *, axis=-1, epsilon=1e-5, stash_type=1):
    wide = _stash(x, stash_type)
    axes = list(range(axis % x.dim(), x.dim()))
    return (wide * torch.rsqrt(torch.mean(wide * wide, axes, keepdim=True) + epsilon)).to(scale.dtype) * scale


def _stash(x, stash_type):
    """In the precision that the attribute asks for; never in a lower one than x's own."""
    return x.to(torch.promote_types(x.dtype, torch_dtype(stash_type)))


@operator("LRN")
def local_response_normalization(x, *, size, alpha=1e-4, beta=0.75, bias=1.0):
    """The window over channels as a pooling window over the rows of one image."""
    squares = (x * x).reshape(x.shape[0], 1, x.shape[1], -1)
    padded = functional.pad(squares, [0, 0, (size - 1) // 2, size // 2])
    means = functional.avg_pool2d(padded, (size, 1), stride=1).reshape(x.shape)
    return x / torch.pow(means * alpha + bias, beta)


@operator("MeanVarianceNormalization")
def mean_variance_normalization(x, *, axes=(0, 2, 3)):
    centred = x - torch.mean(x, list(axes), keepdim=True)
    return centred / (torch.sqrt(torch.mean(centred * centred, list(axes), keepdim=True)) + 1e-9)


def _accepts_dropout(node):
    """Training drops at random; a ratio of zero drops nothing."""
    ratio, training = (node.inputs[k] if len(node.inputs) > k else None for k in (1, 2))
    if training is None:
        return None
    if training.const_value is None:
        return "whether it trains is computed"
    if not training.const_value.numpy().item():
        return None
    is_zero = ratio is not None and ratio.const_value is not None and not ratio.const_value.numpy().item()
    return None if is_zero else "it drops elements at random (training_mode)"


@operator("Dropout")
def dropout_at_rest(x, *, ratio=0.5):
    # Nothing is said of the mask at rest before opset 12; ONNX Runtime's is false everywhere.
    return x, torch.zeros_like(x, dtype=torch.bool)


@operator("Dropout", since=12, accepts=_accepts_dropout)
def dropout(x, ratio=None, training: Known | None = None, *, seed=None):
    return x, torch.ones_like(x, dtype=torch.bool)
