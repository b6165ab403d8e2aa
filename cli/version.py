"""`svcmesh version`."""

import click

from cli.flags import GoCommand
from svcmesh import __version__


@click.command("version", cls=GoCommand)
def version(args: tuple[str, ...]) -> int:
    """Print the version of the program and of the protocol that it speaks."""
    click.echo(f"svcmesh v{__version__}")
    click.echo(
        "Protocol 2 spoken by default, understands 2 to 3 (agent will automatically use protocol "
        ">2 when speaking to compatible agents)"
    )
    return 0
