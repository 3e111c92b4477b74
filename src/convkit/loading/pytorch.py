"""Loads PyTorch models of every variant, once per worker. Worker side: torch is imported when a function is called."""

from __future__ import annotations

import dataclasses
import inspect
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convkit.artifact import Artifact, PyTorchSource
from convkit.errors import ConversionError, InputSpecError, UnreadableModelError, UntrustedPickleError, UsageError
from convkit.formats import Variant
from convkit.loading import module_factories
from convkit.loading.module_factories import one_line

if TYPE_CHECKING:
    import torch

__all__ = [
    "SIGNATURE_FILE",
    "argument_names",
    "dtype_name",
    "exported_program",
    "model",
    "named_tensors",
    "remember",
    "root_module",
    "to_numpy",
    "to_torch",
]

SIGNATURE_FILE = "convkit.json"
"""The extra file of an exported program that keeps names and symbols, which torch itself does not store."""

_KEPT = 4
"""Loaded models that a worker keeps: what one route needs, not what a caller's life brings."""

_loaded: OrderedDict[tuple[Any, ...], Any] = OrderedDict()


def _key(artifact: Artifact) -> tuple[Any, ...]:
    """What a loaded model depends on: a worker outlives the files that it read."""
    source = artifact.pytorch
    files = [artifact.path] if source is None or source.weights is None else [artifact.path, source.weights]
    # A directory is where a factory's package lies: its time changes with every file that is written beside it.
    stamps = [(f.stat().st_mtime_ns, f.stat().st_size) for f in files if f.is_file()]
    return (artifact.variant, str(artifact.path), *stamps, source)


def _keep(key: tuple[Any, ...], loaded: Any) -> Any:
    _loaded[key] = loaded
    _loaded.move_to_end(key)
    while len(_loaded) > _KEPT:
        _loaded.popitem(last=False)
    return loaded


def remember(artifact: Artifact, loaded: Any) -> None:
    """Keeps what is in memory already, so that the next step of a route does not read its file again."""
    _keep(_key(artifact), loaded)


def exported_program(artifact: Artifact) -> torch.export.ExportedProgram:
    """The exported program in a `.pt2` file.

    Raises:
        UnreadableModelError: torch cannot load it, for example because it uses operators of a package that is not
            imported (transformers' mixture-of-experts models).
    """
    import torch

    key = _key(artifact)
    if key in _loaded:
        return _keep(key, _loaded[key])
    try:
        # A stream keeps torch from insisting on the suffix .pt2.
        with artifact.path.open("rb") as stream:
            return _keep(key, torch.export.load(stream))
    except Exception as error:
        raise UnreadableModelError(
            f"torch cannot load the exported program {artifact.path}: {one_line(error)}",
            hint="it may need another torch version, or a package that registers its custom operators",
        ) from error


def model(artifact: Artifact) -> Any:
    """The callable model behind any PyTorch variant: an nn.Module in eval mode, on the CPU.

    Raises:
        UntrustedPickleError: Loading would execute a pickle and `trust_pickle` is not set.
        UnreadableModelError: The file does not load.
        UsageError: The module factory cannot be called.
    """
    key = ("model", *_key(artifact))
    imports = artifact.variant in (Variant.MODULE_FACTORY, Variant.PICKLED_MODULE)
    if key in _loaded and not (imports and module_factories.out_of_date()):
        return _keep(key, _loaded[key])
    return _keep(key, _load_model(artifact))


def _load_model(artifact: Artifact) -> Any:
    import torch

    source = artifact.pytorch or PyTorchSource()
    if artifact.variant is Variant.EXPORTED_PROGRAM:
        return exported_program(artifact).module()
    if artifact.variant is Variant.TORCHSCRIPT:
        try:
            return torch.jit.load(str(artifact.path), map_location="cpu").eval()
        except Exception as error:
            raise UnreadableModelError(
                f"torch cannot load the TorchScript file {artifact.path}: {one_line(error)}",
                hint="it may be corrupt, or need a package that registers its custom operators",
            ) from error
    if artifact.variant is Variant.PICKLED_MODULE:
        return _unpickle(artifact.path, source.trust_pickle)
    if source.factory is None:
        raise UsageError(
            f"{artifact.path} holds weights without a model",
            hint="name the function that builds the model: --model package.module:build or --model file.py:build",
        )
    built = module_factories.build(source.factory, artifact.path)
    if source.weights is not None:
        module_factories.load_weights(built, source.weights)
    return built.eval().cpu()


