"""`ciliate completion`: completion of commands, options, endpoints and identities in a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Completion for your shell.

    Prints the script that completes commands, options, endpoints and identities.

    \b
    bash:  ciliate completion bash > /etc/bash_completion.d/ciliate
    zsh:   ciliate completion zsh > "${fpath[1]}/_ciliate"
    fish:  ciliate completion fish > ~/.config/fish/completions/ciliate.fish
    """
    completion = get_completion_class(shell)
    if completion is None:
        raise click.UsageError(f"no completion for {shell}")
    source = completion(context.find_root().command, {}, "ciliate", "_CILIATE_COMPLETE")
    click.echo(source.source())
