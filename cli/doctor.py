"""`svcmesh doctor`: from one agent to every other member, what works and what does not."""

from typing import Final

import click

from cli.client import Json, client_flags, client_from_flags
from cli.errors import ApiError, CommandError
from cli.flags import GoCommand, check_arguments
from cli.printing import say
from cli.tables import format_flag, pretty_json, print_table, wants_json

SICK_STATUS: Final = 2
"""Something is wrong; 1 is that nobody could tell."""
TIMEOUT_S: Final = 600.0
"""A pool of thousands with many silent members takes minutes."""
_HEADER: Final = ("Node", "Address", "UDP", "TCP", "Datagram", "Encryption", "Problem")


@click.command("doctor", cls=GoCommand)
@client_flags
@format_flag()
def doctor(args: tuple[str, ...], format: str | None, **http: object) -> int:
    """Examine how an agent reaches every other member, by UDP and TCP, failed ones included.

    What is wrong comes first. The exit code is 0 if nothing is, 2 if something is, and 1 if the
    agent could not be asked.
    """
    as_json = wants_json(format)
    check_arguments(args)
    try:
        client = client_from_flags(http)
        report: dict[str, Json] = client.read("/v1/agent/doctor", timeout_s=TIMEOUT_S).value
    except ApiError as error:
        raise CommandError(f"Error examining the pool: {error}") from None
    if as_json:
        say(pretty_json(report))
    else:
        _print(report)
    return 0 if report["Healthy"] else SICK_STATUS


def _print(report: dict[str, Json]) -> None:
    say(
        f"{report['Node']}: loop lag {report['LoopLagMs']:.0f} ms at most in the last minute, "
        f"clock {report['ClockDriftMs']:+.0f} ms from the peers' median, "
        f"health score {report['HealthScore']}, gossip sent as {_sealed(report['Encryption'])}"
    )
    for problem in report["Problems"]:
        say(f"  {problem}")
    members = report["Members"]
    if members:
        say()
        print_table(_HEADER, [_row(member) for member in members])
        say()
    sick = sum(bool(member["Problems"]) for member in members)
    if not members:
        say("There are no other members to examine")
        return
    total = f"{len(members)} member{'s' if len(members) != 1 else ''} examined"
    say(f"{total}, {sick} with problems" if sick else f"{total}, nothing wrong with them")


def _row(member: dict[str, Json]) -> tuple[str, ...]:
    return (
        member["Node"],
        member["Address"],
        _duration(member["UdpRttMs"]),
        _duration(member["TcpRttMs"]),
        str(member["DatagramBytes"] or "-"),
        member["Encryption"],
        "; ".join(member["Problems"]) or "-",
    )


def _duration(rtt_ms: float | None) -> str:
    return "-" if rtt_ms is None else f"{rtt_ms:.1f} ms"


def _sealed(seal: str) -> str:
    return seal if seal == "plain text" else f"encrypted with key {seal}"
