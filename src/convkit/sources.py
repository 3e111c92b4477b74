"""From what the user hands in to an `Artifact` with a signature: identified, and described where its file is mute."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from convkit import readers, samples
from convkit.arrays import save_arrays
from convkit.artifact import Artifact, ModelInfo, PyTorchSource
from convkit.errors import InputSpecError, UnreadableModelError, UntrustedPickleError, UsageError
from convkit.formats import Variant
from convkit.options import InputOptions
from convkit.registry import runtime_for
from convkit.signature import Signature
from convkit.validators.domains import domains_of
from convkit.validators.inputs import SavedSet
from convkit.workers.pool import WorkerPool

__all__ = ["Source", "describe", "identify", "selected"]

_WEIGHTS = (Variant.STATE_DICT, Variant.SAFETENSORS)
# What these record, if anything, is example inputs; the user may still say which dimensions are dynamic.
_CODE = (Variant.TORCHSCRIPT, Variant.PICKLED_MODULE, Variant.MODULE_FACTORY)
# Their outputs are found by name, not by position.
_NAMED = (Variant.SAVEDMODEL, Variant.TFLITE, Variant.TFJS_GRAPH, Variant.TFJS_LAYERS)


@dataclass(frozen=True)
class Source:
    """A model that is ready to travel.

    Attributes:
        artifact: With its signature.
        info: What its reader found; None for a module factory.
        examples: An `.npz` with one example array per input, None where there are none.
        given: The user's own samples, each as an `.npz` under the inputs' names; none where they gave none.
        notes: What was assumed.
    """

    artifact: Artifact
    info: ModelInfo | None
    examples: Path | None = None
    given: tuple[SavedSet, ...] = ()
    notes: tuple[str, ...] = ()


def identify(model: Path | None, pytorch: PyTorchSource) -> tuple[Artifact, ModelInfo | None]:
    """What the user's file is, told from its content.

    Raises:
        UnreadableModelError: No model, or a broken one.
        UntrustedPickleError: A pickled module without `--trust-pickle`.
        UsageError: Weights without a model, or a factory without need.
    """
    if pytorch.factory is not None:
        return _factory_artifact(model, pytorch), None
    if model is None:
        raise UsageError("no model was given", hint="name a file, or --model package.module:build")
    if not model.exists():
        raise UnreadableModelError(f"there is no file {model}", hint="check the path")
    info = readers.inspect(model)
    if info.variant in _WEIGHTS:
        raise UsageError(
            f"{model} holds weights without a model",
            hint="name the function that builds the model: --model package.module:build or --model file.py:build",
        )
    if info.variant is Variant.PICKLED_MODULE and not pytorch.trust_pickle:
        raise UntrustedPickleError(
            f"{model} is a pickled module: loading it executes code from the file",
            hint="add --trust-pickle if you trust its origin; better, export it with torch.export.save",
        )
    loading = pytorch if info.variant is Variant.PICKLED_MODULE else None
    return Artifact(info.variant, model.absolute(), info.signature, loading), info


def selected(artifact: Artifact, info: ModelInfo | None, name: str | None) -> Artifact:
    """The artifact with the signature of that name, for files that have several; None for their first.

    Raises:
        UsageError: It has none of that name.
    """
    if name is None or info is None:
        return artifact
    by_name = {signature.name: signature for signature in info.signatures}
    if name not in by_name:
        raise UsageError(f"{artifact.path} has no signature {name!r}", hint=f"it has {', '.join(by_name) or 'none'}")
    return artifact.with_signature(by_name[name])


def _factory_artifact(model: Path | None, pytorch: PyTorchSource) -> Artifact:
    weights = pytorch.weights or model
    if weights is not None:
        if not weights.exists():
            raise UnreadableModelError(f"there is no file {weights}", hint="check the path of --weights")
        variant = readers.identify(weights)
        if variant not in _WEIGHTS:
            raise UsageError(
                f"{weights} is a {variant.title}, not a file of weights",
                hint="leave out --model, or give a state dict or safetensors file as --weights",
            )
        weights = weights.absolute()
    assert pytorch.factory is not None
    home, _, function = pytorch.factory.rpartition(":")
    if not home.endswith(".py"):
        return Artifact(Variant.MODULE_FACTORY, Path.cwd(), None, replace(pytorch, weights=weights))
    path = Path(home).absolute()  # a warm worker may have been started in another directory
    return Artifact(Variant.MODULE_FACTORY, path, None, replace(pytorch, factory=f"{path}:{function}", weights=weights))


def describe(
    artifact: Artifact,
    info: ModelInfo | None,
    options: InputOptions,
    scratch: Path,
    pool: WorkerPool,
    timeout: float | None = None,
) -> Source:
    """Completes an artifact's signature: from its file, or by running it once in a worker.

    Raises:
        InputSpecError: The inputs are not recorded and cannot be inferred; the hint has the flag to add.
    """
    if artifact.variant in _CODE or artifact.signature is None:
        if artifact.variant not in _CODE:
            of_keras = artifact.variant in (Variant.KERAS, Variant.KERAS_H5)
            hint = "call the model once and write a SavedModel: model.export('directory')" if of_keras else "export it with one"
            raise UnreadableModelError(f"{artifact.path} records no signature", hint=hint)
        return _described_by_running(artifact, info, options, scratch, pool, timeout)
    signature = artifact.signature
    if options.dynamic:
        fixed = [f"{n}:{a}" for n, axes in options.dynamic.items() for a in axes]
        raise InputSpecError(
            f"{artifact.path.name} records its shapes, --dynamic {' '.join(fixed)} cannot change them",
            hint="export the model again with that dimension dynamic",
        )
    if options.output_names is not None:
        signature = _renamed(artifact, signature, options.output_names)
    _refuse_other_specs(signature, options)
    given, notes = _given(signature, info, options, scratch)
    return Source(artifact.with_signature(signature), info, given[0].file if given else None, given, tuple(notes))


def _given(
    signature: Signature, info: ModelInfo | None, options: InputOptions, scratch: Path
) -> tuple[tuple[SavedSet, ...], list[str]]:
    """The user's own samples under the inputs' names, and what was assumed of them; none where they gave none."""
    if options.arrays is None:
        return (), []
    sets, notes = samples.load(options.arrays, signature, domains_of((info,), signature), options.normalisation)
    saved = [SavedSet(chosen.recipe, scratch / f"given-{index}.npz") for index, chosen in enumerate(sets)]
    for kept, chosen in zip(saved, sets, strict=True):
        save_arrays(kept.file, chosen.arrays)
    return tuple(saved), notes


def _examples(options: InputOptions, scratch: Path) -> Path | None:
    """The user's arrays as a file that a worker reads, for a model that records no inputs; None where there are none.

    Raises:
        InputSpecError: They say too little without the model's inputs.
    """
    if options.arrays is None:
        return None
    arrays = samples.example(options.arrays, options.specs, options.normalisation)
    save_arrays(scratch / "described.npz", arrays)
    return scratch / "described.npz"


def _renamed(artifact: Artifact, signature: Signature, names: tuple[str, ...]) -> Signature:
    """The signature with the user's names for its outputs."""
    own = ", ".join(signature.output_names)
    if artifact.variant in _NAMED:
        raise InputSpecError(
            f"{artifact.path.name} names its outputs itself: {own}",
            hint="leave out --output-names: it is for models that name none",
        )
    if len(names) != len(signature.outputs) or len(set(names)) != len(names):
        raise InputSpecError(
            f"the model's outputs are {own}; these names were given: {', '.join(names)}",
            hint="give --output-names one distinct name per output",
        )
    return signature.renamed(signature.input_names, names)


