"""`svcmesh keygen`: a new gossip encryption key."""

import base64
import secrets
from typing import Final

import click

from cli.flags import GoCommand

KEY_BYTES: Final = 32


@click.command("keygen", cls=GoCommand)
def keygen(args: tuple[str, ...]) -> int:
    """Print a new random encryption key for gossip: 32 bytes in base64, as `encrypt` takes it."""
    click.echo(base64.b64encode(secrets.token_bytes(KEY_BYTES)))
    return 0
