"""The usual families of convolutional networks, small and untrained: what they compute with is theirs, how much of it is not.

`FAMILIES` maps a name to a function that builds the network; `calibrated` gives its normalisations statistics, so that
its outputs are of the order of 1.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

__all__ = ["FAMILIES", "IMAGE", "Named", "calibrated"]

IMAGE = (1, 3, 64, 64)


def calibrated(network: nn.Module, *inputs: torch.Tensor) -> nn.Module:
    """The network in eval mode; weights that keep the variance, statistics of three random batches."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in network.named_parameters():
        with torch.no_grad():
            if parameter.ndim > 1:
                fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * (1.5 / fan_in) ** 0.5)
            elif "weight" in name:
                parameter.copy_(torch.rand(parameter.shape, generator=generator) + 0.5)
            else:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    network.train()
    with torch.no_grad():
        for _ in range(3):
            network(*(torch.randn(4, *x.shape[1:], generator=generator) if x.is_floating_point() else x for x in inputs))
    return network.eval()


def conv_norm(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1, act: type[nn.Module] | None = nn.ReLU
):
    layers = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, *([act()] if act else []))


def head(channels: int, classes: int = 10) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


class Residual(nn.Module):
    """A basic or a bottleneck block of ResNet; groups make it ResNeXt."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, groups: int = 1, bottleneck: bool = False) -> None:
        super().__init__()
        if bottleneck:
            inner = outputs // 2
            self.body = nn.Sequential(
                conv_norm(inputs, inner, 1), conv_norm(inner, inner, 3, stride, groups), conv_norm(inner, outputs, 1, act=None)
            )
        else:
            self.body = nn.Sequential(conv_norm(inputs, outputs, 3, stride), conv_norm(outputs, outputs, act=None))
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else conv_norm(inputs, outputs, 1, stride, act=None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


def resnet(groups: int = 1, bottleneck: bool = False) -> nn.Module:
    stem = nn.Sequential(conv_norm(3, 16, 7, 2), nn.MaxPool2d(3, 2, 1))
    blocks = [
        Residual(16, 16, 1, groups, bottleneck),
        Residual(16, 32, 2, groups, bottleneck),
        Residual(32, 32, 1, groups, bottleneck),
    ]
    return nn.Sequential(stem, *blocks, head(32))


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int, gate: Callable[[torch.Tensor], torch.Tensor] = torch.sigmoid) -> None:
        super().__init__()
        self.reduce, self.expand, self.gate = nn.Conv2d(channels, 8, 1), nn.Conv2d(8, channels, 1), gate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.gate(self.expand(F.relu(self.reduce(x.mean((2, 3), keepdim=True)))))


class Inverted(nn.Module):
    """The block of MobileNet V2 and V3, EfficientNet, MNASNet."""

    def __init__(self, inputs: int, outputs: int, stride: int, act: type[nn.Module], kernel: int = 3, excite=None) -> None:
        super().__init__()
        inner = inputs * 4
        self.body = nn.Sequential(
            conv_norm(inputs, inner, 1, act=act),
            conv_norm(inner, inner, kernel, stride, inner, act),
            *([] if excite is None else [SqueezeExcite(inner, excite)]),
            conv_norm(inner, outputs, 1, act=None),
        )
        self.same = inputs == outputs and stride == 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x) if self.same else self.body(x)


def mobile(act: type[nn.Module], kernel: int = 3, excite=None) -> nn.Module:
    plan = [(8, 8, 1), (8, 16, 2), (16, 16, 1), (16, 24, 2), (24, 24, 1)]
    return nn.Sequential(conv_norm(3, 8, 3, 2, act=act), *(Inverted(i, o, s, act, kernel, excite) for i, o, s in plan), head(24))


def mobilenet_v1() -> nn.Module:
    def separable(i: int, o: int, s: int) -> nn.Module:
        return nn.Sequential(conv_norm(i, i, 3, s, i), conv_norm(i, o, 1))

    return nn.Sequential(conv_norm(3, 8, 3, 2), separable(8, 16, 1), separable(16, 32, 2), separable(32, 32, 1), head(32))


class Dense(nn.Module):
    def __init__(self, inputs: int, growth: int = 8) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(inputs), nn.ReLU(), nn.Conv2d(inputs, 16, 1, bias=False),
            nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, growth, 3, padding=1, bias=False),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, self.body(x)], 1)


def densenet() -> nn.Module:
    transition = nn.Sequential(nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 16, 1, bias=False), nn.AvgPool2d(2, 2))
    blocks = [Dense(16), Dense(24), transition, Dense(16), Dense(24)]
    return nn.Sequential(conv_norm(3, 16, 7, 2), nn.MaxPool2d(3, 2, 1), *blocks, nn.BatchNorm2d(32), nn.ReLU(), head(32))


class Fire(nn.Module):
    def __init__(self, inputs: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze, self.one, self.three = (
            nn.Conv2d(inputs, squeeze, 1),
            nn.Conv2d(squeeze, expand, 1),
            nn.Conv2d(squeeze, expand, 3, padding=1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.squeeze(x))
        return torch.cat([F.relu(self.one(x)), F.relu(self.three(x))], 1)


def squeezenet() -> nn.Module:
    pool = nn.MaxPool2d(3, 2, ceil_mode=True)
    last = nn.Sequential(nn.Dropout(), nn.Conv2d(48, 10, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(nn.Conv2d(3, 16, 3, 2), nn.ReLU(), pool, Fire(16, 8, 16), Fire(32, 8, 24), pool, Fire(48, 8, 24), last)


class Shuffle(nn.Module):
    """The unit of ShuffleNet V2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.body = nn.Sequential(conv_norm(half, half, 1), conv_norm(half, half, 3, 1, half, None), conv_norm(half, half, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = x.chunk(2, 1)
        x = torch.cat([first, self.body(second)], 1)
        n, c, h, w = x.shape
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


def shufflenet() -> nn.Module:
    return nn.Sequential(conv_norm(3, 16, 3, 2), nn.MaxPool2d(3, 2, 1), Shuffle(16), Shuffle(16), conv_norm(16, 32, 1), head(32))


class ConvNextBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise, self.norm = nn.Conv2d(channels, channels, 7, padding=3, groups=channels), nn.LayerNorm(channels)
        self.expand, self.reduce = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)
        self.scale = nn.Parameter(torch.ones(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        return x + (self.scale * self.reduce(F.gelu(self.expand(y)))).permute(0, 3, 1, 2)


def convnext() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 4, 4), nn.GroupNorm(1, 16), ConvNextBlock(16), nn.Conv2d(16, 32, 2, 2), ConvNextBlock(32), head(32)
    )


class UNet(nn.Module):
    """Upsamples by transposed convolution, or bilinearly."""

    def __init__(self, bilinear: bool) -> None:
        super().__init__()
        self.down = nn.ModuleList([conv_norm(3, 8), conv_norm(8, 16), conv_norm(16, 32)])
        if bilinear:
            self.up = nn.ModuleList(
                nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), nn.Conv2d(i, o, 1))
                for i, o in ((32, 16), (16, 8))
            )
        else:
            self.up = nn.ModuleList(nn.ConvTranspose2d(i, o, 2, 2) for i, o in ((32, 16), (16, 8)))
        self.fuse, self.last = nn.ModuleList([conv_norm(32, 16), conv_norm(16, 8)]), nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.down[0](x)
        second = self.down[1](F.max_pool2d(first, 2, 2))
        x = self.down[2](F.max_pool2d(second, 2, 2))
        for up, fuse, skip in zip(self.up, self.fuse, (second, first), strict=True):
            x = fuse(torch.cat([skip, up(x)], 1))
        return self.last(x)


