"""One election that a server stands in, or asks about beforehand (thesis, 3.4, 9.6)."""

from svcmesh.consensus.raft.log import RaftLog
from svcmesh.consensus.raft.messages import VoteReply, VoteRequest
from svcmesh.consensus.raft.types import Membership, ServerId, Term


class Candidacy:
    """Who would vote for us, or does. A new object for every election."""

    def __init__(self, term: Term, *, is_pre: bool, is_transfer: bool) -> None:
        """`term` is the one to lead in; with `is_pre` we have not entered it."""
        self.term, self.is_pre = term, is_pre
        self._is_transfer = is_transfer
        self._votes: set[ServerId] = set()

    def request(self, log: RaftLog) -> VoteRequest:
        """What the other voters are asked."""
        return VoteRequest(self.term, log.last_index, log.last_term, self.is_pre, self._is_transfer)

    def takes(self, reply: VoteReply) -> bool:
        """Whether a reply is a vote in this election."""
        return reply.is_granted and (reply.term, reply.is_pre) == (self.term, self.is_pre)

    def add(self, voter: ServerId) -> None:
        """Somebody votes for us; twice is once."""
        self._votes.add(voter)

    def is_won(self, members: Membership) -> bool:
        """Whether a majority of the voters does."""
        return len(self._votes.intersection(members.voters)) >= members.quorum
