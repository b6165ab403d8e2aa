"""`svcmesh monitor`."""

import sys
from typing import Final

import click

from cli.client import client_flags, client_from_flags
from cli.errors import ApiError, CommandError
from cli.flags import GoCommand, flag

CHUNK_BYTES: Final = 65_536
SILENCE_S_MAX: Final = 365.0 * 86_400
"""A log may be silent for long; an agent that ends closes the connection."""


@click.command("monitor", cls=GoCommand)
@client_flags
@flag("log-level", help="Least severe lines to show: trace, debug, info, warn, err. Default: info.")
@flag("log-json", kind="bool", help="Show each line as a JSON object.")
def monitor(
    args: tuple[str, ...], log_level: str | None, log_json: bool | None, **http: object
) -> int:
    """Show the log of a running agent from now on, until interrupted.

    The level need not be the agent's own: its log stays as it is.
    """
    query = [("loglevel", log_level or "INFO")]
    if log_json:
        query.append(("logjson", "true"))
    client = client_from_flags(http)
    try:
        with client.stream("/v1/agent/monitor", query, timeout_s=SILENCE_S_MAX) as stream:
            try:
                while chunk := stream.read(CHUNK_BYTES):
                    sys.stdout.buffer.write(chunk)
                    sys.stdout.flush()
            finally:
                stream.abort()
    except KeyboardInterrupt:
        return 0
    except ApiError as error:
        raise CommandError(f"Error starting monitor: {error}") from None
    raise CommandError(
        "\nRemote side ended the monitor! This usually means that the\n"
        "remote side has exited or crashed."
    )
