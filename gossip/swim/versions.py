"""Protocol versions: what a peer understands, and which states may be merged (section 7).

`Vsn` is [pmin, pmax, pcur, dmin, dmax, dcur]: p for the membership protocol, d for the layer
above ("delegate"). Features are used by a peer's pmax, never by its pcur.
"""

from collections.abc import Iterable
from itertools import chain
from typing import Protocol

from gossip.types import MemberName, MemberState

VSN_BYTES = 6
PMAX_TCP_PING = 3
PMAX_NACK = 4
PMAX_CRC = 5
PMAX_RELAY = 5


def own_vsn(delegate_version: int) -> bytes:
    """The `Vsn` we announce."""
    return bytes((1, 5, 2, 2, 5, delegate_version))


def pmax(vsn: bytes) -> int:
    """The newest protocol version a member understands."""
    return vsn[1]


def is_wellformed(vsn: bytes) -> bool:
    """Whether an alive message may carry it (8.4 step 2)."""
    return len(vsn) == VSN_BYTES and 0 < vsn[0] <= vsn[1]


def are_compatible(own: bytes, theirs: bytes) -> bool:
    """Whether each understands what the other speaks. Both are well-formed."""
    return all(
        a[low] <= b[low + 2] <= a[low + 1]
        for a, b in ((own, theirs), (theirs, own))
        for low in (0, 3)
    )


class Speaker(Protocol):
    """What the version check looks at: table entries and push/pull nodes have it."""

    @property
    def name(self) -> MemberName: ...
    @property
    def state(self) -> int: ...
    @property
    def vsn(self) -> bytes: ...


def merge_obstacle(local: Iterable[Speaker], remote: Iterable[Speaker]) -> str | None:
    """Why two states must not be merged, None when they may (section 7).

    Everybody's current versions, dead ones' too, have to be understood by everybody alive.
    """
    # Large pools hold few different versions, so the members are gone through once only.
    local, remote = list(local), list(remote)
    kinds = {(member.vsn, member.state) for member in chain(local, remote)}
    speaking = {
        vsn for vsn, state in kinds if state == MemberState.ALIVE and len(vsn) >= VSN_BYTES - 1
    }
    p_low = max((vsn[0] for vsn in speaking), default=0)
    p_high = min((vsn[1] for vsn in speaking), default=255)
    d_low = max((vsn[3] for vsn in speaking), default=0)
    d_high = min((vsn[4] for vsn in speaking), default=255)
    for vsn in sorted({vsn for vsn, _ in kinds}):
        p_cur, d_cur = (vsn[2], vsn[5]) if len(vsn) >= VSN_BYTES else (0, 0)
        if p_low <= p_cur <= p_high and d_low <= d_cur <= d_high:
            continue
        name = next(member.name for member in chain(local, remote) if member.vsn == vsn)
        if not p_low <= p_cur <= p_high:
            return f"{name!r} speaks protocol {p_cur}, allowed are {p_low} to {p_high}"
        return f"{name!r} speaks delegate {d_cur}, allowed are {d_low} to {d_high}"
    return None
