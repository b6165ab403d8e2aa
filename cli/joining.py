"""`svcmesh join` and `svcmesh leave`."""

from urllib.parse import quote

import click

from cli.client import client_flags, client_from_flags
from cli.errors import ApiError, CommandError, FlagError
from cli.flags import GoCommand, flag
from cli.printing import say


@click.command("join", cls=GoCommand, arguments="address ...")
@client_flags
@flag("wan", kind="bool", help="Join a server of another data center.")
def join(args: tuple[str, ...], wan: bool | None, **http: object) -> int:
    """Tell a running agent to join a cluster, by the address of at least one of its members."""
    if not args:
        raise FlagError("At least one address to join must be specified.")
    client = client_from_flags(http)
    joined = 0
    for address in args:
        try:
            client.put(f"/v1/agent/join/{quote(address, safe='')}", [("wan", "1")] if wan else [])
        except ApiError as error:
            say(f"Error joining address '{address}': {error}", err=True)
        else:
            joined += 1
    if not joined:
        raise CommandError("Failed to join any nodes.")
    say(f"Successfully joined cluster by contacting {joined} nodes.")
    return 0


@click.command("leave", cls=GoCommand)
@client_flags
def leave(args: tuple[str, ...], **http: object) -> int:
    """Tell an agent to leave the cluster gracefully and to end."""
    if args:
        say(click.get_current_context().get_help())
        raise CommandError(f"Error found unexpected args: [{' '.join(args)}]")
    try:
        client_from_flags(http).put("/v1/agent/leave")
    except ApiError as error:
        raise CommandError(f"Error leaving: {error}") from None
    say("Graceful leave complete")
    return 0
