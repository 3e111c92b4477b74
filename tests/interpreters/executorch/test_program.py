"""Damage in a program's structure that must not reach a kernel: indices, sizes and offsets that do not add up."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from executorch_models import converted, edited, made, noise
from torch import nn

from convkit.artifact import Artifact
from convkit.errors import ConversionError, ConvkitError, UnreadableModelError
from convkit.interpreters.executorch.xnnpack.payload import parsed
from convkit.readers.damage import DamagedFileError


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))
    return made(network, noise(3, 6), tmp_path_factory.mktemp("intact") / "m.pte")


@pytest.fixture(scope="module")
def delegated(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))
    return made(network, noise(1, 2, 4, 4), tmp_path_factory.mktemp("delegated") / "m.pte", xnnpack=True)


def plan(program: Any) -> Any:
    return program.execution_plan[0]


def tensors(program: Any) -> list[Any]:
    return [v.val for v in plan(program).values if type(v.val).__name__ == "Tensor"]


def constants(program: Any) -> list[Any]:
    return [t for t in tensors(program) if t.allocation_info is None and t.data_buffer_idx]


def kernels(program: Any) -> list[Any]:
    found = [i.instr_args for chain in plan(program).chains for i in chain.instructions]
    return [a for a in found if type(a).__name__ == "KernelCall"]


def constant_behind_its_segment(program: Any) -> None:
    constants(program)[0].sizes = [4, 60000]


def unknown_constant(program: Any) -> None:
    constants(program)[0].data_buffer_idx = 99


def unknown_argument(program: Any) -> None:
    kernels(program)[0].args[0] = 999


def unknown_operator(program: Any) -> None:
    kernels(program)[0].op_index = 77


def unknown_output(program: Any) -> None:
    plan(program).outputs[0] = -3


def axes_out_of_order(program: Any) -> None:
    constants(program)[0].dim_order = [7, 7]


def repeated_axes(program: Any) -> None:
    for tensor in tensors(program):
        tensor.dim_order = tensor.dim_order[:1] * len(tensor.dim_order)


def missing_arguments(program: Any) -> None:
    kernels(program)[0].args = kernels(program)[0].args[:1]


def a_number_for_a_tensor(program: Any) -> None:
    numbers = [i for i, v in enumerate(plan(program).values) if type(v.val).__name__ in ("Int", "Double", "Bool", "Null")]
    kernels(program)[0].args[0] = numbers[0]


def sizes_that_no_kernel_gives(program: Any) -> None:
    tensors(program)[-1].sizes = [3, 5]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (constant_behind_its_segment, "ends behind its segment"),
        (unknown_constant, "constant 99 of"),
        (unknown_argument, "value 999 of"),
        (unknown_operator, "operator 77 of"),
        (unknown_output, "value -3 of"),
        (axes_out_of_order, r"in the order \(7, 7\)"),
    ],
)
def test_damage_is_named(change: Callable[[Any], None], message: str, intact: Artifact, tmp_path: Path) -> None:
    with pytest.raises(UnreadableModelError, match=message):
        converted(edited(intact, change), tmp_path / "m.pt2")


@pytest.mark.parametrize("change", [repeated_axes, missing_arguments, a_number_for_a_tensor, sizes_that_no_kernel_gives])
def test_what_cannot_be_computed_is_an_error(change: Callable[[Any], None], intact: Artifact, tmp_path: Path) -> None:
    with pytest.raises(ConvkitError):
        converted(edited(intact, change), tmp_path / "m.pt2")
    assert not (tmp_path / "m.pt2").exists()


def test_a_custom_operator_is_a_gap(intact: Artifact, tmp_path: Path) -> None:
    def rename(program: Any) -> None:
        plan(program).operators[0].name = "my_library::own"

    with pytest.raises(ConversionError, match=r"my_library\.own"):
        converted(edited(intact, rename), tmp_path / "m.pt2")


def test_a_loop_without_end_is_an_error(intact: Artifact, tmp_path: Path) -> None:
    """A jump to itself on a value that is always false."""

    def loop(program: Any) -> None:
        from executorch.exir.schema import Bool, EValue, Instruction, JumpFalseCall

        plan(program).values.append(EValue(Bool(False)))
        plan(program).chains[0].instructions.insert(0, Instruction(JumpFalseCall(len(plan(program).values) - 1, 0)))

    with pytest.raises(ConvkitError, match="steps"):
        converted(edited(intact, loop), tmp_path / "m.pt2")


def payload(source: Artifact) -> tuple[bytes, int]:
    """The whole file, and where XNNPACK's payload begins."""
    whole = source.path.read_bytes()
    return whole, whole.index(b"XH00") - 4


@pytest.mark.parametrize(
    ("offset", "kind", "value", "message"),
    [
        (10, "<I", 1 << 30, "ends before its header says"),
        (14, "<I", 1 << 31, "ends before its header says"),
        (22, "<Q", 1 << 40, "ends before its header says"),
    ],
)
def test_a_payload_whose_header_lies(
    offset: int, kind: str, value: int, message: str, delegated: Artifact, tmp_path: Path
) -> None:
    whole, start = payload(delegated)
    broken = bytearray(whole)
    struct.pack_into(kind, broken, start + offset, value)
    path = tmp_path / "m.pte"
    path.write_bytes(bytes(broken))
    with pytest.raises(UnreadableModelError, match=message):
        converted(Artifact(delegated.variant, path, delegated.signature), tmp_path / "m.pt2")


def test_every_flipped_byte_of_a_payload_is_an_error_or_a_graph(delegated: Artifact) -> None:
    whole, start = payload(delegated)
    (size,) = struct.unpack_from("<I", whole, start + 14)
    intact = whole[start : start + 64 + size]
    for position in range(30, len(intact), 3):
        broken = bytearray(intact)
        broken[position] ^= 0xA5
        try:
            graph = parsed(bytes(broken))
        except (DamagedFileError, struct.error):
            continue
        assert all(i in graph.values for i in (*graph.inputs, *graph.outputs))
