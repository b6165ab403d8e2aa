"""What becomes of the group of servers, in the agent's log: who leads, who votes, by name."""

import logging
from collections.abc import Callable, Iterable

from svcmesh.consensus.raft import Membership, RoleChanged, ServerId

logger = logging.getLogger("raft")


class GroupLog:
    """Writes a line for every change of leader or members, and for nothing else."""

    def __init__(
        self, own_id: ServerId, members: Membership, name_of: Callable[[ServerId], str]
    ) -> None:
        """`members` are those in force now; `name_of` may give the id of a server without one."""
        self._id, self._members, self._name_of = own_id, members, name_of
        self._leader: ServerId | None = None

    def note_role(self, change: RoleChanged) -> None:
        """Somebody leads, or nobody does any more."""
        if change.leader == self._leader:
            return
        self._leader = change.leader
        if change.leader is None:
            logger.warning("nobody leads, keys and locks wait for a leader: term=%d", change.term)
        elif change.leader == self._id:
            logger.info("this server leads: term=%d", change.term)
        else:
            logger.info("%s leads: term=%d", self._name_of(change.leader), change.term)

    def note_members(self, members: Membership) -> None:
        """Another membership is in force."""
        before, self._members = self._members, members
        changes = [
            (_new(members.learners, before.learners), "follows, and votes when it has caught up"),
            (_new(members.voters, before.voters), "votes"),
            (_new(before.servers, members.servers), "is no member any more"),
        ]
        said = [
            f"{self._name_of(server)} {what}" for servers, what in changes for server in servers
        ]
        if said:
            voters = ",".join(sorted(self._name_of(server) for server in members.voters))
            logger.info("%s: voters=%s", "; ".join(said), voters)


def _new(servers: Iterable[ServerId], before: Iterable[ServerId]) -> list[ServerId]:
    return [server for server in servers if server not in before]
