"""`svcmesh event`."""

from urllib.parse import quote

import click

from cli.client import agent_itself, client_flags, client_from_flags
from cli.errors import ApiError, CommandError, FlagError
from cli.flags import HTTP_OPTIONS, GoCommand, flag
from cli.goregexp import compile_regexp
from cli.printing import say


@click.command("event", cls=GoCommand, arguments="[payload]")
@client_flags
@flag("datacenter", section=HTTP_OPTIONS, help="Data center to ask. Default: the agent's own.")
@flag("name", help="Name of the event. Required.")
@flag("node", help="Only for nodes whose name matches this regular expression.")
@flag("service", help="Only for nodes with a service whose name matches.")
@flag("tag", help="Only where that service has a tag that matches. Needs -service.")
def event(
    args: tuple[str, ...],
    datacenter: str | None,
    name: str | None,
    node: str | None,
    service: str | None,
    tag: str | None,
    **http: object,
) -> int:
    """Send a user event to all nodes, or to those that the filters let in.

    Agents keep the last 256 events; `svcmesh watch -type=event` acts on them. They travel by
    gossip: once to each node, within a second or so, but with no promise that a node is reached.
    """
    if not name:
        raise FlagError("Event name must be specified")
    if tag and not service:
        raise CommandError("Cannot provide tag filter without service filter.")
    query = []
    for what, pattern in (("node", node), ("service", service), ("tag", tag)):
        if pattern:
            try:
                compile_regexp(pattern)
            except ValueError as error:
                text = f"Failed to compile {what} filter regexp: {error}"
                raise CommandError(text) from None
            query.append((what, pattern))
    if len(args) > 1:
        raise FlagError("Too many command line arguments.")
    if datacenter:
        query.append(("dc", datacenter))
    payload = args[0] if args else ""
    client = client_from_flags(http)
    agent_itself(client)
    try:
        answer = client.send("PUT", f"/v1/event/fire/{quote(name, safe='')}", query, payload)
    except ApiError as error:
        raise CommandError(f"Error firing event: {error}") from None
    say(f"Event ID: {answer['ID']}")
    return 0
