"""`svcmesh maint`: takes a node or a service out of answers for a while, or shows what is out."""

from typing import Final
from urllib.parse import quote

import click

from cli.client import Client, Json, agent_itself, client_flags, client_from_flags
from cli.errors import ApiError, CommandError
from cli.flags import GoCommand, flag
from cli.printing import say
from cli.tables import format_flag, pretty_json, wants_json

NODE_CHECK_ID: Final = "_node_maintenance"
SERVICE_CHECK_PREFIX: Final = "_service_maintenance:"


@click.command("maint", cls=GoCommand)
@client_flags
@flag("enable", kind="bool", help="Begin maintenance.")
@flag("disable", kind="bool", help="End maintenance.")
@flag("reason", help="Why; shown as the notes of the check. With -enable only.")
@flag("service", metavar="id", help="This service of the agent instead of the whole node.")
@format_flag("Output format of the list")
def maint(
    args: tuple[str, ...],
    enable: bool | None,
    disable: bool | None,
    reason: str | None,
    service: str | None,
    format: str | None,
    **http: object,
) -> int:
    """Put a node or one of its services into maintenance, which keeps it out of every answer.

    It is a critical check, which is kept over restarts of the agent until it is taken away. Without
    -enable or -disable, list what is in maintenance.
    """
    as_json = wants_json(format)
    if enable and disable:
        raise CommandError("Only one of -enable or -disable may be provided")
    if not enable and reason:
        raise CommandError("Reason may only be provided with -enable")
    if not enable and not disable and service:
        raise CommandError("Service requires either -enable or -disable")
    client = client_from_flags(http)
    if not enable and not disable:
        _show(client, as_json=as_json)
        return 0
    path = f"service/maintenance/{quote(service, safe='')}" if service else "maintenance"
    query = [("enable", "true" if enable else "false")]
    if enable:
        query.append(("reason", reason or ""))
    what = "service" if service else "node"
    try:
        client.put(f"/v1/agent/{path}", query)
    except ApiError as error:
        doing = "enabling" if enable else "disabling"
        raise CommandError(f"Error {doing} {what} maintenance: {error}") from None
    of_whom = f' for "{service}"' if service else ""
    state = "enabled" if enable else "disabled"
    say(f"{what.capitalize()} maintenance is now {state}{of_whom}")
    return 0


def _show(client: Client, *, as_json: bool) -> None:
    node_name = agent_itself(client)["Config"]["NodeName"]
    try:
        checks: dict[str, Json] = client.get("/v1/agent/checks")
    except ApiError as error:
        raise CommandError(f"Error getting checks: {error}") from None
    nodes, services = [], []
    for check_id, check in sorted(checks.items()):
        if check_id == NODE_CHECK_ID:
            nodes.append({"Name": node_name, "Reason": check["Notes"]})
        elif check_id.startswith(SERVICE_CHECK_PREFIX):
            services.append({"ID": check["ServiceID"], "Reason": check["Notes"]})
    if as_json:
        say(pretty_json({"Node": nodes[0] if nodes else None, "Services": services}))
        return
    for node in nodes:
        say(f"Node:\n  Name:   {node['Name']}\n  Reason: {node['Reason']}\n")
    for one in services:
        say(f"Service:\n  ID:     {one['ID']}\n  Reason: {one['Reason']}\n")
