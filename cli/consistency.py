"""`svcmesh consistency`: whether an agent's catalog is its peers', since when, and where not."""

from typing import Final

import click

from cli.client import Json, client_flags, client_from_flags
from cli.errors import ApiError, CommandError
from cli.flags import GoCommand, check_arguments
from cli.printing import say
from cli.tables import format_flag, pretty_json, print_table, wants_json
from cli.times import age, age_s, since

DISAGREES_STATUS: Final = 2
UNDER_WAY_S: Final = 10.0
"""A difference that is younger is a write on its way, and no disagreement."""

_ANSWERS: Final = {True: "yes", False: "no", None: "-"}
_HEADER: Final = ("Peer", "Agrees", "For", "Compared", "Differs in")


@click.command("consistency", cls=GoCommand)
@client_flags
@format_flag()
def consistency(args: tuple[str, ...], format: str | None, **http: object) -> int:
    """Show whether the agents agree on the catalog, as one of them knows from comparing.

    Each agent compares itself with another one about once a second, and every three seconds while
    nothing changes. The exit status is 2 when a difference is older than ten seconds, or nothing
    has been compared yet.
    """
    check_arguments(args)
    as_json = wants_json(format)
    try:
        found: dict[str, Json] = client_from_flags(http).get("/v1/agent/consistency")
    except ApiError as error:
        raise CommandError(f"Error asking for consistency: {error}") from None
    if as_json:
        say(pretty_json(found))
    else:
        say(_summary(found))
        if found["Peers"]:
            say()
            print_table(_HEADER, [_row(peer) for peer in found["Peers"]])
    return 0 if found["Agrees"] or _is_under_way(found) else DISAGREES_STATUS


def _is_under_way(found: dict[str, Json]) -> bool:
    """Whether all that differs has been written a moment ago."""
    differing = [peer for peer in found["Peers"] if peer["Agrees"] is False]
    began = [one["Since"] for peer in differing for one in peer["Differences"] or [peer]]
    return bool(began) and all(age_s(text) < UNDER_WAY_S for text in began)


def _summary(found: dict[str, Json]) -> str:
    node, peers = found["Node"], found["Peers"]
    compared = [peer for peer in peers if peer["Agrees"] is not None]
    if not peers:
        return f"{node} has no peers to compare with"
    if not compared:
        return f"{node} has not been compared with any of its {_peers(len(peers))} yet"
    waiting = f", {len(peers) - len(compared)} not compared yet" if compared != peers else ""
    if found["Agrees"]:
        return (
            f"{node} agrees with {_peers(len(compared))}{waiting}, {since(found['Since'])} "
            f"(fingerprint {found['Fingerprint']})"
        )
    differing = sum(not peer["Agrees"] for peer in compared)
    lag_s = found["LagSeconds"]
    lag = f"it has lacked something for {lag_s:g} s" if lag_s else "it lacks nothing itself"
    recently = " by what was written just now" if _is_under_way(found) else ""
    return f"{node} differs from {differing} of {_peers(len(compared))}{recently}{waiting}; {lag}"


def _peers(count: int) -> str:
    return f"{count} peer" if count == 1 else f"{count} peers"


def _row(peer: dict[str, Json]) -> tuple[str, ...]:
    if peer["Agrees"] is None:
        return peer["Node"], _ANSWERS[None], "-", "never", "-"
    differences = [_difference(peer["Node"], one) for one in peer["Differences"]]
    if not differences and not peer["Agrees"]:
        differences = [f"{peer['DifferingBuckets']} of 128 parts"]
    return (
        peer["Node"],
        _ANSWERS[peer["Agrees"]],
        age(peer["Since"]),
        f"{age(peer['Compared'])} ago",
        "; ".join(differences) or "-",
    )


def _difference(peer: str, one: dict[str, Json]) -> str:
    ours, theirs = one["Ours"], one["Theirs"]
    whose = f"external records by {one['Node']}" if one["External"] else f"records of {one['Node']}"
    if ours == theirs:
        return f"{whose}: other content"
    who = "we lack" if one["WeLack"] else f"{peer} lacks"
    if ours["Epoch"] == theirs["Epoch"]:
        count = abs(ours["Sequence"] - theirs["Sequence"])
        return f"{whose}: {who} {count} change{'s' if count > 1 else ''}, {since(one['Since'])}"
    return f"{whose}: {who} the latest run, {since(one['Since'])}"
