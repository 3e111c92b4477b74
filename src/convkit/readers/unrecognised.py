"""What a file looks like that no reader takes, and what its owner can do about it."""

from __future__ import annotations

import zipfile
from pathlib import Path

from convkit.errors import UnreadableModelError

__all__ = ["explain"]

_READABLE = (
    "convkit reads PyTorch (.pt2, .pt, .pth, .safetensors), ONNX, SavedModel (directory, .keras, .h5), LiteRT (.tflite), "
    "ExecuTorch (.pte) and TF.js (model.json)"
)

# Magic number, what it is, what to do.
_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (
        b"version https://git-lfs.github.com/spec",
        "a git-LFS pointer, not the model itself",
        "fetch the model with `git lfs pull`",
    ),
    (b"\x89PNG\r\n\x1a\n", "a PNG image", _READABLE),
    (b"\xff\xd8\xff", "a JPEG image", _READABLE),
    (b"%PDF-", "a PDF document", _READABLE),
    (b"\x7fELF", "a native library or program", _READABLE),
    (b"MZ", "a Windows program or library", _READABLE),
    (b"\x93NUMPY", "a NumPy array, not a model", "pass arrays with --inputs, and the model as the source"),
    (b"GGUF", "a GGUF model, which convkit does not read", "convert the model that it was made from"),
    (b"\x1f\x8b", "a gzip archive", "unpack it, and pass the model that is inside"),
    (b"BZh", "a bzip2 archive", "unpack it, and pass the model that is inside"),
    (b"\xfd7zXZ\x00", "an xz archive", "unpack it, and pass the model that is inside"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it, and pass the model that is inside"),
    (b"(\xb5/\xfd", "a Zstandard archive", "unpack it, and pass the model that is inside"),
)


def explain(path: Path, head: bytes) -> UnreadableModelError:
    """The error for a file or directory that no reader takes; `head` is the first bytes of a file."""
    looks, hint = _explain_directory(path) if path.is_dir() else _explain_file(path, head)
    return UnreadableModelError(f"{path} is {looks}", hint=hint)


def _explain_directory(path: Path) -> tuple[str, str]:
    models = sorted(p.name for p in path.iterdir() if p.suffix in {".onnx", ".pt2", ".pt", ".keras", ".tflite", ".pte"})
    inner = sorted(p.parent.name for p in path.glob("*/saved_model.pb"))
    if inner:
        return f"a directory without saved_model.pb (it has one in {inner[0]})", f"pass {path / inner[0]}"
    if models:
        return "a directory, not a model", f"pass the file itself, for example {path / models[0]}"
    return "a directory without saved_model.pb or model.json", _READABLE


def _explain_file(path: Path, head: bytes) -> tuple[str, str]:
    if not head:
        return "an empty file", "download or save the model again"
    for magic, looks, hint in _MAGIC:
        if head.startswith(magic):
            return looks, hint
    if head[257:262] == b"ustar":
        return "a tar archive", "unpack it, and pass the model that is inside"
    if head[4:8] == b"BP08":
        return (
            "an ExecuTorch bundled program, which wraps a program with test inputs",
            "pass the plain .pte program that it was made from",
        )
    if head.startswith(b"PK"):
        return _explain_zip(path)
    if not head.strip(b"\0"):
        return "a file of zero bytes, as an interrupted download leaves", "download it again"
    return _explain_text(head) or ("no model that convkit knows (unknown binary data)", _READABLE)


def _explain_zip(path: Path) -> tuple[str, str]:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    held = next((n for n in names if n.endswith(("saved_model.pb", "model.json", ".onnx", ".tflite"))), None)
    if held:
        return f"a zip archive around a model ({held})", "unpack it, and pass the model that is inside"
    if names and all(n.endswith(".npy") for n in names):
        return "a NumPy .npz archive, not a model", "pass arrays with --inputs, and the model as the source"
    some = ", ".join(names[:3]) or "nothing"
    return f"a zip archive that holds no model ({some})", _READABLE


def _explain_text(head: bytes) -> tuple[str, str] | None:
    text = head.decode("utf-8", errors="replace").lstrip("\ufeff \t\r\n").lower()
    if text.startswith(("<!doctype html", "<html", "<head", "<?xml")):
        return (
            "an HTML or XML page, probably an error page saved in place of the model",
            "check the address and the login, and download it again",
        )
    printable = sum(character.isprintable() or character in "\t\r\n" for character in text)
    if text.count("\ufffd") > 1 or printable < 0.97 * len(text):
        return None
    if text.startswith(("{", "[")):
        return "a JSON file without a TF.js model in it", _READABLE
    if "import " in text and ("def " in text or "class " in text):
        return "Python source", "to convert a module that code builds, pass --factory FILE.py:FUNCTION"
    return "a text file", _READABLE
