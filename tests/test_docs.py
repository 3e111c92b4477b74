"""What README.md and CONTRIBUTING.md say is so."""

from __future__ import annotations

import itertools
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import convkit
from convkit import errors
from convkit.cli.main import _VERBS, cli
from convkit.formats import Format, parse_format
from convkit.planner import plan_routes

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = {name: (ROOT / name).read_text() for name in ("README.md", "CONTRIBUTING.md")}
TEXT = "\n".join(DOCUMENTS.values())
README = DOCUMENTS["README.md"]


def commands() -> Iterator[str]:
    """Every command line that begins with convkit: in backticks, or behind a shell prompt."""
    shown = re.findall(r"`([^`\n]+)`", TEXT) + re.findall(r"^\s*\$ (.+)$", TEXT, re.MULTILINE)
    for text in shown:
        text = text.partition("  #")[0].removeprefix(".venv/bin/")
        if re.match(r"convkit( |$)", text):
            yield text


def commands_in_help() -> Iterator[str]:
    """The examples of every verb's --help."""
    for _, command in every_command():
        for text in re.findall(r"convkit [^\n]+", command.epilog or ""):
            yield text.rstrip(')"')


def every_command(group: click.Command = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, group
    if isinstance(group, click.Group):
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            yield from every_command(command, (*path, name))


def options() -> set[str]:
    found = {"--help", "--version"}
    for _, command in every_command():
        for parameter in command.params:
            found.update(parameter.opts)
    return found


@pytest.mark.parametrize("text", [*commands(), *commands_in_help()])
def test_every_command_that_is_shown_parses(text):
    words = shlex.split(text)[1:]
    command: click.Command = cli
    context = click.Context(cli, info_name="convkit")
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name = words.pop(0)
        found = command.get_command(context, name)
        assert found is not None, f"there is no command {name!r}"
        command = found
    # Resilient: placeholders such as FILE need not exist; unknown options are refused all the same.
    command.make_context("convkit", list(words), resilient_parsing=True)
    for word, value in itertools.pairwise(words):
        if word in {"--to", "--via"} and value != "FORMAT" and "/" not in value:
            parse_format(value)


def test_there_are_commands_to_check():
    assert len([*commands()]) >= 10
    assert len([*commands_in_help()]) >= 8


def options_of_modules() -> set[str]:
    """The options of the modules that are said to be run."""
    sources = [ROOT / (module.replace(".", "/") + ".py") for module in re.findall(r"python -m ([\w.]+)", TEXT)]
    return {option for source in sources for option in re.findall(r'add_argument\("(--[a-z0-9-]+)"', source.read_text())}


def test_every_option_that_is_mentioned_exists():
    mentioned = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", TEXT))
    assert len(mentioned) >= 10
    assert mentioned <= options() | options_of_modules()


def test_every_verb_is_in_the_readme():
    for verb in _VERBS:
        assert re.search(rf"`(convkit )?{verb}\b", README), verb


@pytest.mark.parametrize("name", convkit.__all__)
def test_every_public_name_is_documented(name):
    thing = getattr(convkit, name)
    assert (thing.__doc__ or "").strip()


def test_what_is_public_is_what_is_imported_lazily():
    assert sorted(convkit.__all__) == sorted(convkit._HOME_OF)
    assert set(convkit.__all__) <= set(dir(convkit))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = convkit.nonsense


def test_the_exit_codes_are_the_errors():
    line = next(line for line in README.splitlines() if line.startswith("Exit codes:"))
    paragraph = README[README.index(line) :].partition("\n\n")[0]
    said = {int(n) for n in re.findall(r"\*\*(\d+)\*\*", paragraph)}
    raised = {getattr(errors, name).exit_code for name in errors.__all__}
    assert said == raised | {0, 70, 130}
    in_help = {int(n) for n in re.findall(r"^ +(\d+) ", cli.epilog or "", re.MULTILINE)}
    assert in_help == said


def test_the_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    shown = set(re.findall(r"`make ([a-z-]+)`", TEXT)) | set(re.findall(r"\$ make ([a-z-]+)", TEXT))
    assert {"demo", "test"} <= shown <= targets


def test_the_extras_exist():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    section = README[README.index("## Installing it elsewhere") :].partition("\n## ")[0]
    assert set(re.findall(rf"{project['name']}\[(\w+)\]", section)) <= set(extras)
    named = re.search(r"extras\s+that you need: (.*?)\.", section, re.DOTALL)
    assert named
    said = set(re.findall(r"`(\w+)`", named[1]))
    assert said == set(extras) - {"all", "dev"}


def test_the_modules_that_are_run_exist():
    for module in re.findall(r"python -m ([\w.]+)", TEXT):
        assert (ROOT / (module.replace(".", "/") + ".py")).exists(), module


def test_the_files_that_are_named_exist():
    """Names with a slash or a .py in backticks, as far as they are the project's own."""
    places = (ROOT, ROOT / "src" / "convkit")
    users_own = re.compile(r"test_my_|out\.|my_|net\.py|file\.py|wheels/|cache|models?\.|w\.|data\.")
    named = [n for text in re.findall(r"`([^`\n]+)`", TEXT) for n in text.split() if re.fullmatch(r"[\w./-]+", n)]
    own = [n for n in named if (n.endswith("/") or re.search(r"\.(py|md|lock)$", n)) and not users_own.search(n)]
    assert len(own) >= 15
    for name in own:
        assert any((place / name).exists() for place in places), name


def test_the_edges_that_are_promised_are_planned():
    """The README says that all pairs that its edges connect are reached; the matrix is what the planner says."""
    reached = {Format.PYTORCH, Format.ONNX, Format.SAVEDMODEL, Format.LITERT}
    for source in reached:
        for target in (Format.ONNX, Format.LITERT):
            if source is not target:
                assert plan_routes(source.default_variant, target)
