"""`svcmesh members`: who is in the cluster, as one agent sees it."""

import re
from typing import Final

import click

from cli.client import Json, client_flags, client_from_flags
from cli.errors import ApiError, CommandError
from cli.flags import GoCommand, flag
from cli.goregexp import compile_regexp
from cli.printing import say
from cli.tables import format_flag, pretty_json, print_table, wants_json
from svcmesh.goformats import join_host_port

NOBODY_STATUS: Final = 2
_STATUSES: Final = ("none", "alive", "leaving", "left", "failed")
_TYPES: Final = {"consul": "server", "node": "client"}
_DETAILED: Final = ("Node", "Address", "Status", "Tags")
_STANDARD: Final = ("Node", "Address", "Status", "Type", "Build", "Protocol", "DC", "Segment")

Member = dict[str, Json]


@click.command("members", cls=GoCommand)
@client_flags
@flag("detailed", kind="bool", help="Show every member's tags.")
@flag("segment", help="Show the members of one network segment only.")
@flag("status", help="Show members whose status matches this regular expression only.")
@flag("wan", kind="bool", help="Show the servers of all data centers.")
@format_flag()
def members(
    args: tuple[str, ...],
    detailed: bool | None,
    segment: str | None,
    status: str | None,
    wan: bool | None,
    format: str | None,
    **http: object,
) -> int:
    """List the members of the cluster that an agent knows."""
    as_json = wants_json(format)
    wanted = _status_pattern(status or ".*")
    client = client_from_flags(http)
    query = [("segment", segment if segment is not None else "_all")]
    if wan:
        query.append(("wan", "1"))
    try:
        found: list[Member] = client.get("/v1/agent/members", query)
    except ApiError as error:
        raise CommandError(f"Error retrieving members: {error}") from None
    for member in found:
        tags = member.setdefault("Tags", {})
        if wan or tags.get("role") == "consul":
            tags["segment"] = "<all>"
        elif not tags.get("segment"):
            tags["segment"] = "<default>"
    shown = sorted(
        (member for member in found if wanted.search(_status(member))),
        key=lambda member: (member["Tags"]["segment"], member["Name"]),
    )
    if not shown:
        return NOBODY_STATUS
    if as_json:
        say(pretty_json(shown))
    elif detailed:
        print_table(_DETAILED, [_detailed_row(member) for member in shown])
    else:
        print_table(_STANDARD, [_standard_row(member) for member in shown])
    return 0


def _status_pattern(text: str) -> re.Pattern[str]:
    try:
        return compile_regexp(text)
    except ValueError as error:
        raise CommandError(f"Failed to compile status regexp: {error}") from None


def _status(member: Member) -> str:
    number = member["Status"]
    return _STATUSES[number] if 0 <= number < len(_STATUSES) else "unknown"


def _address(member: Member) -> str:
    return join_host_port(member["Addr"], member["Port"])


def _detailed_row(member: Member) -> tuple[str, ...]:
    tags = ",".join(f"{key}={value}" for key, value in sorted(member["Tags"].items()))
    return member["Name"], _address(member), _status(member), tags


def _standard_row(member: Member) -> tuple[str, ...]:
    tags = member["Tags"]
    start = member["Name"], _address(member), _status(member)
    kind = _TYPES.get(tags.get("role", ""))
    if kind is None:
        # A member of another program: its tags mean something else.
        return *start, "unknown", "", "", "", ""
    build = tags.get("build", "").partition(":")[0]
    return *start, kind, build, tags.get("vsn", ""), tags.get("dc", ""), tags["segment"]
