"""`svcmesh operator`: the group of servers and how it is looked after."""

from typing import Final

import click

from cli.client import Json, client_flags, client_from_flags, read_flags, read_query
from cli.errors import ApiError, CommandError, FlagError
from cli.flags import GoCommand, flag
from cli.groups import Entry, LazyGroup
from cli.printing import say
from cli.tables import format_flag, pretty_json, table, wants_json
from svcmesh.goformats import parse_bool, parse_duration, parse_uint

AUTOPILOT: Final = "/v1/operator/autopilot/configuration"
SHOWN: Final = (
    "CleanupDeadServers", "LastContactThreshold", "MaxTrailingLogs", "MinQuorum",
    "ServerStabilizationTime", "RedundancyZoneTag", "DisableUpgradeMigration", "UpgradeVersionTag",
)  # fmt: skip
ENTERPRISE: Final = "Kept and shown for tools that set it, as in Consul; it has no effect."

operator: Final = LazyGroup(
    "operator",
    {
        "autopilot": Entry(
            "cli.operator", "autopilot", "Show and change how the servers are looked after"
        ),
        "raft": Entry("cli.operator", "raft", "Show and change the group of servers"),
    },
    purpose="Look after the servers that carry the consistent store.",
    no_command_status=1,
)

raft: Final = LazyGroup(
    "raft",
    {
        "list-peers": Entry("cli.operator", "list_peers", "List the servers of the group"),
        "remove-peer": Entry("cli.operator", "remove_peer", "Take a server out of the group"),
        "transfer-leader": Entry(
            "cli.operator", "transfer_leader", "Hand leadership to another server"
        ),
    },
    purpose="Show and change the group of servers that carry the consistent store.",
    no_command_status=1,
)

autopilot: Final = LazyGroup(
    "autopilot",
    {
        "get-config": Entry("cli.operator", "get_config", "Show the settings"),
        "set-config": Entry("cli.operator", "set_config", "Change the settings"),
        "state": Entry("cli.operator", "state", "Show how each server does"),
    },
    purpose="Show and change how the group of servers is looked after.",
    no_command_status=1,
)


@click.command("list-peers", cls=GoCommand)
@client_flags
@read_flags
def list_peers(args: tuple[str, ...], **http: object) -> int:
    """List the servers of the group, as the leader has them, or with -stale any server."""
    try:
        found = client_from_flags(http).get("/v1/operator/raft/configuration", read_query(http))
    except ApiError as error:
        text = f"Error getting peers: Failed to retrieve raft configuration: {error}"
        raise CommandError(text) from None
    rows = [
        (
            server["Node"],
            server["ID"],
            server["Address"],
            "leader" if server["Leader"] else "follower",
            "true" if server["Voter"] else "false",
            server["ProtocolVersion"],
        )
        for server in found["Servers"]
    ]
    say(table(("Node", "ID", "Address", "State", "Voter", "RaftProtocol"), rows))
    return 0


@click.command("remove-peer", cls=GoCommand)
@client_flags
@read_flags
@flag("address", help="Address and port of the server's calls, as list-peers shows it.")
@flag("id", help="Id of the server, as list-peers shows it.")
def remove_peer(args: tuple[str, ...], address: str | None, id: str | None, **http: object) -> int:
    """Take a server out of the group that is gone for good.

    One that members still lists as failed is better let go with force-leave. One that is alive is
    taken in again.
    """
    if not address and not id:
        raise CommandError(
            "Error removing peer: an address or id is required for the peer to remove"
        )
    if address and id:
        raise CommandError("Error removing peer: cannot give both an address and id")
    chosen = ("id", id) if id else ("address", str(address))
    try:
        query = [*read_query(http), (chosen[0], str(chosen[1]))]
        client_from_flags(http).send("DELETE", "/v1/operator/raft/peer", query)
    except ApiError as error:
        raise CommandError(f"Error removing peer: {error}") from None
    name = "id" if id else "address"
    say(f'Removed peer with {name} "{chosen[1]}"')
    return 0


@click.command("transfer-leader", cls=GoCommand)
@client_flags
@read_flags
@flag("id", help="Id of the server that is to lead. Default: the one that is furthest.")
def transfer_leader(args: tuple[str, ...], id: str | None, **http: object) -> int:
    """Hand leadership to another server, without a time in which nobody leads."""
    failure = "Error transfering leadership: Failed to transfer leadership"
    query = [*read_query(http), *([("id", id)] if id else [])]
    try:
        answer = client_from_flags(http).send("PUT", "/v1/operator/raft/transfer-leader", query)
    except ApiError as error:
        raise CommandError(f"{failure}: {error}") from None
    if not answer or not answer.get("Success"):
        raise CommandError(failure)
    say("Success")
    return 0


@click.command("get-config", cls=GoCommand)
@client_flags
@read_flags
def get_config(args: tuple[str, ...], **http: object) -> int:
    """Show the settings of autopilot."""
    settings = _settings(http)
    for name in SHOWN:
        say(f"{name} = {_go_text(name, settings[name])}")
    return 0