def _unpickle(path: Path, trusted: bool) -> Any:
    import torch

    if not trusted:
        raise UntrustedPickleError(
            f"{path} is a pickled module: loading it executes code from the file",
            hint="add --trust-pickle if you trust its origin; better, export it with torch.export.save",
        )
    try:
        with module_factories.import_from(Path.cwd()):
            loaded = torch.load(path, map_location="cpu", weights_only=False)
    except ModuleNotFoundError as error:
        raise UnreadableModelError(
            f"{path} was pickled from the module {error.name!r}, which cannot be imported",
            hint=f"add the directory that holds {error.name} to PYTHONPATH",
        ) from error
    except AttributeError as error:
        # Pickled by a script: its class is in that script's `__main__`, which exists nowhere else.
        raise UnreadableModelError(
            f"{path} was pickled with a class that is not there: {one_line(error)}",
            hint="save its state_dict() and name the class: --model file.py:Class --weights state.pt",
        ) from error
    except Exception as error:
        raise UnreadableModelError(
            f"torch cannot unpickle {path}: {type(error).__name__}: {one_line(error)}",
            hint="load it where it was saved, and save it with torch.export.save",
        ) from error
    if not isinstance(loaded, torch.nn.Module):
        raise UnreadableModelError(
            f"{path} holds a {type(loaded).__name__}, not an nn.Module",
            hint="if it holds weights, name the function that builds the model: --model file.py:build",
        )
    return loaded.eval()


def argument_names(module: Any) -> tuple[str, ...]:
    """The names of the arguments that `forward` must be given.

    Raises:
        InputSpecError: `forward` takes `*args`, so that the names cannot be told.
    """
    import torch

    if isinstance(module, torch.jit.ScriptModule):
        arguments = module.forward.schema.arguments[1:]
        return tuple(a.name for a in arguments if not a.has_default_value())
    parameters = inspect.signature(module.forward).parameters.values()
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        raise InputSpecError(
            "the model's forward takes *args, so the names of its inputs cannot be told",
            hint="name them: --input name:float32[batch,3,224,224], once per input",
        )
    return tuple(p.name for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD)


def named_tensors(result: Any, names: Sequence[str] | None = None) -> list[tuple[str, torch.Tensor]]:
    """Flattens a model's result in torch's own order, with names.

    Keys of dicts and fields of named tuples name their tensors; a lone tensor is "output", tensors of a plain tuple are
    "output_0", "output_1", …. `names` overrides.
    """
    import torch

    found = list(_walk(result, ""))
    if all(not name for name, _ in found):
        own = ["output"] if len(found) == 1 else [f"output_{i}" for i in range(len(found))]
    else:
        own = [name or f"output_{i}" for i, (name, _) in enumerate(found)]
    if names is not None:
        if len(names) != len(found):
            raise ConversionError(
                f"the model gives {len(found)} tensors, the signature names {len(names)}: {', '.join(names)}"
            )
        own = list(names)
    return [
        (name, value if isinstance(value, torch.Tensor) else torch.as_tensor(value))
        for name, (_, value) in zip(own, found, strict=True)
    ]


def _walk(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if value is None:
        return
    items: Iterable[tuple[Any, Any]]
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        items = zip(value._fields, value, strict=True)
    elif isinstance(value, list | tuple):
        items = (("", v) for v in value) if not prefix else enumerate(value)
    else:
        yield prefix, value
        return
    for key, inner in items:
        yield from _walk(inner, f"{prefix}_{key}" if prefix else str(key))


def root_module(inner: Any, names: Sequence[str]) -> torch.nn.Module:
    """A module around `inner` whose forward takes `names` and gives the flat tensors of the result.

    Always wrapped: a root `nn.Sequential` breaks ExecuTorch's XNNPACK partitioner (pytorch/executorch#21541), a
    ScriptModule is refused by torch.export, and nested results come out in one documented order.
    """
    import torch

    class ConvkitRoot(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = inner

        def forward(self, *arguments: Any) -> tuple[torch.Tensor, ...]:
            return tuple(tensor for _, tensor in named_tensors(self.model(*arguments)))

    root = ConvkitRoot()
    root.training = False  # not eval(): a program's own module refuses the recursive call
    # torch.export names placeholders after the parameters that `inspect` sees.
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    signature = inspect.Signature([inspect.Parameter(_identifier(n), kind) for n in names])
    forward = root.forward

    def named_forward(*arguments: Any) -> tuple[torch.Tensor, ...]:
        return forward(*arguments)  # type: ignore[no-any-return]

    named_forward.__signature__ = signature  # type: ignore[attr-defined]
    object.__setattr__(root, "forward", named_forward)
    return root


def _identifier(name: str) -> str:
    cleaned = "".join(c if c.isalnum() or c == "_" else "_" for c in name)
    return cleaned if cleaned.isidentifier() else f"input_{cleaned}"


def dtype_name(dtype: torch.dtype) -> str:
    """numpy's name of a torch dtype ("float32")."""
    return str(dtype).removeprefix("torch.")


def to_torch(array: np.ndarray, dtype: str) -> torch.Tensor:
    """A tensor of the dtype with that numpy name; bfloat16 arrives as float32."""
    import torch

    tensor = torch.from_numpy(np.ascontiguousarray(array).reshape(array.shape))
    wanted = getattr(torch, dtype, None)
    return tensor.to(wanted) if isinstance(wanted, torch.dtype) and tensor.dtype is not wanted else tensor


def to_numpy(tensor: torch.Tensor) -> np.ndarray:
    """The values of a tensor; bfloat16, which numpy does not have, is widened to float32."""
    import torch

    tensor = tensor.detach().cpu()
    if tensor.dtype is torch.bfloat16:
        tensor = tensor.float()
    return np.asarray(tensor.resolve_conj().resolve_neg().numpy())
