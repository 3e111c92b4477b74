"""Loads PyTorch models of every variant, once per worker. Worker side: torch is imported when a function is called."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import keyword
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convkit.artifact import Artifact, PyTorchSource
from convkit.errors import ConversionError, UnreadableModelError, UntrustedPickleError, UsageError
from convkit.formats import Variant
from convkit.legalization.gradient_modes import inline_gradient_modes
from convkit.legalization.number_outputs import tensors_for_numbers
from convkit.loading import module_factories
from convkit.loading.module_factories import one_line

if TYPE_CHECKING:
    import torch

__all__ = [
    "SIGNATURE_FILE",
    "arguments",
    "call",
    "dtype_name",
    "exported_program",
    "model",
    "named_tensors",
    "remember",
    "remember_traced",
    "root_module",
    "to_numpy",
    "to_torch",
    "trace_notes",
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


def remember_traced(artifact: Artifact, program: torch.export.ExportedProgram) -> None:
    """Keeps a program that was traced in this process, if it is what its file holds.

    One with branches or loops is read anew: while torch decomposes their graphs as they were traced, it makes constants that no
    signature names, and sums of sizes that no compiler knows (torch 2.13).
    """
    from convkit.legalization.exported_program import has_bodies

    if not has_bodies(program):
        remember(artifact, program)


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
            program = torch.export.load(stream)
        inline_gradient_modes(program)
        tensors_for_numbers(program)
        return _keep(key, program)
    except Exception as error:
        if foreign := _unregistered(artifact):  # torch says no more than that something is wrong
            raise UnreadableModelError(
                f"the exported program {artifact.path} uses {', '.join(foreign)}, which torch does not know",
                hint="export it without operators that another package registers: of transformers' experts the implementation"
                ' "batched_mm" has none',
            ) from error
        raise UnreadableModelError(
            f"torch cannot load the exported program {artifact.path}: {one_line(error)}",
            hint="it may need another torch version, or a package that registers its custom operators",
        ) from error


def _unregistered(artifact: Artifact) -> list[str]:
    """The operators of a file that nothing in this process has registered."""
    import torch

    from convkit import readers

    found = []
    for name in readers.inspect(artifact.path).operators:
        namespace, _, rest = name.partition(".")
        if not namespace.startswith(("_operator", "math", "higher_order", "torch")) and rest:
            packet = getattr(getattr(torch.ops, namespace, None), rest.partition(".")[0], None)
            found += [name] if packet is None else []
    return found


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


def stateful_module(artifact: Artifact) -> Any | None:
    """The module of an exported program that keeps values between runs, with buffers of its own; None for any other model.

    A program's module shares its buffers with it, so that running the module would change what a conversion writes.
    """
    from convkit.legalization.exported_program import state_updates

    if artifact.variant is not Variant.EXPORTED_PROGRAM or not state_updates(program := exported_program(artifact)):
        return None
    module = program.module()
    for owner in module.modules():
        for name, buffer in owner._buffers.items():
            owner._buffers[name] = None if buffer is None else buffer.clone()
    return module


def _load_model(artifact: Artifact) -> Any:
    import torch

    source = artifact.pytorch or PyTorchSource()
    if artifact.variant is Variant.EXPORTED_PROGRAM:
        return stateful_module(artifact) or exported_program(artifact).module()
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


def arguments(module: Any) -> dict[str, bool] | None:
    """The arguments of a module's `forward`, in order, and whether each must be given; None where it takes `*args`."""
    import torch

    if isinstance(module, torch.jit.ScriptModule):
        return {a.name: not a.has_default_value() for a in module.forward.schema.arguments[1:]}
    parameters = inspect.signature(module.forward).parameters.values()
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return None
    return {p.name: p.default is p.empty for p in parameters if p.kind is not p.VAR_KEYWORD}


def call(module: Any, names: Sequence[str], tensors: Sequence[torch.Tensor]) -> Any:
    """Calls a module with tensors for inputs of those names.

    By position, except where the names are the module's own and leave some out or come in another order: an optional
    argument must not get what was meant for the next one.
    """
    known = None if not hasattr(module, "forward") else arguments(module)
    by_position = known is None or not set(names) <= set(known) or list(names) == list(known)[: len(names)]
    if by_position and not _takes_keywords_only(module):
        return module(*tensors)
    return module(**dict(zip(names, tensors, strict=True)))


def _takes_keywords_only(module: Any) -> bool:
    import torch

    if isinstance(module, torch.jit.ScriptModule) or not hasattr(module, "forward"):
        return False
    return any(p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in inspect.signature(module.forward).parameters.values())


