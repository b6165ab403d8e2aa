"""Properties of Raft, each watched from outside by a checker that knows nothing of the machine.

Election safety, log matching, leader completeness, state machine safety (thesis, figure 3.2), and
linearizability of what the clients saw (Wing and Gong's search, with memory).
"""

from math import inf

from svcmesh.consensus.raft import Entry, LogIndex, ServerId, Term
from tests.svcmesh.consensus.raft_cluster import Observer, Operation, SimCluster, SimServer


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
    for key in sorted({operation.key for operation in history}):
        operations = [o for o in history if o.key == key and not o.is_refused]
        # A read that nobody answered says nothing.
        operations = [o for o in operations if o.kind != "get" or o.returned_at is not None]
        assert _is_linearizable(operations), f"no order explains what clients saw of {key}"


def _is_linearizable(operations: list[Operation]) -> bool:
    """Wing and Gong: try every operation that may be next; remember (done, value) seen in vain."""
    order = sorted(operations, key=lambda o: o.asked_at)
    answered = sum(1 << n for n, o in enumerate(order) if o.returned_at is not None)
    seen: set[tuple[int, int]] = set()
    stack: list[tuple[int, int]] = [(0, 0)]
    while stack:
        done, value = stack.pop()
        if done & answered == answered:
            return True
        if (done, value) in seen:
            continue
        seen.add((done, value))
        for n in _next_ones(order, done):
            after = _after(order[n], value)
            if after is not None:
                stack.append((done | 1 << n, after))
    return False


def _next_ones(order: list[Operation], done: int) -> list[int]:
    """Operations not done that began before any of those not done had returned."""
    found: list[int] = []
    first_return = inf
    for n in range((~done & (done + 1)).bit_length() - 1, len(order)):
        if done >> n & 1:
            continue
        if order[n].asked_at > first_return:
            break
        found.append(n)
        returned_at = order[n].returned_at
        if returned_at is not None:
            first_return = min(first_return, returned_at)
    return [n for n in found if order[n].asked_at <= first_return]


def _after(operation: Operation, value: int) -> int | None:
    """The value after an operation at a value; None when its result contradicts it."""
    is_known = operation.returned_at is not None
    if operation.kind == "get":
        return value if operation.result == value else None
    if operation.kind == "put":
        return operation.argument[0]
    expected, new = operation.argument
    if is_known and operation.result != (value == expected):
        return None
    return new if value == expected else value
