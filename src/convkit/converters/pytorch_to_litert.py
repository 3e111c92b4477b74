"""PyTorch exported program → LiteRT by litert-torch, with dynamic dimensions.

litert-torch lowers through JAX, which needs static shapes for most operators. So the program is converted once, with each
dynamic size pinned to a prime (`convkit.legalization.prime_sizes`), and the dynamic dimensions are restored in the file
(`convkit.legalization.litert_dynamic`). Source: https://github.com/google-ai-edge/litert-torch (0.9.4).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from convkit.components import ConversionOutcome, ConversionRequest, Converter, Host, Option
from convkit.errors import ConversionError
from convkit.formats import Variant

if TYPE_CHECKING:
    import torch

    from convkit.artifact import Artifact
    from convkit.legalization.prime_sizes import DynamicSizes
    from convkit.legalization.target import Finding

__all__ = ["CONVERTER", "check", "convert"]

CONVERTER = Converter(
    name="litert-torch",
    sources=(Variant.EXPORTED_PROGRAM,),
    target=Variant.TFLITE,
    host=Host(
        group="torch",
        preload=("torch", "litert_torch"),
        packages=("litert-torch", "torch", "litert-converter", "ai-edge-litert", "jax"),
    ),
    cost=1.0,
    reason="the only direct converter; keeps dynamic dimensions, has no control flow",
)
