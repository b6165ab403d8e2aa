"""`svcmesh why`: the story behind a member's status, as one agent remembers it."""

from datetime import datetime
from urllib.parse import quote

import click

from cli.client import Json, client_flags, client_from_flags
from cli.errors import ApiError, CommandError
from cli.flags import GoCommand, flag
from cli.tables import pretty_json, wants_json


@click.command("why", cls=GoCommand)
@client_flags
@flag("format", metavar="pretty|json", help="Output format. Default: pretty.")
def why(args: tuple[str, ...], format: str | None, **http: object) -> int:
    """Show who suspected, confirmed, refuted and declared a node, when and why.

    Usage: svcmesh why [options] NODE
    """
    as_json = wants_json(format)
    if len(args) != 1:
        raise CommandError("Expected one argument: the name of a node")
    try:
        found: dict[str, Json] = client_from_flags(http).get(
            f"/v1/agent/why/{quote(args[0], safe='')}"
        )
    except ApiError as error:
        raise CommandError(f"Error asking why: {error}") from None
    click.echo(pretty_json(found) if as_json else "\n".join(story(found)))
    return 0


def story(found: dict[str, Json]) -> list[str]:
    """A member's standing as lines: what it is, then one line for each step."""
    where = f" ({found['Address']})" if found["Address"] else ""
    lines = [f"{found['Node']} is {found['Status']}{where}"]
    if not found["Timeline"]:
        return [*lines, "  nobody has doubted it as far as this agent remembers"]
    day = ""
    for step in found["Timeline"]:
        at = datetime.fromisoformat(step["At"]).astimezone()
        if f"{at:%Y-%m-%d}" != day:
            day = f"{at:%Y-%m-%d}"
            lines.append(f"  {day}")
        lines.append(f"  {at:%H:%M:%S}.{at.microsecond // 1000:03}  {step['Text']}")
    return lines
