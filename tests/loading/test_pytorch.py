"""How modules come out of files: factories, weights, pickles, names of outputs; in this process, without a worker."""

from __future__ import annotations

import os
import sys
import zipfile
from collections import namedtuple
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from convkit.artifact import Artifact, PyTorchSource
from convkit.errors import ConversionError, ConvkitError, UnreadableModelError, UntrustedPickleError, UsageError
from convkit.formats import Variant
from convkit.loading import module_factories
from convkit.loading import pytorch as loading

NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width=2):
        super().__init__()
        self.linear = nn.Linear(4, width)

    def forward(self, x):
        return self.linear(x)

def build():
    return Net()

def wide():
    return Net(7)

def needs_arguments(width):
    return Net(width)

def fails():
    raise ValueError("no such checkpoint")

def gives_weights():
    return Net().state_dict()

ready = Net()
number = 3
"""


@pytest.fixture
def net(tmp_path):
    """A file with factories, and nothing of it left among the imported modules."""
    before = dict(sys.modules)
    path = tmp_path / "net_of_the_tests.py"
    path.write_text(NET)
    yield path
    loading._loaded.clear()
    module_factories._imported.clear()
    for name in set(sys.modules) - set(before):
        if "tests" in name:
            del sys.modules[name]


def artifact_of(factory: str, directory: Path, weights: Path | None = None) -> Artifact:
    return Artifact(Variant.MODULE_FACTORY, directory, None, PyTorchSource(factory, weights))


def load(path: Path, function: str = "build", weights: Path | None = None):
    return loading.model(artifact_of(f"{path}:{function}", path, weights))


@pytest.mark.parametrize("function", ["build", "Net", "ready"])
def test_a_function_a_class_or_a_module_in_a_file_gives_a_module_in_eval_mode(function, net):
    module = load(net, function)
    assert isinstance(module, torch.nn.Module)
    assert not module.training
    assert module(torch.zeros(3, 4)).shape == (3, 2)


def test_a_package_beside_the_user_is_imported_by_name(net):
    (net.parent / "package_of_the_tests").mkdir()
    (net.parent / "package_of_the_tests" / "__init__.py").write_text("")
    (net.parent / "package_of_the_tests" / "nets.py").write_text("from net_of_the_tests import build\n")
    module = loading.model(artifact_of("package_of_the_tests.nets:build", net.parent))
    assert module(torch.zeros(1, 4)).shape == (1, 2)


@pytest.mark.parametrize(
    ("factory", "message", "hint"),
    [
        ("{net}", "cannot read --model", "file.py:function"),
        ("{net}:", "cannot read --model", "file.py:function"),
        ("{net}:missing", "has no 'missing'", "build"),
        ("{net}:fails", "ValueError: no such checkpoint", "without arguments"),
        ("{net}:needs_arguments", "missing 1 required positional argument", "without arguments"),
        ("{net}:gives_weights", "returned a OrderedDict", "torch.nn.Module"),
        ("{net}:number", "is a int", "function"),
        ("{net.parent}/nowhere.py:build", "there is no file", "path"),
        ("no_such_package_of_anyone.nets:build", "no_such_package_of_anyone", "PYTHONPATH"),
    ],
)
def test_what_is_wrong_with_a_factory_is_said(factory, message, hint, net):
    with pytest.raises(UsageError, match=message) as caught:
        loading.model(artifact_of(factory.format(net=net), net.parent))
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("content", "message", "hint"),
    [
        ("def build(:\n", "SyntaxError", "imported"),
        ("raise RuntimeError('no GPU')\n", "no GPU", "__main__"),
        ("import argparse\nargparse.ArgumentParser().parse_args(['--nope'])\n", "SystemExit", "__main__"),
        ("import a_library_that_is_not_there\n", "a_library_that_is_not_there", "install a_library_that_is_not_there"),
    ],
)
def test_a_file_that_does_not_import_is_the_users_error(content, message, hint, net):
    net.write_text(content)
    with pytest.raises(UsageError, match=message) as caught:
        load(net)
    assert hint in caught.value.hint


def test_random_weights_are_the_same_in_every_worker(net):
    first = load(net).linear.weight
    loading._loaded.clear()
    assert torch.equal(first, load(net).linear.weight)


def touch_later(path: Path) -> None:
    """The time of change moves even when the file system's clock is coarse."""
    later = path.stat().st_mtime_ns + 10**9
    os.utime(path, ns=(later, later))


