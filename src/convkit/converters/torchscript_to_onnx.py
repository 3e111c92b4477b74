"""TorchScript → ONNX, through torch.onnx's legacy exporter, which reads the TorchScript graph itself.

The second route, for scripted modules with control flow that `ts2ep` does not know. torch has deprecated it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from convkit.components import ConversionOutcome, ConversionRequest, Converter, Host, Option
from convkit.errors import ConversionError, UsageError
from convkit.formats import Variant

if TYPE_CHECKING:
    from convkit.signature import Signature

# 16 has the last If and Loop that this exporter writes without warnings; it knows nothing above 20.
_OPSET = Option("opset", "the ONNX opset to write", 18)

CONVERTER = Converter(
    name="torch-onnx-legacy",
    sources=(Variant.TORCHSCRIPT,),
    target=Variant.ONNX,
    host=Host(group="torch", preload=("torch", "torch.onnx"), packages=("torch", "onnx")),
    cost=2.5,
    reason="reads control flow of scripted modules; deprecated by torch",
    options=(_OPSET,),
)
