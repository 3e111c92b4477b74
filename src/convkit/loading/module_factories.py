"""Calls the user's own functions that build modules (`--model file.py:build`) and loads weights into what they give. Worker side.

A worker outlives a conversion, so what it has imported from the user's files may be out of date, or come from another
directory that has files of the same names: such modules are imported anew.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from convkit.errors import UnreadableModelError, UsageError

if TYPE_CHECKING:
    import torch

__all__ = ["build", "import_from", "imported", "load_weights", "one_line", "out_of_date"]

_HINT = "write package.module:function or file.py:function"
# What wraps or compiles a module prefixes the names of its weights.
_PREFIXES = ("module.", "_orig_mod.")

_imported: dict[str, tuple[Path, int]] = {}
"""Modules of the user's that were imported for a factory or a pickle: name → file and its time of change."""


def one_line(error: BaseException, limit: int = 300) -> str:
    """An exception's text without line breaks, its type where it has no text."""
    return " ".join(str(error).split())[:limit] or type(error).__name__


def out_of_date() -> bool:
    """Whether a file that a factory was imported from has changed since."""
    return any(_changed_at(file) != changed for file, changed in _imported.values())


def build(factory: str, directory: Path) -> torch.nn.Module:
    """The module that a factory gives.

    The random generator is seeded before the call, so that a module without weights is the same in every worker.

    Args:
        factory: `package.module:function` or `path/to/file.py:function`; the function takes no arguments. Names of an
            `nn.Module` object or of a class will do.
        directory: Where `package.module` is looked for, besides the installed packages.

    Raises:
        UsageError: It cannot be imported or called, or gives something else.
    """
    import torch

    found = imported(factory, directory, "--model")
    if isinstance(found, torch.nn.Module):
        return found
    if not callable(found):
        raise UsageError(f"{factory} is a {type(found).__name__}", hint=_HINT)
    torch.manual_seed(0)
    try:
        built = found()
    except (Exception, SystemExit) as error:
        raise UsageError(
            f"{factory} failed: {type(error).__name__}: {one_line(error)}", hint="it is called without arguments"
        ) from error
    if not isinstance(built, torch.nn.Module):
        raise UsageError(f"{factory} returned a {type(built).__name__}", hint="it must return a torch.nn.Module")
    return built


def imported(named: str, directory: Path, option: str) -> Any:
    """What the user names as `package.module:name` or `path/to/file.py:name`.

    Args:
        named: Its name.
        directory: Where `package.module` is looked for, besides the installed packages.
        option: On which it was named, for errors.

    Raises:
        UsageError: It cannot be imported, or is not there.
    """
    home, _, name = named.rpartition(":")
    if not home or not name:
        raise UsageError(f"cannot read {option} {named!r}", hint=_HINT)
    try:
        with import_from(Path(home).parent if home.endswith(".py") else directory):
            module = _import_file(Path(home)) if home.endswith(".py") else importlib.import_module(home)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"cannot import {home!r} for {option}: {one_line(error)}",
            hint=f"install {error.name}, or add the directory that holds it to PYTHONPATH",
        ) from error
    except FileNotFoundError as error:
        raise UsageError(f"cannot import {home!r} for {option}: {one_line(error)}", hint="check the path") from error
    except (Exception, SystemExit) as error:
        raise UsageError(
            f"importing {home!r} for {option} failed: {type(error).__name__}: {one_line(error)}",
            hint='the file is imported, not run: put what it does as a script under `if __name__ == "__main__":`',
        ) from error
    found = getattr(module, name, None)
    if found is None:
        raise UsageError(f"{home} has no {name!r}", hint=_what_it_has(module))
    return found


def _what_it_has(module: ModuleType) -> str:
    own = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
    here = [n for n in own if getattr(vars(module)[n], "__module__", None) == module.__name__]
    return "it has " + (", ".join(sorted(here or own)[:12]) or "nothing that can be called")