def _refuse_other_specs(signature: Signature, options: InputOptions) -> None:
    """Specifications for a model that has its own must agree with them."""
    own = {t.name: t for t in signature.inputs}
    for spec in options.specs:
        if spec.name not in own:
            raise InputSpecError(
                f"the model has no input {spec.name!r}", hint="its inputs are " + ", ".join(map(str, signature.inputs))
            )
        if spec.shape != own[spec.name].shape or spec.dtype != own[spec.name].dtype:
            raise InputSpecError(
                f"--input {spec} does not fit the model, which records {own[spec.name]}",
                hint="leave out --input: it is for models that record no shapes",
            )


def _described_by_running(
    artifact: Artifact,
    info: ModelInfo | None,
    options: InputOptions,
    scratch: Path,
    pool: WorkerPool,
    timeout: float | None,
) -> Source:
    runtime = runtime_for(artifact.variant)
    assert runtime is not None, "every PyTorch variant that holds a model has a runtime"
    examples = scratch / "examples.npz"
    arrays = _examples(options, scratch)
    answer = pool.worker(runtime.host).call(
        "convkit.loading.pytorch_describe:describe",
        {
            "artifact": artifact.to_json(),
            "specs": [s.to_json() for s in options.specs],
            "arrays": None if arrays is None else str(arrays),
            "dynamic": {n: {str(a): s for a, s in axes.items()} for n, axes in options.dynamic.items()},
            "output_names": None if options.output_names is None else list(options.output_names),
            "examples": str(examples),
        },
        stage="describe",
        component=runtime.name,
        timeout=timeout,
    )
    signature = Signature.from_json(answer.result["signature"])
    given, notes = _given(signature, info, options, scratch)
    return Source(artifact.with_signature(signature), info, examples, given, (*answer.result["notes"], *notes))
