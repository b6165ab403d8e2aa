"""Properties of Raft, each watched from outside by a checker that knows nothing of the machine.

Election safety, log matching, leader completeness, state machine safety (thesis, figure 3.2), and
linearizability of what the clients saw (`svcmesh.simulate.linearizability`).
"""

from svcmesh.consensus.raft import Entry, LogIndex, ServerId, Term
from svcmesh.simulate.linearizability import Operation, inexplicable_keys
from tests.svcmesh.consensus.raft_cluster import Observer, SimCluster, SimServer


class SafetyChecker(Observer):
    """Raises at the moment a safety property is broken."""

    def __init__(self) -> None:
        self.leaders: dict[Term, ServerId] = {}
        self.committed: dict[LogIndex, Entry] = {}

    def on_leader(self, server: SimServer, term: Term) -> None:
        holder = self.leaders.setdefault(term, server.id)
        assert holder == server.id, f"{holder} and {server.id} lead term {term}"
        log = server.machine.log
        for index, entry in self.committed.items():
            if entry.term < term and index > log.snapshot.index:
                assert log.term(index) == entry.term, (
                    f"{server.id} leads term {term} without the committed entry {index}"
                )

    def on_commit(self, server: SimServer, entry: Entry) -> None:
        known = self.committed.setdefault(entry.index, entry)
        assert known == entry, f"{server.id} commits another entry at {entry.index}"

    def check_logs(self, cluster: SimCluster) -> None:
        """Log matching: where two logs have an entry of one index and term, all before agree."""
        servers = cluster.running
        for one in servers:
            for other in servers:
                if one.id < other.id:
                    _check_match(one, other)


def _check_match(one: SimServer, other: SimServer) -> None:
    first = max(one.machine.log.first_index, other.machine.log.first_index)
    last = min(one.machine.log.last_index, other.machine.log.last_index)
    has_matched = False
    for number in range(last, first - 1, -1):
        index = LogIndex(number)
        is_same = one.machine.log.term(index) == other.machine.log.term(index)
        assert is_same or not has_matched, f"{one.id} and {other.id} differ below a match: {index}"
        if is_same:
            a, b = (s.machine.log.between(LogIndex(index - 1), index)[0] for s in (one, other))
            assert a == b
        has_matched = has_matched or is_same


def check_linearizable(history: list[Operation]) -> None:
    """Raise unless the operations on each key fit into one order that respects real time."""
    keys = inexplicable_keys(history)
    assert not keys, f"no order explains what clients saw of {keys}"
