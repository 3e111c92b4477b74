"""SavedModel → ONNX with tf2onnx.

Around tf2onnx stand: the signature's function wrapped so that inputs and outputs are in the signature's order, a handler
for `Erfc`, a check of the result for operators that were left unconverted, and the edge's names and symbols.
"""

from __future__ import annotations

from typing import Any

from convkit.components import ConversionOutcome, ConversionRequest, Converter, Host
from convkit.converters._checked import tried
from convkit.converters._tf2onnx import ADDED_OPERATORS, OPSET, external_storage, opset_of, to_onnx, write
from convkit.errors import ConversionError
from convkit.formats import Variant
from convkit.legalization.codes import Reason
from convkit.legalization.target import Finding, Target, Verdict, check_operators
from convkit.signature import Signature

__all__ = ["CONVERTER", "check", "convert"]

CONVERTER = Converter(
    name="tf2onnx",
    sources=(Variant.SAVEDMODEL,),
    target=Variant.ONNX,
    host=Host(group="tensorflow", preload=("tensorflow", "tf2onnx.tfonnx"), packages=("tf2onnx", "tensorflow")),
    cost=1.0,
    reason="the TensorFlow project's own converter",
    options=(OPSET,),
)

_STATE = Reason("it keeps a value for the next run, and an ONNX model has no variables", "CK109")
_STATE_HINT = "make the state an input and an output of the model"

# Weights beyond this go to external data: a protobuf message ends at 2 GB, and the graph needs some of it.
_EXTERNAL_FROM = 1_900_000_000


def check(request: ConversionRequest) -> list[Finding]:
    """The verdict on every operator of the model: what tf2onnx fails on, only a trial tells."""
    return _checked.check(request)


def convert(request: ConversionRequest) -> ConversionOutcome:
    """Converts one signature of a SavedModel.

    Raises:
        ConversionError: listing the operators that tf2onnx cannot convert.
        UnreadableModelError: when TensorFlow cannot load the SavedModel.
    """
    return _checked.convert(request)


def _write(request: ConversionRequest) -> ConversionOutcome:
    from tf2onnx import tf_loader

    from convkit.loading import tensorflow as loading

    signature, edge = _edge(request)
    for operator, names in loading.assignments(edge).items():
        raise ConversionError(f"{operator} '{names[0]}': {_STATE}", component=CONVERTER.name, hint=_STATE_HINT)
    inputs = [tensor.name for tensor in edge.inputs[: len(signature.inputs)]]
    outputs = [tensor.name for tensor in edge.outputs]
    storage = external_storage(sum(v.dtype.size * v.shape.num_elements() for v in edge.variables) > _EXTERNAL_FROM)
    frozen, tables = tf_loader.from_trackable(
        loading.saved_model(request.source.path), edge, inputs, outputs, storage is not None
    )
    process = {
        "opset": opset_of(request.options),
        "input_names": inputs,
        "output_names": outputs,
        "initialized_tables": tables,
    }
    model = to_onnx(process, CONVERTER.name, frozen, storage)
    write(model, request.output, signature, inputs=inputs, outputs=outputs, storage=storage)
    return ConversionOutcome()


def _survey(request: ConversionRequest) -> list[Finding]:
    """Which operators tf2onnx has no handler for, told without loading the SavedModel, and which ones change variables."""
    from convkit.loading.tensorflow import assignments
    from convkit.readers import inspect

    operators = inspect(request.source.path).operators
    found = check_operators(operators, target(opset_of(request.options)))
    if not any(name.startswith("Assign") for name in operators):
        return found
    # What restores variables assigns them too, so that only the signature's own function tells.
    changing = assignments(_edge(request)[1])
    gaps = [Finding(n, len(places), Verdict.GAP, _STATE, tuple(places), _STATE_HINT) for n, places in changing.items()]
    return gaps + [finding for finding in found if finding.operator not in changing]


def _edge(request: ConversionRequest) -> tuple[Signature, Any]:
    """The signature, and a function of this conversion's own: freezing empties a function's captures, which others share."""
    from convkit.legalization.tensorflow_signs import with_compared_signs
    from convkit.loading import tensorflow as loading

    signature = request.signature or loading.signature_of_function(
        loading.signature_function(request.source.path, request.source.signature)
    )
    return signature, with_compared_signs(loading.edge_function(request.source.path, signature))


def target(opset: int) -> Target:
    """The TensorFlow operators that tf2onnx converts at an operator set."""
    import tf2onnx
    import tf2onnx.tfonnx  # registers the handlers
    from tf2onnx.handler import tf_op

    handled = tf_op.create_mapping(opset, [])
    return Target("tf2onnx", tf2onnx.__version__, frozenset(handled) | ADDED_OPERATORS | _NEVER_CONVERTED)


# Operators that freezing, inlining and folding remove, and functional control flow, which a rewriter converts.
_NEVER_CONVERTED = frozenset(
    [
        "Assert",
        "AssignAddVariableOp",
        "AssignSubVariableOp",
        "AssignVariableOp",
        "Assign",
        "AssignAdd",
        "AssignSub",
        "Case",
        "CheckNumerics",
        "ConsumeMutexLock",
        "ControlTrigger",
        "Const",
        "DisableCopyOnRead",
        "EnsureShape",
        "Enter",
        "Exit",
        "HashTable",
        "HashTableV2",
        "If",
        "InfeedDequeue",
        "IsVariableInitialized",
        "InitializeTableFromTextFileV2",
        "InitializeTableV2",
        "Identity",
        "IdentityN",
        "LegacyCall",
        "LookupTableExportV2",
        "LookupTableFindV2",
        "LookupTableImportV2",
        "LookupTableSizeV2",
        "LoopCond",
        "Merge",
        "MergeV2Checkpoints",
        "MutableHashTableV2",
        "NextIteration",
        "NoOp",
        "OptionalFromValue",
        "Pack",
        "PartitionedCall",
        "Placeholder",
        "PlaceholderV2",
        "PlaceholderWithDefault",
        "PreventGradient",
        "Print",
        "PrintV2",
        "RandomStandardNormal",
        "ReadVariableOp",
        "ResourceGather",
        "Restore",
        "RestoreV2",
        "Save",
        "SaveV2",
        "ShardedFilename",
        "Snapshot",
        "StatefulPartitionedCall",
        "StatelessIf",
        "StatelessCase",
        "StatelessWhile",
        "StaticRegexFullMatch",
        "StopGradient",
        "StringFormat",
        "StringJoin",
        "Switch",
        "SymbolicGradient",
        "TensorListElementShape",
        "TensorListFromTensor",
        "TensorListGetItem",
        "TensorListLength",
        "TensorListReserve",
        "TensorListResize",
        "TensorListSetItem",
        "TensorListStack",
        "TemporaryVariable",
        "Timestamp",
        "VarHandleOp",
        "VarIsInitializedOp",
        "Variable",
        "VariableShape",
        "VariableV2",
        "While",
        "_Arg",
        "_Retval",
    ]
)

_checked = tried(_write, _survey)
