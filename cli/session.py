"""`svcmesh session`: sessions, which locks and ephemeral keys hang on.

Consul has no such command; flags are named as the fields of its API.
"""

from typing import Final
from urllib.parse import quote

import click

from cli.client import Json, client_flags, client_from_flags, read_flags, read_query
from cli.errors import ApiError, CommandError
from cli.flags import GoCommand, check_arguments, flag
from cli.groups import Entry, LazyGroup
from cli.printing import say
from cli.tables import format_flag, pretty_json, print_table, wants_json
from svcmesh.goformats import duration_string

NONE: Final = "-"

session: Final = LazyGroup(
    "session",
    {
        "create": Entry("cli.session", "create", "Begin a session"),
        "destroy": Entry("cli.session", "destroy", "End a session and let go of its locks"),
        "info": Entry("cli.session", "info", "Show a session"),
        "list": Entry("cli.session", "list_", "List sessions"),
        "renew": Entry("cli.session", "renew", "Give a session its whole time again"),
    },
    purpose="Begin, keep and end the sessions that locks hang on.",
    no_command_status=1,
)


@click.command("create", cls=GoCommand)
@client_flags
@read_flags
@flag("behavior", help="What becomes of its keys when it ends: release or delete.")
@flag(
    "check",
    kind="list",
    metavar="id",
    help="A check of the node that ends it when critical. Can be repeated. Default: serfHealth, or "
    "none with -ttl.",
)
@flag(
    "lock-delay",
    metavar="duration",
    help="How long nobody gets a lock that it loses by its end. Default: 15s.",
)
@flag("name", help="For whoever looks at it.")
@flag("node", help="The node it belongs to. Default: the agent's own.")
@flag(
    "ttl",
    metavar="duration",
    help="It ends when it is not renewed for so long, at the latest after twice as long. "
    "Default: time does not end it.",
)
def create(
    args: tuple[str, ...],
    behavior: str | None,
    check: tuple[str, ...],
    lock_delay: str | None,
    name: str | None,
    node: str | None,
    ttl: str | None,
    **http: object,
) -> int:
    """Begin a session, and print its id."""
    check_arguments(args)
    body: dict[str, object] = {
        field: value
        for field, value in (
            ("Name", name), ("Node", node), ("TTL", ttl), ("Behavior", behavior),
            ("LockDelay", lock_delay),
        )
        if value is not None
    }  # fmt: skip
    if check or ttl:
        body["NodeChecks"] = list(check)
    made = _send("create", body, http, "creating")
    say(made["ID"])
    return 0


@click.command("destroy", cls=GoCommand, arguments="ID")
@client_flags
@read_flags
def destroy(args: tuple[str, ...], **http: object) -> int:
    """End a session: its keys are released or deleted. One that is not there is no error."""
    session_id = _id(args)
    _send(f"destroy/{quote(session_id, safe='')}", None, http, "destroying")
    say(f"Success! Destroyed session: {session_id}")
    return 0


@click.command("renew", cls=GoCommand, arguments="ID")
@client_flags
@read_flags
def renew(args: tuple[str, ...], **http: object) -> int:
    """Give a session with a TTL its whole time again."""
    session_id = _id(args)
    _send(f"renew/{quote(session_id, safe='')}", None, http, "renewing")
    say(f"Success! Renewed session: {session_id}")
    return 0


@click.command("info", cls=GoCommand, arguments="ID")
@client_flags
@read_flags
@format_flag()
def info(args: tuple[str, ...], format: str | None, **http: object) -> int:
    """Show a session."""
    as_json = wants_json(format)
    session_id = _id(args)
    found = _get(f"info/{quote(session_id, safe='')}", http)
    if not found:
        raise CommandError(f"Error! No session exists with ID: {session_id}")
    if as_json:
        say(pretty_json(found[0]))
        return 0
    for label, value in (
        ("ID", found[0]["ID"]),
        ("Name", found[0]["Name"] or NONE),
        ("Node", found[0]["Node"]),
        ("TTL", found[0]["TTL"] or NONE),
        ("Behavior", found[0]["Behavior"]),
        ("LockDelay", duration_string(found[0]["LockDelay"] / 1e9)),
        ("Checks", ", ".join(_checks(found[0])) or NONE),
        ("CreateIndex", str(found[0]["CreateIndex"])),
        ("ModifyIndex", str(found[0]["ModifyIndex"])),
    ):
        say(f"{label:<13}{value}")
    return 0


@click.command("list", cls=GoCommand)
@client_flags
@read_flags
@format_flag()
@flag("node", help="Only the sessions of this node.")
def list_(args: tuple[str, ...], format: str | None, node: str | None, **http: object) -> int:
    """List sessions."""
    check_arguments(args)
    as_json = wants_json(format)
    found = _get(f"node/{quote(node, safe='')}" if node else "list", http)
    if as_json:
        say(pretty_json(found))
        return 0
    rows = [
        (
            one["ID"],
            one["Name"] or NONE,
            one["Node"],
            one["TTL"] or NONE,
            one["Behavior"],
            ",".join(_checks(one)) or NONE,
        )
        for one in found
    ]
    print_table(("ID", "Name", "Node", "TTL", "Behavior", "Checks"), rows)
    return 0


def _checks(found: dict[str, Json]) -> list[str]:
    return [*(found["NodeChecks"] or ()), *(each["ID"] for each in found["ServiceChecks"] or ())]


def _get(path: str, http: dict[str, object]) -> Json:
    try:
        return client_from_flags(http).get(f"/v1/session/{path}", read_query(http))
    except ApiError as error:
        raise CommandError(f"Error querying Consul agent: {error}") from None


def _send(path: str, body: "dict[str, object] | None", http: dict[str, object], what: str) -> Json:
    try:
        return client_from_flags(http).put(f"/v1/session/{path}", read_query(http), body)
    except ApiError as error:
        raise CommandError(f"Error {what} session: {error}") from None


def _id(args: tuple[str, ...]) -> str:
    if not args:
        raise CommandError("Missing ID argument")
    check_arguments(args, most=1)
    return args[0]
