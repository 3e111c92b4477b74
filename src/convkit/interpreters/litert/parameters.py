"""The constants of a traced module: which are asked for, in which form, and under which names they are held."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np
import torch

from convkit.interpreters.litert import quantization
from convkit.interpreters.litert.model import Tensor
from convkit.interpreters.litert.values import Order
from convkit.interpreters.pytorch.backend import as_tensor

__all__ = ["Constants", "Form", "Request", "names_of"]

_LONGEST_NAME = 80


class Form(Enum):
    """What a quantized tensor is needed as; other tensors are the same in every form."""

    LEVELS = "levels"
    CENTRED = "centred"
    REAL = "real"


@dataclass(frozen=True)
class Request:
    """A constant in a form.

    Attributes:
        tensor: The constant.
        form: Of its values.
        order: Of its axes; a constant of a lower rank gets axes of size 1 in front of its own first.
    """

    tensor: Tensor
    form: Form
    order: Order


class Constants:
    """Makes every constant when it is first asked for, and remembers it.

    Args:
        held: What the traced module holds of them; these are not made again.
        arrays: Values that have been computed beforehand, by tensor.
    """

    def __init__(self, arrays: dict[Tensor, np.ndarray], held: dict[Request, torch.Tensor] | None = None) -> None:
        self.arrays = arrays
        self.made: dict[Request, torch.Tensor] = dict(held or {})

    def array(self, tensor: Tensor) -> np.ndarray | None:
        """The values of a constant as the file has them, None for what is computed."""
        return self.arrays.get(tensor, tensor.data)

    def get(self, tensor: Tensor, form: Form, order: Order) -> torch.Tensor:
        """A constant as it is needed."""
        request = Request(tensor, form if tensor.quantization is not None else Form.LEVELS, order)
        if request not in self.made:
            self.made[request] = self._make(request)
        return self.made[request]

    def _make(self, request: Request) -> torch.Tensor:
        tensor = request.tensor
        array = self.array(tensor)
        assert array is not None
        if tensor.quantization is not None:
            values = torch.from_numpy(array.astype(np.float32))
            if request.form is Form.CENTRED:
                values = quantization.centred(values, tensor.quantization)
            elif request.form is Form.REAL:
                values = quantization.real(values, tensor.quantization)
            array = values.numpy()
        if request.order is not None:
            array = array.reshape((1,) * (len(request.order) - array.ndim) + array.shape).transpose(request.order)
        return as_tensor(np.ascontiguousarray(array).reshape(array.shape))


def names_of(requests: list[Request], taken: Callable[[str], bool]) -> dict[Request, str]:
    """Distinct identifiers for constants, after the file's own names.

    Args:
        requests: The constants.
        taken: Whether an identifier has another meaning.
    """
    found: dict[Request, str] = {}
    used: set[str] = set()
    for request in requests:
        own = re.sub(r"\W+", "_", request.tensor.name.split(";")[0]).strip("_")[-_LONGEST_NAME:]
        base = f"w_{own}" if not own or own[0].isdigit() or taken(own) else own
        name, number = base, 1
        while name in used:
            number += 1
            name = f"{base}_{number}"
        used.add(name)
        found[request] = name
    return found