def test_changed_weights_are_loaded_again(net, tmp_path):
    weights = tmp_path / "w.pt"
    for value in (1.0, 2.0):
        torch.save({"linear.weight": torch.full((2, 4), value), "linear.bias": torch.zeros(2)}, weights)
        touch_later(weights) if value == 2.0 else None
        assert load(net, weights=weights).linear.weight[0, 0] == value


def test_changed_code_is_imported_again_with_what_it_imports(net):
    (net.parent / "block_of_the_tests.py").write_text("WIDTH = 3\n")
    net.write_text(NET + "\nimport block_of_the_tests\n\ndef blocks():\n    return Net(block_of_the_tests.WIDTH)\n")
    assert load(net, "blocks").linear.out_features == 3
    (net.parent / "block_of_the_tests.py").write_text("WIDTH = 50\n")
    touch_later(net.parent / "block_of_the_tests.py")
    assert load(net, "blocks").linear.out_features == 50


def test_files_of_the_same_name_in_two_directories_are_kept_apart(net, tmp_path):
    for name, width in (("one", 3), ("two", 5), ("one", 3)):
        directory = tmp_path / name
        directory.mkdir(exist_ok=True)
        (directory / "block_of_the_tests.py").write_text(f"WIDTH = {width}\n")
        content = NET + "\nfrom block_of_the_tests import WIDTH\n\ndef blocks():\n    return Net(WIDTH)\n"
        (directory / net.name).write_text(content)
        assert load(directory / net.name, "blocks").linear.out_features == width


def test_a_file_called_like_a_library_does_not_replace_it(net, tmp_path):
    (tmp_path / "numpy.py").write_text(NET)
    assert load(tmp_path / "numpy.py").linear.out_features == 2
    assert sys.modules["numpy"] is np


def test_files_appearing_beside_a_package_do_not_build_its_module_again(net):
    artifact = artifact_of("net_of_the_tests:build", net.parent)
    module = loading.model(artifact)
    (net.parent / "out.tflite").write_text("an output")
    assert loading.model(artifact) is module


def test_a_worker_keeps_few_models(net):
    for index in range(9):
        copy = net.with_name(f"copy_of_the_tests_{index}.py")
        copy.write_text(NET)
        load(copy)
    assert len(loading._loaded) <= loading._KEPT


def state(prefix: str = "") -> dict[str, torch.Tensor]:
    return {f"{prefix}linear.weight": torch.ones(2, 4), f"{prefix}linear.bias": torch.zeros(2)}


@pytest.mark.parametrize(
    "content",
    [
        state(),
        {"state_dict": state(), "epoch": 3},
        {"model_state_dict": state(), "optimizer": {"lr": 0.1}},
        {"model": state()},
        state("module."),
        state("_orig_mod."),
    ],
    ids=["plain", "lightning", "trainer", "model", "data-parallel", "compiled"],
)
def test_state_dicts_are_found_in_checkpoints(content, net, tmp_path):
    torch.save(content, tmp_path / "w.pt")
    assert load(net, weights=tmp_path / "w.pt")(torch.ones(1, 4)).tolist() == [[4.0, 4.0]]


def test_safetensors_are_known_by_content(net, tmp_path):
    save_file(state(), tmp_path / "w.bin")
    assert load(net, weights=tmp_path / "w.bin").linear.weight.sum() == 8


def test_tied_weights_need_be_there_once_only(net, tmp_path):
    net.write_text(
        NET
        + """
class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(5, 4), nn.Linear(4, 5, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, ids):
        return self.head(self.embedding(ids))
"""
    )
    save_file({"embedding.weight": torch.ones(5, 4)}, tmp_path / "w.safetensors")
    assert load(net, "Tied", tmp_path / "w.safetensors").head.weight.sum() == 20


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"linear.weight": torch.ones(3, 4), "linear.bias": torch.zeros(3)}, "size mismatch"),
        ({"linear.weight": torch.ones(2, 4)}, "it lacks linear.bias"),
        (state() | {"head.weight": torch.ones(2)}, "the model has no head.weight"),
        ({"epoch": 3, "lr": 0.1}, "no state dict"),
        ([torch.ones(2)], "no state dict"),
    ],
    ids=["sizes", "missing", "unexpected", "numbers", "list"],
)
def test_weights_that_do_not_fit_are_refused(content, message, net, tmp_path):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(UnreadableModelError, match=message) as caught:
        load(net, weights=tmp_path / "w.pt")
    assert str(tmp_path / "w.pt") in caught.value.message
    assert caught.value.hint