class import_from:  # noqa: N801 - used as a verb: `with import_from(directory):`
    """Makes the modules of a directory importable while the block lasts, as `python -m` in it would.

    Those of the user's that were imported from elsewhere, or have changed, are forgotten first.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = str(directory.resolve())

    def __enter__(self) -> None:
        for name, (file, changed) in list(_imported.items()):
            if _changed_at(file) != changed or not file.is_relative_to(self._directory):
                sys.modules.pop(name, None)
                del _imported[name]
        importlib.invalidate_caches()
        sys.path.insert(0, self._directory)
        self._before = dict(sys.modules)

    def __exit__(self, *failure: object) -> None:
        for name, module in _new_modules(self._before):
            file = getattr(module, "__file__", None)
            if file and _is_the_users(Path(file), self._directory):
                _imported[name] = (Path(file), _changed_at(Path(file)))
        if self._directory in sys.path:
            sys.path.remove(self._directory)


def _new_modules(before: dict[str, ModuleType]) -> Iterator[tuple[str, ModuleType]]:
    for name, module in list(sys.modules.items()):
        if before.get(name) is not module:
            yield name, module


def _is_the_users(file: Path, directory: str) -> bool:
    """Whether a file is below the directory; packages that are installed below it, in an environment, are not the user's."""
    return file.is_relative_to(directory) and not {"site-packages", "dist-packages"} & set(file.parts)


def _changed_at(file: Path) -> int:
    return file.stat().st_mtime_ns if file.exists() else -1


def _import_file(path: Path) -> ModuleType:
    path = path.resolve()
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    name = path.stem
    if name in sys.modules and name not in _imported:
        name = f"{name}_of_the_user"  # a file called `model.py` or `types.py` must not take the place of a library's
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def load_weights(module: torch.nn.Module, path: Path) -> None:
    """Loads a state dict into a module; refuses a partial fit.

    Understood are the checkpoints of training loops (`{"state_dict": …}`), the names that `DataParallel` and
    `torch.compile` prefix, and files that hold tied weights once (safetensors).

    Raises:
        UnreadableModelError: The file is no state dict, or its tensors do not fit the module.
    """
    state = _read_state(path)
    for prefix in _PREFIXES:
        if state and all(str(name).startswith(prefix) for name in state):
            own = module.state_dict()
            state = {n.removeprefix(prefix): t for n, t in state.items()} if not set(state) <= set(own) else state
    try:
        missing, unexpected = module.load_state_dict(state, strict=False)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise _misfit(path, one_line(error, 400)) from error
    missing = [name for name in missing if not _is_tied(module, name, state)]
    if missing or unexpected:
        parts = [f"it lacks {_some(missing)}"] if missing else []
        parts += [f"the model has no {_some(unexpected)}"] if unexpected else []
        raise _misfit(path, "; ".join(parts))


def _read_state(path: Path) -> dict[str, Any]:
    import torch

    try:
        with path.open("rb") as stream:
            head = stream.read(9)
        if path.suffix == ".safetensors" or head[8:] == b"{":
            from safetensors.torch import load_file

            return dict(load_file(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except ImportError as error:
        raise UnreadableModelError(
            f"cannot read weights from {path}: {one_line(error)}", hint="pip install safetensors"
        ) from error
    except Exception as error:
        raise UnreadableModelError(
            f"cannot read weights from {path}: {one_line(error)}", hint="save them with torch.save(model.state_dict(), …)"
        ) from error
    for wrapper in ("state_dict", "model_state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) or "_extra_state" in str(k) for k, v in state.items()):
        raise UnreadableModelError(
            f"{path} holds no state dict", hint="save the weights alone: torch.save(model.state_dict(), …)"
        )
    return state


def _is_tied(module: torch.nn.Module, name: str, state: dict[str, Any]) -> bool:
    """Whether a parameter that a file lacks shares its memory with one that it has."""
    own = module.state_dict()
    lacking = own.pop(name)
    return any(n in state and t.data_ptr() == lacking.data_ptr() and t.shape == lacking.shape for n, t in own.items())


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _misfit(path: Path, why: str) -> UnreadableModelError:
    return UnreadableModelError(
        f"the weights in {path} do not fit the model: {why}",
        hint="check that --model builds the architecture that these weights were trained with",
    )