@click.command("set-config", cls=GoCommand)
@client_flags
@read_flags
@flag(
    "cleanup-dead-servers",
    metavar="true|false",
    help="Take dead servers out of the group, as long as fewer than half are dead.",
)
@flag("disable-upgrade-migration", metavar="true|false", help=ENTERPRISE)
@flag(
    "last-contact-threshold",
    metavar="duration",
    help="Without a word from the leader for so long, a server counts as unhealthy.",
)
@flag(
    "max-trailing-logs",
    metavar="uint",
    help="As many entries behind the leader, a server counts as unhealthy.",
)
@flag(
    "min-quorum", metavar="uint", help="Take no dead server out below so many. 0: as few as it be."
)
@flag("redundancy-zone-tag", help=ENTERPRISE)
@flag(
    "server-stabilization-time",
    metavar="duration",
    help="A new server votes after it was healthy for so long.",
)
@flag("upgrade-version-tag", help=ENTERPRISE)
def set_config(args: tuple[str, ...], **flags: object) -> int:
    """Change settings of autopilot; what is not given stays as it is."""
    given = _given(flags)
    settings = {**_settings(flags), **given}
    index = settings.pop("ModifyIndex")
    query = [*read_query(flags), ("cas", str(index))]
    try:
        is_done = client_from_flags(flags).send("PUT", AUTOPILOT, query, settings)
    except ApiError as error:
        raise CommandError(f"Error setting Autopilot configuration: {error}") from None
    if not is_done:
        raise CommandError("Configuration could not be atomically updated, please try again")
    say("Configuration updated!")
    return 0


@click.command("state", cls=GoCommand)
@client_flags
@read_flags
@format_flag()
def state(args: tuple[str, ...], format: str | None, **http: object) -> int:
    """Show how each server does, as the leader sees it."""
    as_json = wants_json(format)
    try:
        found = client_from_flags(http).get("/v1/operator/autopilot/state", read_query(http))
    except ApiError as error:
        raise CommandError(f"Error querying Autopilot state: {error}") from None
    if as_json:
        say(pretty_json(found))
        return 0
    _show_state(found)
    return 0


def _settings(http: dict[str, object]) -> dict[str, Json]:
    try:
        found = client_from_flags(http).get(AUTOPILOT, read_query(http))
    except ApiError as error:
        raise CommandError(f"Error querying Autopilot configuration: {error}") from None
    return {name: found[name] for name in SHOWN} | {"ModifyIndex": found["ModifyIndex"]}


def _go_text(name: str, value: Json) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'"{value}"' if name.endswith("Tag") else str(value)


def _given(flags: dict[str, object]) -> dict[str, Json]:
    """The settings that flags change.

    Raises:
        FlagError: A value has another type.
    """
    found: dict[str, Json] = {}
    for name in SHOWN:
        option = "".join(f"_{c.lower()}" if c.isupper() else c for c in name).removeprefix("_")
        text = flags.get(option)
        if text is not None:
            found[name] = _typed(option.replace("_", "-"), str(text))
    return found


def _typed(option: str, text: str) -> Json:
    match option:
        case "cleanup-dead-servers" | "disable-upgrade-migration":
            try:
                return parse_bool(text)
            except ValueError as error:
                raise FlagError(f'invalid boolean value "{text}" for -{option}: {error}') from None
        case "last-contact-threshold" | "server-stabilization-time":
            try:
                parse_duration(text)
            except ValueError as error:
                raise FlagError(f'invalid value "{text}" for flag -{option}: {error}') from None
            return text
        case "max-trailing-logs" | "min-quorum":
            try:
                return parse_uint(text)
            except ValueError as error:
                raise FlagError(f'invalid value "{text}" for flag -{option}: {error}') from None
        case _:
            return text


def _show_state(found: dict[str, Json]) -> None:
    """Later versions of Consul show it so."""
    say(f"Healthy:                      {_go_text('', found['Healthy'])}")
    say(f"Failure Tolerance:            {found['FailureTolerance']}")
    say(f"Optimistic Failure Tolerance: {found['OptimisticFailureTolerance']}")
    say(f"Leader:                       {found['Leader']}")
    say("Voters:")
    for voter in found["Voters"]:
        say(f"   {voter}")
    say("Servers:")
    for server_id, server in found["Servers"].items():
        say(f"   {server_id}")
        for label, name in (
            ("Name", "Name"), ("Address", "Address"), ("Version", "Version"),
            ("Status", "Status"), ("Node Type", "NodeType"), ("Node Status", "NodeStatus"),
            ("Healthy", "Healthy"), ("Last Contact", "LastContact"), ("Last Term", "LastTerm"),
            ("Last Index", "LastIndex"),
        ):  # fmt: skip
            say(f"      {label + ':':<16} {_go_text('', server[name])}")
