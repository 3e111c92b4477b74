"""keras.applications (random weights) → TF.js and back, each proved; and the time beside that of the official converter.

Usage: python -m benchmarks.tfjs_keras [--only TEXT] [--side PIXELS] [--official SCRIPT] [--rounds N]

Every model goes SavedModel → TF.js, which runs in Node on the cpu and the wasm backend, and TF.js → SavedModel; the table has the
largest difference of scale to the source of each. With `--official`, the path of `tensorflowjs_converter`, both convert the same
SavedModel in turns, each as a process of its own and without any proof; the table has the medians of their wall times.
The official converter needs an environment of its own: tensorflowjs 4.22.0 with ydf 0.11.0 on Python 3.11.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

MODELS = ("MobileNetV2", "EfficientNetB0", "ResNet50", "ConvNeXtTiny")


def save(name: str, side: int, output: Path) -> None:
    """Writes a SavedModel of an application; its normalizations do something."""
    import keras

    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(weights=None, input_shape=(side, side, 3), classes=10)
    generator = np.random.default_rng(0)
    for weight in model.weights:
        if weight.name in ("gamma", "moving_variance"):
            weight.assign(generator.uniform(0.5, 1.5, weight.shape))
        elif weight.name in ("beta", "moving_mean"):
            weight.assign(generator.normal(0, 0.1, weight.shape))
    model.export(str(output), verbose=False)


def prove(source: Path, side: int, scratch: Path) -> str:
    """The row of a model: seconds, megabytes, and the differences."""
    from convkit import readers
    from convkit.artifact import Artifact
    from convkit.components import ConversionRequest
    from convkit.converters import savedmodel_to_tfjs, tfjs_to_savedmodel
    from convkit.formats import Variant
    from convkit.runtimes import savedmodel, tfjs

    signature = readers.inspect(source).signature
    assert signature is not None
    here = Artifact(Variant.SAVEDMODEL, source, signature)
    there = Artifact(Variant.TFJS_GRAPH, scratch / "there.tfjs", signature)
    back = Artifact(Variant.SAVEDMODEL, scratch / "back.savedmodel", signature)
    reference = savedmodel.load(here)  # loads the model for the converter too
    start = time.perf_counter()
    savedmodel_to_tfjs.convert(ConversionRequest(here, there.path, signature))
    seconds = time.perf_counter() - start
    tfjs_to_savedmodel.convert(ConversionRequest(there, back.path, signature))
    feeds = {signature.inputs[0].name: np.random.default_rng(1).uniform(0, 255, (2, side, side, 3)).astype(np.float32)}
    expected = reference.run(feeds)
    sessions = [tfjs.load(there, "cpu"), tfjs.load(there, "wasm"), savedmodel.load(back)]
    differences = [_difference(expected, session.run(feeds)) for session in sessions]
    size = sum(file.stat().st_size for file in there.path.iterdir()) / 1e6
    return " | ".join([f"{seconds:.1f}", f"{size:.1f}", *(f"{d:.1e}" for d in differences)])


def _difference(expected: dict[str, np.ndarray], got: dict[str, np.ndarray]) -> float:
    return max(float(np.abs(got[name] - want).max() / np.abs(want).max()) for name, want in expected.items())


def compare(official: Path, source: Path, rounds: int, scratch: Path) -> str:
    """The medians of both converters' wall times, in turns."""
    ours = [Path(sys.executable).with_name("convkit"), "convert", source, "--to", "tfjs", "--no-validate", "--force", "-o"]
    theirs = [official, "--input_format=tf_saved_model", "--output_format=tfjs_graph_model", source]
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    for turn in range(rounds):
        for who, command in (("ours", ours), ("theirs", theirs)):
            times[who].append(_timed([str(part) for part in (*command, scratch / f"{who}-{turn}")]))
    mine, other = (statistics.median(values) for values in times.values())
    return f"convkit {mine:.1f} s, tensorflowjs_converter {other:.1f} s: {mine / other:.2f} (medians of {rounds})"


def _timed(command: Sequence[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="")
    parser.add_argument("--side", type=int, default=96, help="of the pictures, in pixels")
    parser.add_argument("--official", type=Path, help="tensorflowjs_converter")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    from convkit.workers import toolchains

    toolchains.ensure("tfjs", auto=True)
    heading = ("model", "seconds", "MB", "cpu", "wasm", "back")
    print("| " + " | ".join(heading) + " |\n|" + " --- |" * len(heading), flush=True)
    for name in (name for name in MODELS if options.only in name):
        with tempfile.TemporaryDirectory() as directory:
            scratch = Path(directory)
            source = scratch / f"{name}.savedmodel"
            save(name, options.side, source)
            print(f"| {name} | {prove(source, options.side, scratch)} |", flush=True)
            if options.official is not None:
                print(compare(options.official, source, options.rounds, scratch), flush=True)


if __name__ == "__main__":
    main()
