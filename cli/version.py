"""`svcmesh version`."""

import click

from cli.errors import CommandError
from cli.flags import GoCommand
from cli.tables import format_flag
from svcmesh import __version__


@click.command("version", cls=GoCommand)
@format_flag()
def version(args: tuple[str, ...], format: str | None) -> int:
    """Print the version of the program and of the protocol that it speaks."""
    if format not in (None, "", "pretty", "json"):
        raise CommandError(f"Unknown format: {format}")
    if format == "json":
        import json

        about = {
            "Version": __version__,
            "Revision": "",
            "Prerelease": "",
            "RPC": {"Default": 2, "Min": 2, "Max": 3},
        }
        click.echo(json.dumps(about, indent=3))
        return 0
    click.echo(f"svcmesh v{__version__}")
    click.echo(
        "Protocol 2 spoken by default, understands 2 to 3 (agent will automatically use protocol "
        ">2 when speaking to compatible agents)"
    )
    return 0
