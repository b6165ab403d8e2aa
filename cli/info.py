"""`svcmesh info`: an agent's counters and gauges, in groups."""

import click

from cli.client import Json, client_flags, client_from_flags
from cli.errors import ApiError, CommandError
from cli.flags import GoCommand
from cli.printing import say
from cli.tables import format_flag, pretty_json, wants_json


@click.command("info", cls=GoCommand)
@client_flags
@format_flag()
def info(args: tuple[str, ...], format: str | None, **http: object) -> int:
    """Print debugging information for operators."""
    as_json = wants_json(format)
    try:
        about = client_from_flags(http).get("/v1/agent/self")
    except ApiError as error:
        raise CommandError(f"Error querying agent: {error}") from None
    groups: dict[str, dict[str, Json]] = {
        group: dict(sorted(values.items()))
        for group, values in sorted((about.get("Stats") or {}).items())
    }
    if as_json:
        say(pretty_json(groups))
        return 0
    for group, values in groups.items():
        say(f"{group}:")
        for key, value in values.items():
            say(f"\t{key} = {value}")
    return 0
