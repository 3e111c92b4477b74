"""The edge of a LiteRT file: reading and rewriting the names, order and dynamic dimensions of its inputs and outputs.

A `.tflite` file says what its inputs are in four places: the index lists of subgraph 0, the names and shapes of those
tensors, and a SignatureDef that maps names to tensors. Converters fill them differently (TFLiteConverter lists
same-shaped inputs in an order of its own, litert-torch calls them `args_0`, onnx2tf writes no SignatureDef), runtimes
read whichever they like; `rename_edges` makes the four agree.

Source: the schema, https://github.com/google-ai-edge/LiteRT/blob/main/tflite/converter/schema/schema.fbs. There
`Buffer.offset` and `Operator.large_custom_options_offset`: data of files beyond 2 GB stands behind the flatbuffer, at a
position counted from the start of the file.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convkit.errors import ConversionError, UnreadableModelError
from convkit.signature import Signature, TensorSpec, dynamic_dim

__all__ = ["TensorOrder", "rename_edges", "tensor_order"]

_FILE_IDENTIFIER = b"TFL3"
# The schema's force_align of `Buffer.data`; kernels map constants in place and need it.
_DATA_ALIGNMENT = 16
_FLATBUFFER_LIMIT = 1 << 31
_MOST_GRAPH = 1 << 26


@dataclass(frozen=True)
class TensorOrder:
    """How a file orders the edge of subgraph 0; all four tuples are in the subgraph's order.

    Attributes:
        inputs: The tensor names of the inputs.
        outputs: The tensor names of the outputs.
        signature_inputs: The SignatureDef's names of the inputs; the tensor name where it has none.
        signature_outputs: The SignatureDef's names of the outputs; the tensor name where it has none.
        signature_key: The key of the SignatureDef of subgraph 0, None where there is none.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    signature_inputs: tuple[str, ...]
    signature_outputs: tuple[str, ...]
    signature_key: str | None


def tensor_order(path: Path) -> TensorOrder:
    """Reads in which order, and under which names, a file lists its inputs and outputs.

    Raises:
        UnreadableModelError: when the file is no LiteRT model.
    """
    return _order(_unpack(path, _read(path)))


def rename_edges(
    path: Path,
    signature: Signature,
    *,
    inputs: Sequence[int | str] | None = None,
    outputs: Sequence[int | str] | None = None,
    edit: Callable[[Any], None] | None = None,
) -> Signature:
    """Gives the model in `path` the names, order and dynamic dimensions of `signature`; rewrites the file in place.

    Args:
        path: A `.tflite` file that the caller owns.
        signature: What the edge shall be. Its dtypes are not applied: what the file computes in, it keeps.
        inputs: For each of `signature.inputs` the existing tensor: its position among the subgraph's inputs, its name
            in the SignatureDef or its tensor name. By default all are matched by name, or, when not all names are
            found, by position.
        outputs: The same for the outputs.
        edit: Changes the object tree (`ModelT`) first, so that the file is read and written once.

    Returns:
        The signature that the file now has (with the file's own dtypes), for comparison with the one wanted.

    Raises:
        ConversionError: when the number of tensors, a rank or a static size differs, or a name is not found.
        UnreadableModelError: when the file is no LiteRT model.
    """
    data = _read(path)
    model = _unpack(path, data)
    if edit is not None:
        edit(model)
    order = _order(model)
    graph = model.subgraphs[0]
    positions_in = _positions("input", signature.inputs, order.inputs, order.signature_inputs, inputs)
    positions_out = _positions("output", signature.outputs, order.outputs, order.signature_outputs, outputs)
    graph.inputs = [int(graph.inputs[p]) for p in positions_in]
    graph.outputs = [int(graph.outputs[p]) for p in positions_out]
    _set_tensors(graph, signature)
    _set_signature_def(model, signature)
    final = _signature(model)
    replacement = path.with_name(path.name + ".rewritten")
    with replacement.open("wb") as out:
        out.writelines(_pack(model, data))
    replacement.replace(path)
    return final


def _read(path: Path) -> bytes | mmap.mmap:
    """The bytes of a file; mapped, not copied, when its data exceeds what a flatbuffer can hold."""
    if path.stat().st_size < _FLATBUFFER_LIMIT:
        return path.read_bytes()
    with path.open("rb") as stream:
        return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)


def _unpack(path: Path, data: Any) -> Any:
    """The object tree (`ModelT`) of the flatbuffer at the start of `data`; its arrays are views into `data`."""
    from ai_edge_litert import schema_py_generated as schema

    if len(data) < 8 or bytes(data[4:8]) != _FILE_IDENTIFIER:
        raise UnreadableModelError(f"{path} is not a LiteRT model", hint="it lacks the identifier TFL3 at byte 4")
    try:
        model = schema.ModelT.InitFromPackedBuf(data, 0)
    except Exception as error:  # the generated code raises whatever a bad offset leads to
        raise UnreadableModelError(f"{path} is truncated or corrupt: {error}", hint="fetch or convert the file again") from error
    if not model.subgraphs:
        raise UnreadableModelError(f"{path} holds no subgraph", hint="convert the model again")
    return model


