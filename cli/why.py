"""`svcmesh why`: the story behind a node's or a service's state, as one agent remembers it."""

import textwrap
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

import click

from cli.client import Client, Json, NotFoundError, client_flags, client_from_flags
from cli.errors import ApiError, CommandError
from cli.flags import GoCommand, flag
from cli.printing import say
from cli.tables import format_flag, pretty_json, wants_json
from cli.times import age, read_instant, since
from svcmesh.goformats import join_host_port

OUTPUT_LINES_MAX: Final = 4
_BODY: Final = " " * 6


@click.command("why", cls=GoCommand, arguments="NAME")
@client_flags
@flag("node", kind="bool", help="NAME is a node.")
@flag("service", kind="bool", help="NAME is the id of a service instance, or a service.")
@format_flag()
def why(
    args: tuple[str, ...],
    node: bool | None,
    service: bool | None,
    format: str | None,
    **http: object,
) -> int:
    """Show why a node is seen as it is, or why a service instance is, or is not, in answers.

    NAME is the id of a service instance, the name of a service, or the name of a node, whichever
    there is. Of a node: who suspected, confirmed, refuted and declared it, when and why. Of a
    service: every check that has a say, since when, by whom, and whether DNS answers with it.
    """
    as_json = wants_json(format)
    if len(args) != 1:
        raise CommandError("Expected one argument: the name of a node, or of a service")
    if node and service:
        raise CommandError("Only one of -node or -service may be provided")
    client = client_from_flags(http)
    found = None if node else _ask(client, f"service/{_quoted(args[0])}", is_last=bool(service))
    if found is not None:
        lines = list(service_story(found))
    else:
        found = _ask(client, _quoted(args[0]), is_last=True)
        lines = story(found)
    say(pretty_json(found) if as_json else "\n".join(lines))
    return 0


def _ask(client: Client, path: str, *, is_last: bool) -> Json:
    """The answer; None when there is no such thing, unless it is the last that can be asked for."""
    try:
        return client.get(f"/v1/agent/why/{path}")
    except NotFoundError as error:
        if not is_last:
            return None
        raise CommandError(f"Error asking why: {error}") from None
    except ApiError as error:
        raise CommandError(f"Error asking why: {error}") from None


def _quoted(name: str) -> str:
    return quote(name, safe="")


def story(found: dict[str, Json]) -> list[str]:
    """A member's standing as lines: what it is, then one line for each step."""
    where = f" ({found['Address']})" if found["Address"] else ""
    lines = [f"{found['Node']} is {found['Status']}{where}"]
    if not found["Timeline"]:
        return [*lines, "  nobody has doubted it as far as this agent remembers"]
    return [*lines, *_timeline(found["Timeline"])]


def _timeline(steps: list[dict[str, Json]]) -> Iterator[str]:
    day = ""
    for step in steps:
        at = read_instant(step["At"])
        if f"{at:%Y-%m-%d}" != day:
            day = f"{at:%Y-%m-%d}"
            yield f"  {day}"
        yield f"  {at:%H:%M:%S}.{at.microsecond // 1000:03}  {step['Text']}"


def service_story(found: dict[str, Json]) -> Iterator[str]:
    """Each instance: whether DNS answers with it, what keeps it out, and its other checks."""
    for number, instance in enumerate(found["Instances"]):
        if number:
            yield ""
        yield _headline(instance)
        excluding = [check for check in instance["Checks"] if check["Excludes"]]
        for position, check in enumerate(excluding):
            yield f"  {'and' if position else 'because'} {_claim(check, found)}"
            if check["Kind"] != "member":
                yield from _output(check)
                yield from _history(check)
            elif instance["Member"] is not None:
                yield from (f"    {line}" for line in _timeline(instance["Member"]["Timeline"]))
        for check in instance["Checks"]:
            if not check["Excludes"]:
                yield f"  {_claim(check, found)}"
                if check["Status"] != "passing":
                    yield from _output(check)
        if not instance["Checks"]:
            yield "  nothing checks it"


def _headline(instance: dict[str, Json]) -> str:
    where = join_host_port(instance["Address"], instance["Port"])
    is_named = instance["ServiceID"] != instance["Service"]
    what = f"{instance['ServiceID']} ({instance['Service']})" if is_named else instance["Service"]
    node = f"{instance['Node']}, which has no agent," if instance["External"] else instance["Node"]
    verdict = "DNS answers with it" if instance["Answered"] else "DNS leaves it out"
    return f"{what} on {node} at {where}: {verdict}"


def _claim(check: dict[str, Json], found: dict[str, Json]) -> str:
    status = check["Status"]
    match check["Kind"]:
        case "member":
            state = "is alive" if status == "passing" else "has failed"
            what = f"its node {state}, as {check['SeenBy']} sees it"
        case "maintenance":
            of_whom = "its node" if check["CheckID"] == "_node_maintenance" else "it"
            what = f"{of_whom} is in maintenance"
        case kind:
            whose = "a check of its node" if kind == "node" else "its check"
            named = f" ({check['Name']})" if check["Name"] != check["CheckID"] else ""
            what = f"{whose} {check['CheckID']}{named} is {status}, seen by {check['SeenBy']}"
    return f"{what}, {_since(check, found)}"


def _since(check: dict[str, Json], found: dict[str, Json]) -> str:
    if check["Since"] is not None:
        return since(check["Since"])
    # What happened before that, nobody here has seen.
    return f"for at least {age(found['RemembersSince'])}"


def _output(check: dict[str, Json]) -> list[str]:
    text = (check["Output"] or "").strip()
    lines = [line for line in text.splitlines() if line.strip()][:OUTPUT_LINES_MAX]
    return textwrap.indent("\n".join(lines), _BODY).splitlines()


def _history(check: dict[str, Json]) -> Iterator[str]:
    """Earlier changes, when there were any: a check that flaps is another problem."""
    for entry in check["History"][1:]:
        at = read_instant(entry["At"])
        came = f"from {entry['From']} to" if entry["From"] else "first seen"
        yield f"{_BODY}before: {at:%Y-%m-%d %H:%M:%S} {came} {entry['To'] or 'removed'}"
