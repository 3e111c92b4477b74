"""TF.js graph model → SavedModel: the topology as a TensorFlow graph, its weights as constants.

See `convkit.loading.tfjs_graph` for what stands between the two. Everything computes in TF.js's dtypes; an input or output that
the file declares otherwise (uint8 images, int64 indices) is cast at the edge.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from convkit.components import ConversionOutcome, ConversionRequest, Converter, Host
from convkit.converters._checked import Checked, Made, refused
from convkit.errors import ConversionError
from convkit.formats import Variant
from convkit.legalization.target import Finding, Verdict
from convkit.signature import Signature

__all__ = ["CONVERTER", "check", "convert"]

CONVERTER = Converter(
    name="tfjs-tensorflow",
    sources=(Variant.TFJS_GRAPH,),
    target=Variant.SAVEDMODEL,
    host=Host(group="tensorflow", preload=("tensorflow",), packages=("tensorflow",)),
    cost=0.3,
    reason="TF.js's graphs are TensorFlow's: operators are taken over, not translated",
    is_importer=True,
)

_GRAPH_LIMIT = 1_900_000_000
"""Bytes of weights that a graph holds as constants: a protobuf message ends at 2 GB, and the nodes need some of it."""


def check(request: ConversionRequest) -> list[Finding]:
    """The verdict on every operator of the model."""
    return _checked.check(request)


def convert(request: ConversionRequest) -> ConversionOutcome:
    """Writes `request.output`, a SavedModel directory whose `serving_default` has the model's signature.

    Raises:
        ConversionError: An operator has no counterpart in TensorFlow, or TensorFlow rejects the graph.
        UnreadableModelError: The topology or the weights are damaged.
    """
    return _checked.convert(request)


def _make(request: ConversionRequest, output: Path) -> Made:
    from convkit.loading import tfjs_operators
    from convkit.loading.savedmodel_writer import write_saved_model
    from convkit.readers import inspect

    path = request.source.path
    info = inspect(path)
    findings = tfjs_operators.findings(info.operators)
    gaps = [f for f in findings if f.verdict is Verdict.GAP]
    if gaps:
        return refused(findings, (), CONVERTER.name)
    signature = request.signature or info.signature
    assert signature is not None, "the reader finds edges in every graph"
    try:
        write_saved_model(output, signature, _call(path, signature))
    except ConversionError as error:
        shutil.rmtree(output, ignore_errors=True)
        gap = Finding("TensorFlow", 1, Verdict.GAP, error.message, code="CK111")
        return refused(findings, [gap], CONVERTER.name, error)
    except BaseException:
        shutil.rmtree(output, ignore_errors=True)
        raise
    return Made(findings)


def _call(path: Path, signature: Signature) -> Callable[[Sequence[Any]], list[Any]]:
    """The model as a function of tensors in the order of `signature`."""
    import tensorflow as tf

    from convkit.loading.tfjs_graph import import_topology
    from convkit.loading.tfjs_weights import read_weights
    from convkit.readers.damage import PARSER_ERRORS, damaged
    from convkit.readers.tfjs import load_model
    from convkit.readers.tfjs_signature import graph_edges

    try:
        file, model = load_model(path)
        weights = read_weights(file, model)
        edges = graph_edges(model)
        if sum(array.nbytes for array in weights.values()) > _GRAPH_LIMIT:
            raise ConversionError("the model has more than 2 GB of weights", component=CONVERTER.name)
        imported = import_topology(model["modelTopology"], weights)
        tensors = {e.spec.name: imported.tensor(e.tensor) for e in (*edges.inputs, *edges.outputs)}
        places = [imported.tensor(e.tensor) for e in edges.inputs]
    except PARSER_ERRORS as error:
        raise damaged(path, Variant.TFJS_GRAPH.title, error) from error
    fetched = [tensors[name] for name in signature.output_names]
    fed = [tensors[name] for name in signature.input_names]
    assert sorted(fed) == sorted(places)

    def call(given: Sequence[Any]) -> list[Any]:
        dtypes = imported.dtypes(fed)
        feeds = {place: tf.cast(x, dtype) for place, dtype, x in zip(fed, dtypes, given, strict=True)}
        results = imported.trace(feeds, fetched)
        return [tf.cast(result, spec.dtype) for result, spec in zip(results, signature.outputs, strict=True)]

    return call


_checked = Checked(_make)
