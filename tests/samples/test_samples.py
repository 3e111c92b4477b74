"""Real samples of every kind become input sets; what does not fit names its file and input."""

from __future__ import annotations

import json

import numpy as np
import pytest

from convkit.arrays import save_arrays
from convkit.errors import InputSpecError
from convkit.samples import MOST, example, load
from convkit.signature import Signature, TensorSpec

ONE = Signature((TensorSpec("x", "float32", (1, 3)),), ())
BATCHES = Signature((TensorSpec("x", "float32", ("n", 3)), TensorSpec("ids", "int64", ("n", 2))), ())
TOKENS = Signature((TensorSpec("input_ids", "int64", ("n", "t")), TensorSpec("attention_mask", "int64", ("n", "t"))), ())


def sets(path, signature, domains=None):
    return load(path, signature, domains or {})[0]


def npz(path, **arrays):
    save_arrays(path, arrays)
    return path


def floats(*shape):
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def test_an_npz_is_one_sample_and_an_npy_the_one_input(tmp_path):
    (found,) = sets(npz(tmp_path / "a.npz", ids=np.ones((4, 2), np.int32), x=floats(4, 3)), BATCHES)
    assert found.recipe == "given" and list(found.arrays) == ["x", "ids"] and found.arrays["ids"].dtype == np.int64
    np.save(tmp_path / "a.npy", floats(1, 3))
    assert sets(tmp_path / "a.npy", ONE)[0].arrays["x"].shape == (1, 3)


def test_an_axis_more_in_every_array_counts_samples(tmp_path):
    found = sets(npz(tmp_path / "a.npz", x=floats(5, 2, 3), ids=np.ones((5, 2, 2), np.int64)), BATCHES)
    assert [f.recipe for f in found] == [f"a.npz, sample {i}" for i in range(5)]
    np.testing.assert_array_equal(found[3].arrays["x"], floats(5, 2, 3)[3])


def test_more_than_a_batch_of_exactly_one_are_samples(tmp_path):
    found = sets(npz(tmp_path / "a.npz", x=floats(5, 3)), ONE)
    assert len(found) == 5 and found[4].arrays["x"].tolist() == [[12, 13, 14]]


@pytest.mark.parametrize(
    "arrays",
    [
        {"x": floats(5, 2, 3), "ids": np.ones((2, 2), np.int64)},  # in one only
        {"x": floats(5, 2, 3), "ids": np.ones((4, 2, 2), np.int64)},  # of two lengths
        {"x": floats(5, 2, 4), "ids": np.ones((5, 2, 2), np.int64)},
        {"x": floats(0, 2, 3), "ids": np.ones((0, 2, 2), np.int64)},
        {"x": floats(2, 3)},
    ],
)
def test_where_something_else_could_be_meant_it_is_refused(arrays, tmp_path):
    with pytest.raises(InputSpecError, match=r"a\.npz"):
        sets(npz(tmp_path / "a.npz", **arrays), BATCHES)


def test_a_folder_of_files_is_a_sample_each(tmp_path):
    for name in "ba":
        npz(tmp_path / f"{name}.npz", x=floats(1, 3))
    np.save(tmp_path / "c.npy", floats(1, 3))
    (tmp_path / "notes.txt").write_text("not a sample")
    assert [f.recipe for f in sets(tmp_path, ONE)] == ["a.npz", "b.npz", "c.npy"]
    npz(tmp_path / "d.npz", x=floats(1, 4))
    with pytest.raises(InputSpecError, match=r"d\.npz: the array for x"):
        sets(tmp_path, ONE)


def test_an_empty_folder_is_told(tmp_path):
    with pytest.raises(InputSpecError, match="no samples"):
        sets(tmp_path, ONE)


def test_only_so_many_samples_are_looked_at_and_that_is_told(tmp_path):
    found, notes = load(npz(tmp_path / "a.npz", x=floats(MOST + 1, 3)), ONE, {})
    assert len(found) == MOST and f"the first {MOST} samples" in notes[0]


def test_json_as_tokenizers_write_it(tmp_path):
    sample = {"input_ids": [[1, 2, 3]], "attention_mask": [[1, 1, 0]], "labels": [4]}
    (tmp_path / "a.json").write_text(json.dumps(sample))
    (found,) = sets(tmp_path / "a.json", TOKENS)
    assert found.recipe == "given" and found.arrays["input_ids"].tolist() == [[1, 2, 3]]
    assert found.arrays["attention_mask"].dtype == np.int64 and set(found.arrays) == set(TOKENS.input_names)


def test_lines_and_lists_are_samples_and_the_batch_may_be_left_out(tmp_path):
    rows = [{"input_ids": list(range(n)), "attention_mask": [1] * n} for n in (3, 5)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    (tmp_path / "b.json").write_text(json.dumps(rows))
    for name in ("a.jsonl", "b.json"):
        assert [f.arrays["input_ids"].shape for f in sets(tmp_path / name, TOKENS)] == [(1, 3), (1, 5)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"input_ids": [[1, 2], [3]], "attention_mask": [[1]]}', "'input_ids' is no array"),
        ('{"input_ids": [["a"]], "attention_mask": [[1]]}', "'input_ids' is no array of numbers"),
        ('{"input_ids": [[1.5]], "attention_mask": [[1]]}', "'input_ids' has values that no int64 holds"),
        ('{"input_ids": [[NaN]], "attention_mask": [[1]]}', "'input_ids' has values that no int64 holds"),
        ('{"input_ids": [[1e30]], "attention_mask": [[1]]}', "'input_ids' has values that no int64 holds"),
        ('{"input_ids": [[99999999999999999999]], "attention_mask": [[1]]}', "'input_ids'"),
        ('{"input_ids": [[1]]}', "sample 0 has no 'attention_mask'"),
        ('{"input_ids": null, "attention_mask": [[1]]}', "'input_ids' is no array of numbers"),
        ('{"input_ids": [], "attention_mask": [[1]]}', "'input_ids' is no array of numbers"),
        ("[]", "does not hold an object"),
        ("[[1]]", "does not hold an object"),
        ("3", "does not hold an object"),
        ('{"input_ids": [[1', "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("\x00\xff", "is no JSON"),
        ('{"input_ids": [[[1]]], "attention_mask": [[1]]}', "the array for input_ids"),
    ],
)
def test_bad_json_is_told(text, told, tmp_path):
    (tmp_path / "a.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputSpecError, match=r"a\.json") as caught:
        sets(tmp_path / "a.json", TOKENS)
    assert told in caught.value.message and caught.value.hint


def test_an_example_for_a_model_that_records_no_inputs(tmp_path):
    (tmp_path / "a.json").write_text('{"x": [[0.5, 1.0]], "ids": [[1]]}')
    assert {n: str(a.dtype) for n, a in example(tmp_path / "a.json", ()).items()} == {"x": "float32", "ids": "int64"}
    npz(tmp_path / "b.npz", x=floats(5, 3))
    assert example(tmp_path / "b.npz", ())["x"].shape == (5, 3)
    assert example(tmp_path / "b.npz", ONE.inputs)["x"].shape == (1, 3)
    (tmp_path / "photos").mkdir()
    with pytest.raises(InputSpecError, match="records no inputs"):
        example(tmp_path / "photos", ())