def named_tensors(result: Any, names: Sequence[str] | None = None) -> list[tuple[str, torch.Tensor]]:
    """Flattens a model's result in torch's own order, with names.

    Keys of dicts and fields of named tuples and data classes name their tensors; a lone tensor is "output", tensors of a plain
    tuple are "output_0", "output_1", …; None is left out. Names that come twice are numbered. `names` overrides.

    Raises:
        ConversionError: The result holds something that is no tensor, or not as many tensors as `names`.
    """
    found = list(_walk(result, ""))
    if not found:
        raise ConversionError(
            f"the model gives no tensor but {_kind(result)}", hint="wrap it in a module whose forward returns its tensors"
        )
    if all(not name for name, _ in found):
        own = ["output"] if len(found) == 1 else [f"output_{i}" for i in range(len(found))]
    else:
        own = _distinct([name or f"output_{i}" for i, (name, _) in enumerate(found)])
    if names is not None:
        if len(names) != len(found):
            raise ConversionError(
                f"the model gives {len(found)} outputs ({', '.join(own)}), but {len(names)} names were given: {', '.join(names)}"
            )
        own = list(names)
    return [(name, _tensor(name, value)) for name, (_, value) in zip(own, found, strict=True)]


def _distinct(names: list[str]) -> list[str]:
    """The names, those that come more than once with a number behind."""
    total, taken = Counter(names), set(names)
    distinct = []
    for name in names:
        if total[name] > 1:
            name = next(n for i in itertools.count() if (n := f"{name}_{i}") not in taken)
            taken.add(name)
        distinct.append(name)
    return distinct


def _tensor(name: str, value: Any) -> torch.Tensor:
    import torch

    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, bool | int | float | complex | np.ndarray | np.generic | torch.SymInt | torch.SymFloat | torch.SymBool):
        return torch.as_tensor(value)
    raise ConversionError(
        f"output '{name}' is {_kind(value)}, not a tensor", hint="wrap it in a module whose forward returns its tensors"
    )


def _kind(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def _walk(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if value is None:
        return
    items: Iterable[tuple[Any, Any]]
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        items = zip(value._fields, value, strict=True)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        items = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
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

    class ConvkitRoot(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = inner

        def forward(self, *arguments: Any) -> tuple[torch.Tensor, ...]:
            return tuple(tensor for _, tensor in named_tensors(call(self.model, names, arguments)))

    root = ConvkitRoot()
    root.training = False  # not eval(): a program's own module refuses the recursive call
    # torch.export names placeholders after the parameters that `inspect` sees.
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    signature = inspect.Signature([inspect.Parameter(n, kind) for n in _distinct([_identifier(n) for n in names])])
    forward = root.forward

    def named_forward(*arguments: Any) -> tuple[torch.Tensor, ...]:
        return forward(*arguments)

    named_forward.__signature__ = signature  # type: ignore[attr-defined]
    object.__setattr__(root, "forward", named_forward)
    return root


def _identifier(name: str) -> str:
    cleaned = "".join(c if c.isalnum() or c == "_" else "_" for c in name)
    return cleaned if cleaned.isidentifier() and not keyword.iskeyword(cleaned) else f"input_{cleaned}"


def trace_notes(artifact: Artifact) -> tuple[str, ...]:
    """What the user of a trace should know; nothing for a script. Only `torch.jit.trace` stores traced inputs."""
    with zipfile.ZipFile(artifact.path) as archive:
        traced = any(name.endswith("traced_inputs.pkl") for name in archive.namelist())
    return ("the file is a trace: branches that were not taken when it was traced are not in it",) if traced else ()


def dtype_name(dtype: torch.dtype) -> str:
    """numpy's name of a torch dtype ("float32")."""
    return str(dtype).removeprefix("torch.")


def to_torch(array: np.ndarray, dtype: str) -> torch.Tensor:
    """A tensor of the dtype with that numpy name; bfloat16 arrives as float32."""
    import torch

    tensor = torch.from_numpy(np.ascontiguousarray(array).reshape(array.shape))
    if not tensor.numel():
        tensor = tensor.new_empty(tensor.shape)  # numpy's strides of nothing are 0, on which ExecuTorch's runtime aborts
    wanted = getattr(torch, dtype, None)
    return tensor.to(wanted) if isinstance(wanted, torch.dtype) and tensor.dtype is not wanted else tensor


def to_numpy(tensor: torch.Tensor) -> np.ndarray:
    """The values of a tensor; bfloat16, which numpy does not have, is widened to float32."""
    import torch

    tensor = tensor.detach().cpu()
    if tensor.dtype is torch.bfloat16:
        tensor = tensor.float()
    return np.asarray(tensor.resolve_conj().resolve_neg().numpy())
