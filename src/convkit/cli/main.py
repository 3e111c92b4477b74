"""`convkit`: the group of verbs, loaded one at a time, and the one place where errors become exit codes."""

from __future__ import annotations

import importlib
import io
import os
import signal
import sys
import traceback
from typing import Any

import click

from convkit import __version__
from convkit.errors import ConvkitError, DriftError

__all__ = ["cli", "main"]

# Verb → one line of help; the verb's module is imported when it is used, so that --help costs nothing.
_VERBS = {
    "convert": "Convert a model and prove the result.",
    "check": "Say which operators block a conversion, before any work.",
    "validate": "Run two models on the same inputs and compare.",
    "verify": "Test the record of a conversion again, later or elsewhere.",
    "preview": "Show and run a model in a browser.",
    "inspect": "Show what a model file is and holds.",
    "plan": "Show the routes from a model to a format.",
    "formats": "List formats and the routes between them.",
    "diff": "Compare two reports of `check`: new gaps, fixed gaps.",
    "explain": "Say what the code of a finding means, and what helps.",
    "doctor": "Check this installation.",
    "toolchain": "Install, list and remove converter environments.",
    "completion": "Print a shell completion script.",
}

_EXIT_CODES = """\b
Exit codes:
  0    done, and proved
  1    findings: drift, or operator gaps
  2    usage, or unreadable input
  3    no route could convert
  70   a bug in convkit
  130  interrupted"""


class _Verbs(click.Group):
    """A group whose commands are modules of this package."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return None
        command: click.Command = importlib.import_module(f"convkit.cli.{cmd_name}").command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # The reader (head, less) has seen enough. click would make it exit code 1, which means drift here.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_VERBS.items()))


@click.group(
    cls=_Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="""\b
Examples:
  convkit convert model.pt2 --to litert
  convkit convert weights.safetensors --model net.py:build --to onnx --input image:float32[batch,3,224,224]
  convkit inspect model.tflite --json

"""
    + _EXIT_CODES,
)
@click.version_option(__version__, "-V", "--version", prog_name="convkit")
def cli() -> None:
    """Convert models between PyTorch, ONNX, SavedModel, LiteRT, ExecuTorch and TF.js, with proof."""


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and exits with a stable code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without → must not end a conversion
    # `kill` unwinds like Ctrl-C: nothing half-written is left.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    code = run(arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    # Workers are ended by the pool's exit handler; an ordinary exit runs it.
    sys.exit(code)


def run(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    try:
        result: Any = cli.main(arguments, prog_name="convkit", standalone_mode=False)
    except ConvkitError as error:
        if "--json" in (sys.argv[1:] if arguments is None else arguments):
            _emit_error(error)
        show_error(error)
        return error.exit_code
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.Abort:
        click.echo("interrupted", err=True)
        return 130
    except click.ClickException as error:
        error.show()
        return 2
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        return 130
    except Exception:
        _show_bug()
        return 70
    return result if isinstance(result, int) else 0


def _emit_error(error: ConvkitError) -> None:
    """The error as JSON on stdout, for callers that asked for JSON; a drift's whole report has been printed already."""
    import json

    if isinstance(error, DriftError) and error.report is not None:
        return
    told = {**error.to_json(), "exit_code": error.exit_code}
    click.echo(json.dumps({"schema_version": 1, "error": told}, indent=2, ensure_ascii=False))


def show_error(error: ConvkitError) -> None:
    """Prints what is wrong, the gaps if there are any, what to do next, and where the log is."""
    from convkit.errors import OperatorGapError
    from convkit.reports.terminal import printable

    click.secho("error: ", fg="red", bold=True, nl=False, err=True)
    click.echo(printable(error.message), err=True)
    if isinstance(error, OperatorGapError):
        for gap in error.gaps:
            click.echo(f"  gap: {printable(gap)}", err=True)
    if error.hint:
        click.secho("help: ", fg="cyan", nl=False, err=True)
        click.echo(printable(error.hint), err=True)
    if error.log is not None:
        click.echo(f"log: {error.log}", err=True)


def _show_bug() -> None:
    from convkit.workers.locations import log_file

    told = f"convkit {__version__}, Python {sys.version}\n{sys.argv}\n\n{traceback.format_exc()}"
    click.secho("error: ", fg="red", bold=True, nl=False, err=True)
    click.echo(f"this is a bug in convkit: {sys.exc_info()[1]!r}", err=True)
    try:
        log = log_file("bug")
        log.write_text(told)
    except (ConvkitError, OSError):
        click.echo(told, err=True)  # nowhere to put it
        return
    click.echo(f"log: {log}", err=True)


if __name__ == "__main__":
    main()
