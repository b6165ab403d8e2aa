"""`svcmesh info`: an agent's counters and gauges, in groups."""

import click

from cli.client import Json, client_flags, client_from_flags
from cli.errors import ApiError, CommandError
from cli.flags import GoCommand, flag
from cli.tables import pretty_json, wants_json


@click.command("info", cls=GoCommand)
@client_flags
@flag("format", metavar="pretty|json", help="Output format. Default: pretty.")
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
        click.echo(pretty_json(groups))
        return 0
    for group, values in groups.items():
        click.echo(f"{group}:")
        for key, value in values.items():
            click.echo(f"\t{key} = {value}")
    return 0
