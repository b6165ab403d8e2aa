"""What every member sees of every other, kept up by what members tell, and the truth beside it.

A view is an integer with one bit a member, so comparing all views with the truth costs one XOR for
each member, whatever the size of the pool.
"""

from gossip.serf.events import Event, MemberFailed, MemberJoined, MemberLeft, MemberReaped
from svcmesh.simulate.member import SimulatedMember


class Views:
    """Who sees whom alive. Members have numbers, in the order in which they came.

    Invariant: bits of `running` are members with a process, of `disturbed` those under a fault.
    """

    def __init__(self) -> None:
        self.members: list[SimulatedMember] = []
        self.running = 0
        self.disturbed = 0
        self._numbers: dict[str, int] = {}
        self._seen: list[int] = []
        self._ended_at: dict[int, float] = {}

    def number(self, name: str) -> int:
        """A member's number; names are unique."""
        return self._numbers[name]

    def add(self, member: SimulatedMember) -> int:
        """Take in a member; its number."""
        number = len(self.members)
        self._numbers[member.name] = number
        self.members.append(member)
        self._seen.append(0)
        return number

    def note_started(self, number: int, *, sees: int = 0) -> None:
        """A process begins, knowing those of the mask `sees`."""
        self.running |= 1 << number
        self._ended_at.pop(number, None)
        self._seen[number] = sees

    def note_ended(self, number: int, *, at: float) -> None:
        """A process has ended, or begins to leave; what it saw no longer counts."""
        self.running &= ~(1 << number)
        self._ended_at[number] = at

    def ended_at(self, number: int) -> float | None:
        """When a member went, None while it is there."""
        return self._ended_at.get(number)

    def note(self, viewer: int, event: Event) -> None:
        """A member told something of another one."""
        match event:
            case MemberJoined(member):
                self._seen[viewer] |= 1 << self._numbers[member.name]
            case MemberFailed(member) | MemberLeft(member) | MemberReaped(member):
                self._seen[viewer] &= ~(1 << self._numbers[member.name])
            case _:
                pass

    def sees(self, viewer: int, subject: int) -> bool:
        """Whether one sees the other alive."""
        return bool(self._seen[viewer] >> subject & 1)

    def wrong_pairs(self) -> int:
        """How many pairs of a viewer and a member there are of which the viewer has it wrong."""
        running, seen = self.running, self._seen
        return sum((seen[viewer] ^ running).bit_count() for viewer in bits(running))

    def false_dead_pairs(self) -> int:
        """How many of them are members that run and are not seen alive."""
        running, seen = self.running, self._seen
        return sum((running & ~seen[viewer]).bit_count() for viewer in bits(running))

    def right_share(self) -> float:
        """The part of all pairs that is right: 1.0 when all views are complete and true."""
        pairs = self.running.bit_count() * max(1, self.running.bit_count())
        return 1.0 if not pairs else max(0.0, 1.0 - self.wrong_pairs() / pairs)


def bits(mask: int) -> list[int]:
    """The numbers of the bits that are set, ascending."""
    numbers: list[int] = []
    while mask:
        lowest = mask & -mask
        numbers.append(lowest.bit_length() - 1)
        mask ^= lowest
    return numbers
