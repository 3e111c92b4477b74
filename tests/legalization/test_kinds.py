"""The kind of a refusal: told by the reason itself, or by its words; and nothing is claimed that the words do not say."""

from __future__ import annotations

import pytest

from convkit.legalization.codes import CODES, Reason
from convkit.legalization.kinds import kind_of
from convkit.legalization.target import Finding, Verdict


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("a shape or a parameter must be known before the model runs", "CK105"),
        ("the shape of the result depends on axes that are computed from data", "CK105"),
        ("the branches of a condition on data return different numbers of axes", "CK105"),
        ("a loop stacks a number of rows that only the data tell", "CK105"),
        ("a dynamic size is cropped or padded", "CK106"),
        ("coordinate_transformation_mode tf_crop_and_resize of a dynamic size", "CK106"),
        ("TensorFlow has no kernels for float8_e4m3fn", "CK102"),
        ("PyTorch has no dtype for FLOAT4E2M1", "CK102"),
        ("string tensors", "CK102"),
        ("mode=cubic", "CK103"),
        ("the PyTorch importer does not know the attribute foo", "CK103"),
        ("an input without spatial axes", "CK104"),
        ("7 slices of a tensor of rank 6", "CK104"),
        ("a variable's handle is used as a tensor", "CK109"),
        ("litert-torch has no lowering for it", ""),
        ("the PyTorch importer has no Mystery in opset 17", ""),
        ("it decomposes into aten.igamma.default: torch.onnx has no translation for it, and torch no decomposition", ""),
    ],
)
def test_the_words_tell_the_kind(reason: str, code: str) -> None:
    assert kind_of(reason) == code
    assert Finding("X", 1, Verdict.GAP, reason).code == (code or "CK101")
    assert not code or CODES[code].level == "error"


def test_what_knows_its_kind_is_not_guessed() -> None:
    assert Finding("X", 1, Verdict.GAP, Reason("a dynamic size", "CK107")).code == "CK107"
    assert Finding("X", 1, Verdict.GAP, "a dynamic size", code="CK111").code == "CK111"
    assert Finding("X", 1, Verdict.LEGAL, "a dynamic size").code == ""
