"""No file, however broken or malicious, gets more out of a reader than an error with a hint."""

import time
from collections.abc import Iterator
from pathlib import Path

import hostile_files
import pytest
from hostile_files import MARKER, HostileFile

from convkit.errors import ConvkitError
from convkit.readers import identify, inspect

# Of processor time: the machine that runs the tests may be busy with other things.
SECONDS = 2.0
MUTATIONS = 300
# An HDF5 file costs a process each.
MUTATIONS_OF_HDF5 = 12

pytestmark = pytest.mark.usefixtures("nothing_to_collect")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(scope="module")
def files(directory: Path) -> dict[str, HostileFile]:
    return {file.name: file for file in hostile_files.make(directory)}


def names() -> list[str]:
    """The names are needed before there is a directory to write to."""
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        return [file.name for file in hostile_files.make(Path(scratch))]


def contents(directory: Path) -> set[tuple[str, int]]:
    return {(str(p), p.lstat().st_size) for p in directory.rglob("*")}


def test_there_are_enough_of_them(files: dict[str, HostileFile]) -> None:
    assert len(files) >= 60


@pytest.mark.parametrize("name", names())
def test_the_answer_is_an_error_with_a_hint(name: str, files: dict[str, HostileFile], directory: Path) -> None:
    file = files[name]
    before = contents(directory)
    started = time.process_time()
    if file.error is None:
        identify(file.path)
        info = inspect(file.path)
        assert file.says in " ".join(info.notes)
    else:
        with pytest.raises(ConvkitError) as caught:
            identify(file.path)
            inspect(file.path)
        assert type(caught.value) is file.error
        assert file.says in caught.value.message
        assert caught.value.hint
        assert str(file.path) in caught.value.message
    assert time.process_time() - started < SECONDS
    assert contents(directory) == before
    assert not (directory / MARKER).exists()


def mutated(suffix: str, content: bytes) -> Iterator[bytes]:
    return hostile_files.mutations(content, MUTATIONS_OF_HDF5 if suffix == "h5" else MUTATIONS, seed=len(content))


@pytest.mark.parametrize("suffix", list(hostile_files.base_models()))
def test_random_damage_raises_convkits_errors_only(suffix: str, tmp_path: Path) -> None:
    content = hostile_files.base_models()[suffix]
    path = tmp_path / f"model.{suffix}"
    refused = 0
    for data in mutated(suffix, content):
        path.write_bytes(data)
        started = time.process_time()
        try:
            inspect(path)
        except ConvkitError:
            refused += 1
        assert time.process_time() - started < SECONDS
    # A truncation alone is a fifth of the damage.
    assert refused >= (MUTATIONS_OF_HDF5 if suffix == "h5" else MUTATIONS) // 5


def test_random_damage_to_saved_models_raises_convkits_errors_only(tmp_path: Path) -> None:
    source = hostile_files.FIXTURES / f"{hostile_files.FIXTURES.name}.savedmodel"
    folder = tmp_path / "model"
    (folder / "variables").mkdir(parents=True)
    for file in (source / "variables").iterdir():
        (folder / "variables" / file.name).write_bytes(file.read_bytes())
    for data in hostile_files.mutations((source / "saved_model.pb").read_bytes(), MUTATIONS, seed=3):
        (folder / "saved_model.pb").write_bytes(data)
        try:
            inspect(folder)
        except ConvkitError as error:
            assert error.hint