def test_weights_are_never_unpickled(net, tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'executed'}",)

    torch.save({"linear.weight": Evil()}, tmp_path / "w.pt")
    with pytest.raises(UnreadableModelError, match="cannot read weights"):
        load(net, weights=tmp_path / "w.pt")
    assert not (tmp_path / "executed").exists()


def pickled(path: Path, trusted: bool = True) -> Artifact:
    return Artifact(Variant.PICKLED_MODULE, path, None, PyTorchSource(trust_pickle=trusted))


def test_a_pickled_module_is_loaded_when_it_is_trusted_and_only_then(net, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = load(net)
    torch.save(module, tmp_path / "m.pt")
    with pytest.raises(UntrustedPickleError) as caught:
        loading.model(pickled(tmp_path / "m.pt", trusted=False))
    assert "--trust-pickle" in caught.value.hint
    loaded = loading.model(pickled(tmp_path / "m.pt"))
    assert torch.equal(loaded.linear.weight, module.linear.weight)


def test_a_class_that_cannot_be_imported_names_its_module(net, tmp_path, monkeypatch):
    torch.save(load(net), tmp_path / "m.pt")
    net.unlink()
    monkeypatch.chdir(tmp_path)
    del sys.modules["net_of_the_tests"]
    with pytest.raises(UnreadableModelError, match="'net_of_the_tests'") as caught:
        loading.model(pickled(tmp_path / "m.pt"))
    assert "PYTHONPATH" in caught.value.hint


def test_a_class_of_a_script_says_how_to_save_it_better(net, tmp_path, monkeypatch):
    torch.save(load(net), tmp_path / "m.pt")
    net.write_text("")
    touch_later(net)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnreadableModelError, match="Net") as caught:
        loading.model(pickled(tmp_path / "m.pt"))
    assert "--weights" in caught.value.hint


def test_a_pickle_of_something_else_is_no_model(tmp_path):
    torch.save({"model": torch.nn.Linear(2, 2)}, tmp_path / "m.pt")
    with pytest.raises(UnreadableModelError, match="holds a dict"):
        loading.model(pickled(tmp_path / "m.pt"))


@pytest.mark.parametrize("variant", [Variant.EXPORTED_PROGRAM, Variant.TORCHSCRIPT, Variant.PICKLED_MODULE])
def test_damage_that_only_torch_sees_is_an_error_with_a_hint(variant, tmp_path):
    (tmp_path / "m.pt").write_bytes(b"PK\x03\x04 and nothing else")
    with pytest.raises(ConvkitError, match=r"m\.pt") as caught:
        loading.model(Artifact(variant, tmp_path / "m.pt", None, PyTorchSource(trust_pickle=True)))
    assert caught.value.hint


def test_a_frozen_script_loads(tmp_path):
    frozen = torch.jit.freeze(torch.jit.script(torch.nn.Linear(4, 2).eval()))
    torch.jit.save(frozen, tmp_path / "m.pt")
    module = loading.model(Artifact(Variant.TORCHSCRIPT, tmp_path / "m.pt"))
    assert module(torch.zeros(1, 4)).shape == (1, 2)


Fields = namedtuple("Fields", ["logits", "hidden"])


@dataclass
class Record:
    logits: torch.Tensor
    loss: torch.Tensor | None = None


T = torch.zeros(1)


@pytest.mark.parametrize(
    ("result", "names"),
    [
        (T, ["output"]),
        ((T,), ["output"]),
        ((T, T), ["output_0", "output_1"]),
        ([T, (T, T)], ["output_0", "output_1", "output_2"]),
        ({"logits": T}, ["logits"]),
        ({"logits": T, "boxes": [T, T]}, ["logits", "boxes_0", "boxes_1"]),
        ({"a": {"b": T, "c": T}}, ["a_b", "a_c"]),
        (Fields(T, T), ["logits", "hidden"]),
        (Record(T), ["logits"]),
        (Record(T, T), ["logits", "loss"]),
        ((None, T), ["output"]),
        ((T, None, {"aux": T}), ["output_0", "aux"]),
        (({"x": T}, {"x": T}), ["x_0", "x_1"]),
        (({"x": T}, {"x": T}, {"x_0": T}), ["x_1", "x_2", "x_0"]),
        ({0: T, 1: T}, ["0", "1"]),
        ((T, 3), ["output_0", "output_1"]),
    ],
)
def test_outputs_are_named_in_order(result, names):
    found = loading.named_tensors(result)
    assert [name for name, _ in found] == names
    assert all(isinstance(tensor, torch.Tensor) for _, tensor in found)


