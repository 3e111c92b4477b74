"""Archives of arrays that anybody may have written."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from convkit.errors import InputSpecError
from convkit.samples import archives


def npy(array, **keywords):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, **keywords)
    return stream.getvalue()


def lying(shape, payload=b"\0" * 64):
    """An array whose header claims a shape that its bytes do not have."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return stream.getvalue() + payload


def test_what_is_right_is_read(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.ones((2, 3)), empty=np.zeros((0, 4)), scalar=np.float32(3))
    assert {n: a.shape for n, a in archives.load(tmp_path / "a.npz").items()} == {"x": (2, 3), "empty": (0, 4), "scalar": ()}
    np.savez_compressed(tmp_path / "b.npz", x=np.zeros((1000, 1000)))
    assert archives.load(tmp_path / "b.npz")["x"].shape == (1000, 1000)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no arrays",
        npy(np.ones(3))[:40],
        npy(np.ones(3))[:-4],
        lying((1 << 40,)),
        lying((1 << 40, 1 << 40)),
        lying((-5,)),
        npy(np.array([{}], object), allow_pickle=True),
    ],
)
def test_damage_and_lies_in_an_npy_are_told(content, tmp_path):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(InputSpecError, match=r"a\.npy"):
        archives.load(tmp_path / "a.npy")


@pytest.mark.parametrize("content", [lying((1 << 40,)), npy(np.array([{}], object), allow_pickle=True), b"junk"])
def test_damage_and_lies_in_an_npz_name_the_array(content, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", content)
    with pytest.raises(InputSpecError, match=r"a\.npz"):
        archives.load(tmp_path / "a.npz")


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_MOST_BYTES", 64 << 20)
    with (
        zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("x.npy", "w", force_zip64=True) as x,
    ):
        np.lib.format.write_array_header_1_0(x, {"descr": "<f4", "fortran_order": False, "shape": (20 << 20,)})
        block = b"\0" * (16 << 20)
        for _ in range(5):
            x.write(block)
    assert (tmp_path / "a.npz").stat().st_size < 1 << 20
    with pytest.raises(InputSpecError, match="unpacks to"):
        archives.load(tmp_path / "a.npz")


def test_a_truncated_zip_and_a_missing_file_are_told(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.ones(1000))
    content = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputSpecError, match=r"a\.npz"):
        archives.load(tmp_path / "a.npz")
    with pytest.raises(InputSpecError, match="there is no file"):
        archives.load(tmp_path / "b.npz")
