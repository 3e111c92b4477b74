"""The part of TensorFlow's SavedModel protos that a description needs, defined without TensorFlow.

Field numbers are those of tensorflow/core/protobuf/{saved_model,meta_graph}.proto, tensorflow/core/framework/{graph,
function,node_def,op_def,attr_value,tensor,tensor_shape}.proto.
"""

from __future__ import annotations

from typing import Any

from convkit.readers.protobuf import message_classes

__all__ = ["DTYPES", "graph_def_class", "saved_model_class"]

_SCHEMA = """
SavedModel: saved_model_schema_version=1 int64, meta_graphs=2 *MetaGraphDef
MetaGraphDef: meta_info_def=1 MetaInfoDef, graph_def=2 GraphDef, signature_def=5 %SignatureDef
MetaInfoDef: tags=4 *string, tensorflow_version=5 string
SignatureDef: inputs=1 %TensorInfo, outputs=2 %TensorInfo, method_name=3 string
TensorInfo: name=1 string, dtype=2 int32, tensor_shape=3 TensorShapeProto
TensorShapeProto: dim=2 *Dim, unknown_rank=3 bool
Dim: size=1 int64, name=2 string
GraphDef: node=1 *NodeDef, library=2 FunctionDefLibrary
NodeDef: name=1 string, op=2 string, input=3 *string, attr=5 %AttrValue
AttrValue: list=1 ListValue, type=6 int32, shape=7 TensorShapeProto, tensor=8 TensorProto, func=10 NameAttrList
TensorProto: dtype=1 int32, tensor_shape=2 TensorShapeProto, tensor_content=4 bytes, float_val=5 *float, int_val=7 *int32, int64_val=10 *int64
ListValue: func=9 *NameAttrList
NameAttrList: name=1 string
FunctionDefLibrary: function=1 *FunctionDef
FunctionDef: signature=1 OpDef, node_def=3 *NodeDef
OpDef: name=1 string, input_arg=2 *ArgDef, output_arg=3 *ArgDef
ArgDef: name=1 string
"""  # noqa: E501 - a message a line

# numpy's names of `enum DataType` (tensorflow/core/framework/types.proto); quantized types have their storage's.
DTYPES = {
    1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 7: "string", 8: "complex64", 9: "int64",
    10: "bool", 11: "int8", 12: "uint8", 13: "int32", 14: "bfloat16", 15: "int16", 16: "uint16", 17: "uint16",
    18: "complex128", 19: "float16", 20: "resource", 21: "variant", 22: "uint32", 23: "uint64", 24: "float8_e5m2",
    25: "float8_e4m3fn", 29: "int4", 30: "uint4",
}  # fmt: skip


def saved_model_class() -> Any:
    """The class of the message in `saved_model.pb`."""
    return message_classes("convkit_savedmodel", _SCHEMA)["SavedModel"]


def graph_def_class() -> Any:
    """The class of a graph, also of a frozen one on its own."""
    return message_classes("convkit_savedmodel", _SCHEMA)["GraphDef"]
