"""`convkit completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command("completion", epilog='Example: eval "$(convkit completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> int:
    """Print the completion script for a shell."""
    from convkit.cli.main import cli

    completion = get_completion_class(shell)
    assert completion is not None, "click has all three"
    click.echo(completion(cli, {}, "convkit", "_CONVKIT_COMPLETE").source())
    return 0
