"""Real LiteRT files (`litert_models.toml`), each to every target: proved, or why not.

Usage: python -m benchmarks.litert_models [--to pytorch,onnx,savedmodel,tfjs,executorch] [--only REGEX] [--route NAME,NAME]
       [--timeout SECONDS] [--warm] [--output DIRECTORY]

The verdicts, and what is written, are those of `benchmarks.onnx_real_models`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.onnx_real_models import main, models
from benchmarks.wheels import CACHE

LIST = Path(__file__).with_suffix(".toml")
OUTPUT = CACHE.parent / "litert-models"
TARGETS = ("pytorch", "onnx", "savedmodel", "tfjs", "executorch")


if __name__ == "__main__":
    sys.exit(main(models(LIST), TARGETS, OUTPUT, __doc__))