class Detector(nn.Module):
    """A small YOLO: SiLU, a pyramid with nearest upsampling, decoded boxes and scores."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv_norm(3, 16, 3, 2, act=nn.SiLU), conv_norm(16, 32, 3, 2, act=nn.SiLU))
        self.deep, self.fuse = conv_norm(32, 32, 3, 2, act=nn.SiLU), conv_norm(64, 32, 1, act=nn.SiLU)
        self.pool, self.heads = nn.MaxPool2d(5, 1, 2), nn.ModuleList([nn.Conv2d(32, 9, 1), nn.Conv2d(32, 9, 1)])

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        fine = self.stem(x)
        coarse = self.pool(self.deep(fine))
        fine = self.fuse(torch.cat([fine, F.interpolate(coarse, scale_factor=2.0, mode="nearest")], 1))
        both = torch.cat([h(f).flatten(2) for h, f in zip(self.heads, (fine, coarse), strict=True)], 2).transpose(1, 2)
        boxes, scores = both[..., :4], both[..., 4:].sigmoid()
        centre, size = boxes[..., :2].sigmoid() * 2 - 0.5, boxes[..., 2:].exp()
        return torch.cat([centre - size / 2, centre + size / 2], -1), scores


def vgg() -> nn.Module:
    layers: list[nn.Module] = []
    for i, o in ((3, 8), (8, 16), (16, 16)):
        layers += [nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU(), nn.MaxPool2d(2, 2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * 64, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 10))


class Inception(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.one, self.five = conv_norm(inputs, 8, 1), nn.Sequential(conv_norm(inputs, 4, 1), conv_norm(4, 8, 5))
        self.three = nn.Sequential(conv_norm(inputs, 4, 1), conv_norm(4, 8, 3))
        self.pooled = nn.Sequential(nn.AvgPool2d(3, 1, 1), conv_norm(inputs, 8, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pooled(x)], 1)


def googlenet() -> nn.Module:
    return nn.Sequential(
        conv_norm(3, 16, 7, 2), nn.MaxPool2d(3, 2, 1), Inception(16), nn.MaxPool2d(3, 2, 1), Inception(32), head(32)
    )


class DeepLab(nn.Module):
    """Dilated convolutions, image pooling, bilinear upsampling with half-pixel centres."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.last = nn.Sequential(conv_norm(3, 16, 3, 2), conv_norm(16, 32, 3, 2)), nn.Conv2d(64, 5, 1)
        self.rates = nn.ModuleList(nn.Conv2d(32, 16, 3, padding=r, dilation=r) for r in (1, 2, 4))
        self.pooled = nn.Conv2d(32, 16, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.stem(x)
        pooled = self.pooled(y.mean((2, 3), keepdim=True)).expand(-1, -1, y.shape[2], y.shape[3])
        y = self.last(torch.cat([*(F.relu(r(y)) for r in self.rates), pooled], 1))
        return F.interpolate(y, size=(64, 64), mode="bilinear", align_corners=False)


class SuperResolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 16, 5, padding=2), nn.PReLU(16), nn.Conv2d(16, 12, 3, padding=1), nn.LeakyReLU(0.1)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.pixel_shuffle(self.body(x), 2)