@pytest.mark.parametrize("result", [None, {}, (None, None), {"text": "cat"}, torch.nn.Linear(1, 1)])
def test_what_is_no_tensor_is_refused(result):
    with pytest.raises(ConversionError, match=r"no tensor|not a tensor") as caught:
        loading.named_tensors(result)
    assert caught.value.hint


def test_given_names_must_be_as_many():
    with pytest.raises(ConversionError, match="2 outputs"):
        loading.named_tensors((T, T), ["a"])


class Optional(torch.nn.Module):
    def forward(self, ids, mask=None, kinds=None):
        return ids + 10 * (0 if mask is None else mask) + 100 * (0 if kinds is None else kinds)


class KeywordOnly(torch.nn.Module):
    def forward(self, x, *, scale):
        return x * scale


def test_optional_arguments_get_what_is_meant_for_them():
    one = torch.ones(1)
    assert loading.call(Optional(), ["ids", "kinds"], [one, one]) == 101
    assert loading.call(Optional(), ["mask", "ids"], [2 * one, one]) == 21
    assert loading.call(Optional(), ["a", "b"], [one, one]) == 11
    assert loading.call(KeywordOnly(), ["x", "scale"], [one, 3 * one]) == 3


def test_the_root_module_has_legal_names_for_any_input():
    root = loading.root_module(Optional(), ["in", "in.put", "in put"])
    names = list(torch.export.export(root, (T, T, T)).graph_signature.user_inputs)
    assert len(set(names)) == 3


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "bool", "uint8", "complex64", "bfloat16"])
def test_arrays_survive_the_way_to_torch_and_back(dtype):
    array = np.array([[0, 1], [2, 3]]).astype("float32" if dtype == "bfloat16" else dtype)
    tensor = loading.to_torch(array[:, ::-1], dtype)
    assert loading.dtype_name(tensor.dtype) == dtype
    back = loading.to_numpy(tensor)
    assert back.dtype == array.dtype
    assert np.array_equal(back, array[:, ::-1])


def test_scalars_keep_their_rank():
    assert loading.to_torch(np.array(3.0, "float32"), "float32").shape == ()


def test_nothing_has_the_strides_of_a_tensor():
    """numpy's are 0 there, and ExecuTorch's runtime aborts the process on them."""
    assert loading.to_torch(np.zeros((4, 0), "float32")[:2], "float32").stride() == torch.empty(2, 0).stride()
    assert loading.to_torch(np.lib.stride_tricks.as_strided(np.zeros(1, "float32"), (0,), (0,)), "float32").stride() == (1,)


def test_operators_that_another_package_registers_are_named(tmp_path: Path) -> None:
    class Sine(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.sin(x)

    torch.export.save(torch.export.export(Sine(), (torch.randn(3),)), tmp_path / "own.pt2")
    with zipfile.ZipFile(tmp_path / "own.pt2") as own, zipfile.ZipFile(tmp_path / "foreign.pt2", "w") as foreign:
        for name in own.namelist():
            foreign.writestr(name, own.read(name).replace(b"torch.ops.aten.sin.default", b"torch.ops.another.sin.default"))
    with pytest.raises(UnreadableModelError, match=r"uses another\.sin\.default, which torch does not know"):
        loading.exported_program(Artifact(Variant.EXPORTED_PROGRAM, tmp_path / "foreign.pt2"))


def test_a_traced_program_with_branches_is_read_anew(tmp_path):
    """As it was traced torch decomposes its graphs into what no compiler takes; as it was written it does not."""

    class Chosen(torch.nn.Module):
        def forward(self, x):
            return torch.cond(x.sum() > 0, lambda y: (y + 1,), lambda y: (y * 2,), (x,))

    for name, module in (("branches", Chosen()), ("plain", torch.nn.Linear(3, 3))):
        traced = torch.export.export(module, (torch.ones(3),))
        artifact = Artifact(Variant.EXPORTED_PROGRAM, tmp_path / f"{name}.pt2")
        torch.export.save(traced, artifact.path)
        loading.remember_traced(artifact, traced)
        assert (loading.exported_program(artifact) is traced) is (name == "plain")
