"""Real samples for a model: arrays (`.npz`, `.npy`), folders of them, folders of images, and JSON as Hugging Face writes it.

What comes out are input sets, one per sample, with the signature's names, dtypes and shapes:

* An `.npz` has an array per input, an `.npy` the one input's. Where *every* array has one axis more than its input, that axis
  counts samples; where every input is for a batch of exactly one, so does the first axis of larger batches. Otherwise the file
  is one sample. A folder of such files is a sample per file.
* A folder of PNG or JPEG files is a sample per image (per batch, where the model's is fixed), for a model with one input.
* `{"input_ids": [[…]], "attention_mask": [[…]]}` is one sample; a list of such objects, or one per line, are several. The axis of
  the batch may be left out.

Files are not to be trusted: sizes are checked before they are used, nothing is unpickled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from convkit.errors import InputSpecError
from convkit.options import Normalisation
from convkit.samples import archives, images, json_samples
from convkit.samples.axes import split
from convkit.signature import Signature, TensorSpec
from convkit.validators.domains import Domain
from convkit.validators.inputs import Arrays, InputSet, matched

__all__ = ["MOST", "example", "load"]

MOST = 64
"""Samples that are looked at: each costs a run of both models."""
_ARRAYS = (".npz", ".npy")


def load(
    path: Path, signature: Signature, domains: Mapping[str, Domain], normalisation: Normalisation | None = None
) -> tuple[list[InputSet], list[str]]:
    """The samples at a path, and notes on what was assumed or left out.

    Args:
        path: A file or a folder; see the module.
        signature: What the model takes.
        domains: What values inputs take, as far as that is known: the pixels of an image, for one.
        normalisation: The user's own for images.

    Raises:
        InputSpecError: Something in them does not fit the model; the message names the file and the input.
    """
    found = list(_first(_samples(path, signature, domains, normalisation)))
    if not found:
        raise InputSpecError(f"there are no samples in {path}", hint="a folder holds .npz, .npy, .png or .jpg files")
    fitted = [InputSet(label, _matched(path, label, signature, arrays)) for label, arrays in found[:MOST]]
    # A lone file is "given", as every proof on the user's own inputs.
    sets = [InputSet("given", fitted[0].arrays)] if len(fitted) == 1 and path.is_file() else fitted
    notes = [f"the first {MOST} samples of {path} are compared"] if len(found) > MOST else []
    return sets, notes


def example(path: Path, specs: Sequence[TensorSpec], normalisation: Normalisation | None = None) -> Arrays:
    """One sample for a model that records no inputs: by the user's specifications, or as it is.

    Raises:
        InputSpecError: It is an image, and nothing says of which size the model takes them; or as for `load`.
    """
    file = path
    if path.is_dir():
        kept = sorted(p for p in path.iterdir() if p.suffix.lower() in (*_ARRAYS, *json_samples.SUFFIXES))
        file = kept[0] if kept else path
    suffix = file.suffix.lower()
    if suffix in json_samples.SUFFIXES and not specs:
        return json_samples.arrays_of(file)
    if not file.is_dir() and suffix not in (*images.SUFFIXES, *json_samples.SUFFIXES):
        arrays = archives.load(file)
        return split(Signature(tuple(specs), ()), arrays)[0] if specs else arrays
    if specs:
        return load(path, Signature(tuple(specs), ()), {}, normalisation)[0][0].arrays
    raise InputSpecError(
        f"the model records no inputs, so nothing says what {path} is to become",
        hint="say it: --input image:float32[1,3,224,224]",
    )


def _first(samples: Iterator[tuple[str, Arrays]]) -> Iterator[tuple[str, Arrays]]:
    """One more than are looked at, to know whether there are more."""
    for _, sample in zip(range(MOST + 1), samples, strict=False):
        yield sample


def _samples(
    path: Path, signature: Signature, domains: Mapping[str, Domain], normalisation: Normalisation | None
) -> Iterator[tuple[str, Arrays]]:
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
        if pictures := [p for p in files if p.suffix.lower() in images.SUFFIXES]:
            yield from images.samples(pictures, signature, domains, normalisation)
            return
        for file in files:
            if file.suffix.lower() in (*_ARRAYS, *json_samples.SUFFIXES):
                yield from _of_file(file, signature)
    elif path.suffix.lower() in images.SUFFIXES:
        yield from images.samples([path], signature, domains, normalisation)
    else:
        yield from _of_file(path, signature)


def _of_file(file: Path, signature: Signature) -> Iterator[tuple[str, Arrays]]:
    if file.suffix.lower() in json_samples.SUFFIXES:
        yield from json_samples.samples(file, signature)
        return
    parts = split(signature, archives.load(file))
    for index, arrays in enumerate(parts):
        yield (file.name if len(parts) == 1 else f"{file.name}, sample {index}"), arrays


def _matched(path: Path, label: str, signature: Signature, arrays: Arrays) -> Arrays:
    try:
        return matched(signature, arrays)
    except InputSpecError as error:
        raise InputSpecError(f"{path if path.is_file() else path / label}: {error.message}", hint=error.hint) from None
