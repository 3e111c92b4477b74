"""Keras: the `.keras` archive of Keras 3, and the HDF5 files of Keras 2 and 3.

The architecture is JSON in both (`config.json`, or the attribute `model_config`); weights are never read.
"""

from __future__ import annotations

from pathlib import Path

from convkit.artifact import ModelInfo
from convkit.formats import Variant
from convkit.readers.archive import is_zip, open_archive, read_json
from convkit.readers.damage import DamagedFileError
from convkit.readers.hdf5 import SIGNATURE, describe_file
from convkit.readers.keras_arithmetic import domain_metadata
from convkit.readers.keras_config import describe_config

__all__ = ["matches", "read"]

_CONFIG = "config.json"


def matches(path: Path, head: bytes) -> Variant | None:
    if head.startswith(SIGNATURE):
        return Variant.KERAS_H5
    if is_zip(head):
        with open_archive(path) as archive:
            names = set(archive.namelist())
        if _CONFIG in names and {"metadata.json", "model.weights.h5"} & names:
            return Variant.KERAS
    return None


def read(path: Path, variant: Variant) -> ModelInfo:
    return _read_archive(path) if variant is Variant.KERAS else _read_hdf5(path)


def _read_archive(path: Path) -> ModelInfo:
    with open_archive(path) as archive:
        config = read_json(archive, _CONFIG)
        names = archive.namelist()
        metadata = read_json(archive, "metadata.json") if "metadata.json" in names else {}
        if "model.weights.h5" not in names:
            raise DamagedFileError("it has no model.weights.h5")
        with archive.open("model.weights.h5") as weights:
            if not weights.read(len(SIGNATURE)) == SIGNATURE:
                raise DamagedFileError("its model.weights.h5 is no HDF5 file")
    kept = {key: str(metadata[key]) for key in ("keras_version", "date_saved") if key in metadata}
    described = describe_config(config)
    metadata = {"class": config.get("class_name"), **kept, **domain_metadata(config, described["signatures"])}
    return ModelInfo(Variant.KERAS, path, path.stat().st_size, metadata=metadata, **described)


def _read_hdf5(path: Path) -> ModelInfo:
    content = describe_file(path)
    metadata = {key: content[key] for key in ("keras_version", "backend") if content.get(key)}
    if content.get("config") is None:
        kind = "weights only" if content.get("weights") else "no Keras model"
        return ModelInfo(
            Variant.KERAS_H5,
            path,
            path.stat().st_size,
            parameters=content.get("parameters"),
            metadata=metadata | {"holds": kind},
            notes=(
                f"{kind}: the file holds no architecture and cannot be converted; build the model in Keras, load_weights, "
                "and save it as .keras",
            ),
        )
    config = content["config"]
    described = describe_config(config)
    return ModelInfo(
        Variant.KERAS_H5,
        path,
        path.stat().st_size,
        parameters=content.get("parameters"),
        metadata={"class": config.get("class_name"), **metadata, **domain_metadata(config, described["signatures"])},
        **described,
    )
