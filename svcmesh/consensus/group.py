"""Who should be in the group of servers: founding it, taking in new ones, letting go of dead ones.

Rules only, no I/O: given what gossip and Raft say, the next step. One server founds a group of
itself, and takes in the others one by one, first as learners.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from svcmesh.consensus.raft import LogIndex, Membership, ServerId


class Presence(Enum):
    """What gossip says of a server."""

    ALIVE = "alive"
    FAILED = "failed"
    LEFT = "left"
    """Left on purpose, or forgotten."""


@dataclass(frozen=True, slots=True)
class KnownServer:
    """A server agent in the member table."""

    id: ServerId
    name: str
    address: tuple[str, int]
    """Where its calls go."""
    expects: int
    """Its `bootstrap_expect`, 1 for `bootstrap`; 0: it waits to be taken in."""
    presence: Presence
    version: str = ""
    """Of the program that it runs."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A server agent that gossip knows to be alive, and that may be asked to found a group."""

    name: str
    id: ServerId
    expects: int
    """Its `bootstrap_expect`; 0: it waits to be taken in."""


@dataclass(frozen=True, slots=True)
class AutopilotSettings:
    """As the operator set them (`/v1/operator/autopilot/configuration`)."""

    cleanup_dead_servers: bool = True
    max_trailing_logs: int = 250
    min_quorum: int = 0
    server_stabilization_s: float = 10.0
    last_contact_threshold_s: float = 0.2


def may_found(own_id: ServerId, expects: int, alive: Sequence[Candidate]) -> bool:
    """Whether we are the one to found the group: the first by name of as many as are expected.

    Who founds leads at first: an operator can tell from the names who that will be.
    `alive` are all server agents that gossip knows, ourselves included. The caller has made sure
    that none of them has been in a group before.
    """
    if expects <= 0:
        return False
    founders = sorted((one.name, one.id) for one in alive if one.expects == expects)
    return len(founders) >= expects and founders[0][1] == own_id


def next_members(
    members: Membership,
    own_id: ServerId,
    presence: Mapping[ServerId, Presence],
    stable_s: Mapping[ServerId, float],
    lag: Mapping[ServerId, int | None],
    settings: AutopilotSettings,
    *,
    is_forming: bool,
) -> Membership | None:
    """The membership that the leader should put in force next; None: this one is right.

    Args:
        members: In force.
        own_id: The leader's.
        presence: What gossip says of each server agent; one that is missing is unknown to it.
        stable_s: How long each has been alive without a break.
        lag: By how many entries each is behind; None: not known to follow yet.
        settings: The operator's.
        is_forming: Fewer servers than expected have been members yet: nobody waits to be stable.
    """
    voters, learners = set(members.voters), set(members.learners)
    for server in members.servers:
        if presence.get(server, Presence.LEFT) is Presence.LEFT and server != own_id:
            # It said so, or was removed by the operator: it does not count any more.
            return Membership.of(voters - {server}, learners - {server})
    dead = _removable(members, presence, settings)
    if dead is not None:
        return Membership.of(voters - {dead}, learners - {dead})
    for server in sorted(learners):
        behind = lag.get(server)
        is_alive = presence.get(server) is Presence.ALIVE
        is_stable = is_forming or stable_s.get(server, 0.0) >= settings.server_stabilization_s
        is_close = behind is not None and behind <= settings.max_trailing_logs
        if is_alive and is_stable and is_close:
            return Membership.of(voters | {server}, learners - {server})
    for server, status in sorted(presence.items()):
        if status is Presence.ALIVE and server not in members.servers:
            return Membership.of(voters, learners | {server})
    return None


def _removable(
    members: Membership, presence: Mapping[ServerId, Presence], settings: AutopilotSettings
) -> ServerId | None:
    """A dead server that the others do without: fewer than half of the voters may be dead."""
    dead = [s for s in members.servers if presence.get(s) is Presence.FAILED]
    if not dead or not settings.cleanup_dead_servers:
        return None
    dead_voters = [server for server in dead if server in members.voters]
    if len(dead_voters) < len(dead):
        return next(server for server in dead if server in members.learners)
    if len(dead_voters) >= len(members.voters) // 2:
        # As Consul: with three servers the dead one stays, and is waited for.
        return None
    if len(members.voters) - 1 < settings.min_quorum:
        return None
    return dead_voters[0]


def lag_of(match: LogIndex | None, last_index: LogIndex) -> int | None:
    """By how many entries a server is behind."""
    return None if match is None else max(0, last_index - match)
