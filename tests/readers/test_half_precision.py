"""What computes in half precision is known from the file, whatever the dtypes of the model's inputs and outputs."""

from __future__ import annotations

from pathlib import Path

import pytest

from convkit.readers import inspect
from convkit.readers.half_precision import half_metadata


def test_the_coarsest_counts():
    assert half_metadata(["float32", "float16", "bfloat16"]) == {"computes_in": "bfloat16"}
    assert half_metadata(["float32", "float64", "int8"]) == {}


def onnx_model(path: Path, dtype: str) -> Path:
    import onnx
    from onnx import TensorProto, helper

    kind = {"float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16, "": TensorProto.FLOAT}[dtype]
    nodes = [
        helper.make_node("Cast", ["x"], ["small"], to=kind),
        helper.make_node("Mul", ["small", "small"], ["square"]),
        helper.make_node("Cast", ["square"], ["y"], to=TensorProto.FLOAT),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in "xy"]
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:])), path.with_suffix(".onnx"))
    return path.with_suffix(".onnx")


def exported_program(path: Path, dtype: str) -> Path:
    import torch

    class Square(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            # Stored in half, and not computed in it.
            self.register_buffer("stored", torch.ones(3, dtype=torch.float16))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            small = x.to(getattr(torch, dtype or "float32"))
            return (small * small).float() + self.stored.float()

    torch.export.save(torch.export.export(Square(), (torch.ones(2, 3),)), path.with_suffix(".pt2"))
    return path.with_suffix(".pt2")


def saved_model(path: Path, dtype: str) -> Path:
    import tensorflow as tf

    module = tf.Module()
    module.stored = tf.Variable(tf.ones([3], tf.float16))

    def call(x: tf.Tensor) -> dict[str, tf.Tensor]:
        small = tf.cast(x, dtype or "float32")
        return {"y": tf.cast(small * small, tf.float32) + tf.cast(module.stored, tf.float32)}

    function = tf.function(call, input_signature=[tf.TensorSpec([None, 3], name="x")])
    tf.saved_model.save(module, str(path), signatures={"serving_default": function.get_concrete_function()})
    return path


def keras_model(path: Path, dtype: str) -> Path:
    import keras

    x = keras.Input((3,))
    inner = keras.layers.Dense(4, dtype=f"mixed_{dtype}" if dtype else "float32")(x)
    keras.Model(x, keras.layers.Dense(2, dtype="float32")(inner)).save(path.with_suffix(".keras"))
    return path.with_suffix(".keras")


@pytest.mark.parametrize("make", [onnx_model, exported_program, saved_model, keras_model])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", ""])
def test_mixed_precision_is_seen(tmp_path: Path, make, dtype: str):
    info = inspect(make(tmp_path / "m", dtype))
    assert {t.dtype for t in (*info.signature.inputs, *info.signature.outputs)} == {"float32"}
    assert info.metadata.get("computes_in", "") == dtype
