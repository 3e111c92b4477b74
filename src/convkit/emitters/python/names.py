"""Names for what is written: identifiers that are distinct and hide nothing that the text uses."""

from __future__ import annotations

import builtins
import keyword
import re
import sys
from collections.abc import Iterable

__all__ = ["Names", "class_name", "identifier", "module_name"]

# What a file uses by these names. A parameter may be called `input`, as everywhere in torch.
_RESERVED = frozenset((*dir(builtins), *keyword.kwlist, "self", "torch", "nn", "F", "Path", "load_model")) - {
    "input",
    "id",
    "type",
}
_OWN_CLASSES = frozenset(("Weights", "Path"))


def identifier(text: str) -> str:
    """The text as an identifier; neither empty nor a keyword."""
    cleaned = re.sub(r"\W+", "_", text, flags=re.ASCII)
    if not re.match(r"[A-Za-z_]", cleaned) or keyword.iskeyword(cleaned):
        cleaned = f"_{cleaned}"
    return cleaned


def class_name(stem: str) -> str:
    """`digits_cnn` → `DigitsCnn`."""
    words = [w for w in re.split(r"[\W_]+", identifier(stem), flags=re.ASCII) if w]
    name = "".join(w[:1].upper() + w[1:] for w in words)
    if not name or not name.isidentifier() or name in _RESERVED | _OWN_CLASSES:
        name = f"Model{name}"
    return name


def module_name(stem: str) -> str:
    """A name that `import` takes, and that hides no module which the file itself or the standard library imports."""
    name = identifier(stem)
    hides = name in sys.stdlib_module_names or name in {"torch", "safetensors", "numpy"}
    return f"{name}_model" if hides else name


class Names:
    """Gives out names, each once; a nested scope does not reuse those around it."""

    def __init__(self, taken: Iterable[str] = _RESERVED) -> None:
        self._taken = set(taken)

    def nested(self) -> Names:
        return Names(self._taken)

    def fresh(self, wanted: str) -> str:
        """The wanted name as an identifier, with a number behind where it is taken."""
        name = base = identifier(wanted)
        number = 1
        while name in self._taken:
            number += 1
            name = f"{base}_{number}"
        self._taken.add(name)
        return name