def _text(value: bytes | str | None) -> str:
    return value.decode() if isinstance(value, bytes) else value or ""


def _indices(values: Any) -> list[int]:
    return [] if values is None else [int(v) for v in values]


def _main_signature_def(model: Any) -> Any | None:
    return next((s for s in model.signatureDefs or () if s.subgraphIndex == 0), None)


def _order(model: Any) -> TensorOrder:
    graph = model.subgraphs[0]
    definition = _main_signature_def(model)

    def names(indices: Any, maps: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
        # A list per tensor, because one tensor may be two outputs.
        aliases: dict[int, list[str]] = {}
        for entry in maps or ():
            aliases.setdefault(entry.tensorIndex, []).append(_text(entry.name))
        own = tuple(_text(graph.tensors[i].name) for i in indices)
        named = tuple(aliases[i].pop(0) if aliases.get(i) else name for i, name in zip(indices, own, strict=True))
        return own, named

    inputs, signature_inputs = names(_indices(graph.inputs), definition and definition.inputs)
    outputs, signature_outputs = names(_indices(graph.outputs), definition and definition.outputs)
    key = None if definition is None else _text(definition.signatureKey)
    return TensorOrder(inputs, outputs, signature_inputs, signature_outputs, key)


def _signature(model: Any) -> Signature:
    graph, order = model.subgraphs[0], _order(model)

    def specs(indices: list[int], names: tuple[str, ...]) -> tuple[TensorSpec, ...]:
        return tuple(_spec(graph.tensors[i], name) for i, name in zip(indices, names, strict=True))

    return Signature(
        specs(_indices(graph.inputs), order.signature_inputs),
        specs(_indices(graph.outputs), order.signature_outputs),
        order.signature_key or "serving_default",
    )


def _spec(tensor: Any, name: str) -> TensorSpec:
    from ai_edge_litert import schema_py_generated as schema

    codes = {code: key.lower() for key, code in vars(schema.TensorType).items() if not key.startswith("_")}
    sizes = _indices(tensor.shapeSignature if tensor.shapeSignature is not None else tensor.shape)
    shape = tuple(size if size >= 0 else dynamic_dim(name, axis) for axis, size in enumerate(sizes))
    return TensorSpec(name, codes[tensor.type], shape)


def _positions(
    role: str,
    wanted: Sequence[TensorSpec],
    tensor_names: Sequence[str],
    aliases: Sequence[str],
    given: Sequence[int | str] | None,
) -> list[int]:
    """For each wanted tensor, its position among the existing ones."""
    if given is None and len(wanted) != len(tensor_names):
        raise ConversionError(
            f"the LiteRT file has {len(tensor_names)} {role}s ({', '.join(tensor_names)}), "
            f"the signature {len(wanted)} ({', '.join(t.name for t in wanted)})",
            hint=f"the converter dropped or added {role}s; an unused input is the usual cause",
        )
    known = {name: position for position, name in enumerate(tensor_names)}
    known |= {name: position for position, name in enumerate(aliases)}
    if given is None:
        names = [t.name for t in wanted]
        given = names if all(name in known for name in names) else range(len(wanted))
    positions = []
    for reference in given:
        position = reference if isinstance(reference, int) else known.get(reference)
        if position is None or not 0 <= position < len(tensor_names):
            raise ConversionError(f"the LiteRT file has no {role} {reference!r}", hint=f"its {role}s are {', '.join(known)}")
        positions.append(position)
    return positions


def _set_tensors(graph: Any, signature: Signature) -> None:
    """Names the edge tensors and states which of their dimensions are dynamic."""
    edges = list(zip(graph.inputs, signature.inputs, strict=True)) + list(zip(graph.outputs, signature.outputs, strict=True))
    renamed: dict[int, str] = {}
    for index, spec in edges:
        # A tensor with two roles (an input that is returned) keeps its first name; the SignatureDef has both.
        renamed.setdefault(index, spec.name)
        _set_shape(graph.tensors[index], spec)
    taken = set(renamed.values())
    for index, tensor in enumerate(graph.tensors):
        if index in renamed:
            tensor.name = renamed[index]
        elif _text(tensor.name) in taken:
            tensor.name = f"{_text(tensor.name)}_inner{index}"


def _set_shape(tensor: Any, spec: TensorSpec) -> None:
    import numpy as np

    if spec.shape is None:
        return
    had = _indices(tensor.shape)
    static = _indices(tensor.shapeSignature) or had
    fits = len(had) == len(spec.shape) and all(
        isinstance(want, str) or have < 0 or have == want for want, have in zip(spec.shape, static, strict=True)
    )
    if not fits:
        raise ConversionError(
            f"'{spec.name}' has shape {static} in the LiteRT file, the signature wants {spec}",
            hint="the converter changed the layout or the rank; the outputs cannot be compared as they are",
        )
    sizes = [(size if size > 0 else 1) if isinstance(d, str) else d for d, size in zip(spec.shape, had, strict=True)]
    tensor.shape = np.array(sizes, np.int32)
    # Without it an empty shape means "unknown rank".
    tensor.hasRank = True
    dynamic = any(isinstance(d, str) for d in spec.shape)
    tensor.shapeSignature = np.array([-1 if isinstance(d, str) else d for d in spec.shape], np.int32) if dynamic else None


def _set_signature_def(model: Any, signature: Signature) -> None:
    from ai_edge_litert import schema_py_generated as schema

    graph = model.subgraphs[0]
    definition = _main_signature_def(model)
    if definition is None:
        definition = schema.SignatureDefT()
        model.signatureDefs = [definition, *(model.signatureDefs or ())]
    definition.signatureKey = signature.name
    definition.subgraphIndex = 0
    definition.inputs = [schema.TensorMapT(spec.name, index) for index, spec in zip(graph.inputs, signature.inputs, strict=True)]
    definition.outputs = [
        schema.TensorMapT(spec.name, index) for index, spec in zip(graph.outputs, signature.outputs, strict=True)
    ]


@dataclass
class _AlignedBuffer:
    """Stands in for the schema's `BufferT` when packing: the generated code does not honour `force_align`.

    Its data may be an object with a length that gives the bytes when it is called, so that weights are read one at a time.
    """

    data: Any
    offset: int
    size: int

    def Pack(self, builder: Any) -> int:  # noqa: N802 (the generated code's spelling)
        from ai_edge_litert import schema_py_generated as schema

        vector = None
        if self.data is not None and len(self.data):
            content = memoryview(self.data() if callable(self.data) else self.data).cast("B")
            builder.StartVector(1, len(content), _DATA_ALIGNMENT)
            builder.head -= len(content)
            builder.Bytes[builder.head : builder.head + len(content)] = content
            vector = builder.EndVector()
        schema.BufferStart(builder)
        if vector is not None:
            schema.BufferAddData(builder, vector)
        schema.BufferAddOffset(builder, self.offset)
        schema.BufferAddSize(builder, self.size)
        return int(schema.BufferEnd(builder))


def _pack(model: Any, data: bytes | mmap.mmap) -> Iterator[bytes | memoryview]:
    """The bytes of the file in pieces: the flatbuffer, then the data that stands outside it, each part aligned."""
    model.buffers = [_AlignedBuffer(b.data, b.offset, b.size) for b in model.buffers or ()]
    operators = [o for graph in model.subgraphs for o in graph.operators or () if o.largeCustomOptionsOffset > 1]
    buffers = [b for b in model.buffers if b.offset > 1]
    # The graph itself is no larger than the file was; large files are large by their weights.
    room = min(len(data), _MOST_GRAPH)
    flat = _serialise(model, room)
    if not operators and not buffers:
        yield flat
        return
    # Offsets have a fixed width: the second packing has the length of the first.
    moved: dict[tuple[int, int], int] = {}
    end = len(flat)
    for source in [(b.offset, b.size) for b in buffers] + [
        (o.largeCustomOptionsOffset, o.largeCustomOptionsSize) for o in operators
    ]:
        if source not in moved:
            moved[source] = -(-end // _DATA_ALIGNMENT) * _DATA_ALIGNMENT
            end = moved[source] + source[1]
    for buffer in buffers:
        buffer.offset = moved[buffer.offset, buffer.size]
    for operator in operators:
        operator.largeCustomOptionsOffset = moved[operator.largeCustomOptionsOffset, operator.largeCustomOptionsSize]
    yield _serialise(model, room)
    written = len(flat)
    for (offset, size), target in moved.items():
        yield bytes(target - written)
        yield memoryview(data)[offset : offset + size]
        written = target + size


def _serialise(model: Any, room: int) -> memoryview:
    import flatbuffers

    # Large enough from the start: growing copies everything.
    held = sum(len(b.data) + 64 for b in model.buffers if b.data is not None)
    builder = flatbuffers.Builder(held + room + (1 << 16))
    builder.Finish(model.Pack(builder), file_identifier=_FILE_IDENTIFIER)
    # `Output()` would copy it all.
    return memoryview(builder.Bytes)[builder.Head() :]
