"""Makes linear.pte, the ExecuTorch program that the reader tests need: ``python make_linear_pte.py``."""

import json
from pathlib import Path

import torch
from executorch.exir import to_edge

SIGNATURE = {
    "name": "forward",
    "inputs": [{"name": "features", "dtype": "float32", "shape": ["rows", 4]}],
    "outputs": [{"name": "scores", "dtype": "float32", "shape": ["rows", 3]}],
}

if __name__ == "__main__":
    torch.manual_seed(0)
    rows = torch.export.Dim("rows", min=1, max=16)
    program = torch.export.export(torch.nn.Linear(4, 3), (torch.randn(2, 4),), dynamic_shapes={"input": {0: rows}})
    edge = to_edge(program, constant_methods={"convkit_signature": json.dumps(SIGNATURE)})
    Path(__file__).with_name("linear.pte").write_bytes(edge.to_executorch().buffer)
