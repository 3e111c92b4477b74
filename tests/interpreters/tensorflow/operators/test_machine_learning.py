"""ai.onnx.ml on numbers in the TensorFlow importer, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_nodes as nodes
import pytest
from onnx import TensorProto, helper

from interpreters.pytorch.operators.operator_checks import floats, ints
from interpreters.tensorflow.operators.operator_checks import refusal

_SCORED = [TensorProto.INT64, TensorProto.FLOAT]


def _model(
    operator: str, feeds: dict[str, np.ndarray], outputs: list[int], version: int = 3, **attributes: Any
) -> onnx.ModelProto:
    names = [f"y{k}" for k in range(len(outputs))]
    node = helper.make_node(operator, list(feeds), names, domain="ai.onnx.ml", **attributes)
    inputs = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), ["n", *a.shape[1:]]) for n, a in feeds.items()
    ]
    results = [helper.make_tensor_value_info(n, dtype, None) for n, dtype in zip(names, outputs, strict=True)]
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", version)]
    return helper.make_model(helper.make_graph([node], "ml", inputs, results), opset_imports=imports, ir_version=8)


def _agrees(operator: str, feeds: dict[str, np.ndarray], outputs: list[int], **attributes: Any) -> None:
    model = _model(operator, feeds, outputs, **attributes)
    nodes.assert_agree(nodes.tensorflow(model, feeds), nodes.onnx_runtime(model, feeds))


def test_array_feature_extractor() -> None:
    _agrees("ArrayFeatureExtractor", {"x": floats(3, 4), "i": np.array([[2, 0]])}, [TensorProto.FLOAT])


def test_binarizer_and_scaler() -> None:
    _agrees("Binarizer", {"x": floats(3, 4)}, [TensorProto.FLOAT], threshold=0.3)
    _agrees("Scaler", {"x": floats(3, 2)}, [TensorProto.FLOAT], offset=[0.5, -1.0], scale=[2.0, 3.0])
    _agrees("Scaler", {"x": ints(1, 2, 3, 4).reshape(2, 2)}, [TensorProto.FLOAT], offset=[0.5], scale=[2.0])


@pytest.mark.parametrize("norm", ["MAX", "L1", "L2"])
def test_normalizer(norm: str) -> None:
    x = np.concatenate([floats(3, 4), np.zeros((1, 4), np.float32), -np.abs(floats(1, 4))])
    _agrees("Normalizer", {"x": x}, [TensorProto.FLOAT], norm=norm)


def test_imputer() -> None:
    x = np.array([[1, np.nan], [np.nan, 4]], np.float32)
    _agrees("Imputer", {"x": x}, [TensorProto.FLOAT], imputed_value_floats=[7.0, 8.0], replaced_value_float=float("nan"))
    attributes = {"imputed_value_int64s": [9], "replaced_value_int64": 2}
    _agrees("Imputer", {"x": ints(1, 2, 2, 4).reshape(2, 2)}, [TensorProto.INT64], **attributes)


def test_feature_vectorizer() -> None:
    _agrees("FeatureVectorizer", {"a": floats(3, 2), "b": floats(3, 1)}, [TensorProto.FLOAT], inputdimensions=[2, 1])


def test_label_encoder() -> None:
    feeds, keys = {"x": ints(1, 5, 9).reshape(3, 1)}, [5, 1]
    _agrees("LabelEncoder", feeds, [TensorProto.FLOAT], keys_int64s=keys, values_floats=[0.5, 0.1], default_float=-2.0)
    _agrees("LabelEncoder", feeds, [TensorProto.INT64], keys_int64s=keys, values_int64s=[50, 10])


@pytest.mark.parametrize("version", [2, 4])
def test_nan_is_a_label_since_version_4(version: int) -> None:
    feeds = {"x": np.array([[1.5], [np.nan], [3]], np.float32)}
    attributes = {"keys_floats": [1.5, float("nan")], "values_int64s": [4, 6], "version": version}
    _agrees("LabelEncoder", feeds, [TensorProto.INT64], **attributes)


def test_label_encoder_of_tensors() -> None:
    keys = helper.make_tensor("k", TensorProto.INT64, [2], [5, 1])
    values = helper.make_tensor("v", TensorProto.FLOAT, [2], [0.5, 0.1])
    default = helper.make_tensor("d", TensorProto.FLOAT, [1], [9.0])
    attributes = {"keys_tensor": keys, "values_tensor": values, "default_tensor": default, "version": 4}
    _agrees("LabelEncoder", {"x": ints(1, 5, 9).reshape(3, 1)}, [TensorProto.FLOAT], **attributes)


def test_one_hot_encoder() -> None:
    _agrees("OneHotEncoder", {"x": ints(1, 5, 9)}, [TensorProto.FLOAT], cats_int64s=[5, 9, 2])


@pytest.mark.parametrize("transform", ["NONE", "LOGISTIC", "SOFTMAX"])
def test_linear_models(transform: str) -> None:
    attributes = {"coefficients": floats(9, seed=3).tolist(), "intercepts": [0.1, -0.2, 0.3], "post_transform": transform}
    _agrees("LinearRegressor", {"x": floats(5, 3)}, [TensorProto.FLOAT], targets=3, **attributes)
    _agrees("LinearClassifier", {"x": floats(5, 3)}, _SCORED, classlabels_ints=[4, 7, 9], multi_class=1, **attributes)


@pytest.mark.parametrize("transform", ["NONE", "LOGISTIC", "SOFTMAX"])
def test_two_classes_from_one_row(transform: str) -> None:
    attributes = {"coefficients": floats(3, seed=3).tolist(), "intercepts": [0.1], "post_transform": transform}
    _agrees("LinearClassifier", {"x": floats(5, 3)}, _SCORED, classlabels_ints=[4, 7], **attributes)


def test_refusals() -> None:
    x = {"x": floats(2, 3)}
    assert "strings" in refusal(_model("LabelEncoder", x, [TensorProto.STRING], keys_floats=[1.0], values_strings=["a"]))
    probit = {"coefficients": [1.0] * 6, "targets": 2, "post_transform": "PROBIT"}
    assert refusal(_model("LinearRegressor", x, [TensorProto.FLOAT], **probit)) == "post_transform=PROBIT"
    one = {"coefficients": [1.0] * 3, "post_transform": "LOGISTIC"}
    assert "one target" in refusal(_model("LinearRegressor", x, [TensorProto.FLOAT], **one))
    strict = {"cats_int64s": [1], "zeros": 0}
    assert "zeros=0" in refusal(_model("OneHotEncoder", {"x": ints(1, 2)}, [TensorProto.FLOAT], **strict))
