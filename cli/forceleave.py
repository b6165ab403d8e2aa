"""`svcmesh force-leave`."""

from urllib.parse import quote

import click

from cli.client import client_flags, client_from_flags
from cli.errors import ApiError, CommandError, FlagError
from cli.flags import GoCommand, flag


@click.command("force-leave", cls=GoCommand, arguments="name")
@client_flags
@flag("prune", kind="bool", help="Have the member forgotten, as if it had never been there.")
def force_leave(args: tuple[str, ...], prune: bool | None, **http: object) -> int:
    """Have a failed member listed as left, on all members.

    It is not reconnected to any more, and its services are gone. One that is still alive denies it
    and stays.
    """
    if len(args) != 1:
        raise FlagError("A single node name must be specified to force leave.")
    query = [("prune", "1")] if prune else []
    try:
        client_from_flags(http).put(f"/v1/agent/force-leave/{quote(args[0], safe='')}", query)
    except ApiError as error:
        raise CommandError(f"Error force leaving: {error}") from None
    return 0