class Autoencoder(nn.Module):
    """Strided and transposed convolutions with output padding, ELU, instance norm, reflection padding."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(3, 8, 3, 2), nn.InstanceNorm2d(8), nn.ELU())
        self.decode = nn.ConvTranspose2d(8, 3, 3, 2, 1, output_padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.decode(self.encode(x)))


class ChannelsLastMixer(nn.Module):
    """MLP-Mixer: patches, and products over both axes."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.norm = nn.Conv2d(3, 32, 8, 8), nn.LayerNorm(32)
        self.tokens, self.channels, self.last = nn.Linear(64, 64), nn.Linear(32, 32), nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = x + F.gelu(self.tokens(self.norm(x).transpose(1, 2))).transpose(1, 2)
        return self.last((x + F.gelu(self.channels(self.norm(x)))).mean(1))


def regnet() -> nn.Module:
    blocks = [Residual(16, 16, 1, 4, True), SqueezeExcite(16), Residual(16, 32, 2, 4, True), SqueezeExcite(32)]
    return nn.Sequential(conv_norm(3, 16, 3, 2), *blocks, head(32))


class Named(nn.Module):
    """Around a root nn.Sequential, whose weights' names would begin with digits: pytorch/executorch#21541."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        return self.network(x)


FAMILIES: dict[str, Callable[[], nn.Module]] = {
    "resnet": resnet,
    "resnet-bottleneck": lambda: resnet(bottleneck=True),
    "resnext": lambda: resnet(groups=4, bottleneck=True),
    "mobilenet-v1": mobilenet_v1,
    "mobilenet-v2": lambda: mobile(nn.ReLU6),
    "mobilenet-v3": lambda: mobile(nn.Hardswish, 5, F.hardsigmoid),
    "efficientnet": lambda: mobile(nn.SiLU, 5, torch.sigmoid),
    "mnasnet": lambda: mobile(nn.ReLU, 5),
    "densenet": densenet,
    "squeezenet": squeezenet,
    "shufflenet": shufflenet,
    "convnext": convnext,
    "unet-transposed": lambda: UNet(False),
    "unet-bilinear": lambda: UNet(True),
    "yolo": Detector,
    "vgg": vgg,
    "googlenet": googlenet,
    "deeplab": DeepLab,
    "super-resolution": SuperResolution,
    "autoencoder": Autoencoder,
    "mlp-mixer": ChannelsLastMixer,
    "regnet": regnet,
}
