"""The library's shared vocabulary: identifiers, addresses, member states."""

from enum import IntEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple, NewType

MemberName = NewType("MemberName", str)
"""A node name as gossiped; bytes that are not UTF-8 are carried as surrogate escapes."""

Incarnation = NewType("Incarnation", int)
"""A member's own u32 counter, raised only by itself (gossip protocol, 8.3)."""

SeqNo = NewType("SeqNo", int)
"""Matches acks and nacks to pings (u32, gossip protocol, 5.1)."""

LamportTime = NewType("LamportTime", int)
"""Logical time of Serf's intents, events and queries (u64, gossip protocol, 10.3)."""


class Address(NamedTuple):
    """Where a member listens, on UDP and TCP alike. `host` is a textual IP in canonical form."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def packed(self) -> bytes:
        """The IP as the wire has it: 4 bytes for IPv4, 16 for IPv6 (gossip protocol, 5)."""
        return ip_address(self.host).packed

    @classmethod
    def from_packed(cls, packed: bytes, port: int) -> "Address":
        """Read a wire address; IPv4-mapped IPv6 becomes IPv4.

        Raises:
            ValueError: `packed` has neither 4 nor 16 bytes.
        """
        return address_of(packed, port)


@lru_cache(maxsize=16384)
def address_of(packed: bytes, port: int) -> Address:
    """What `Address.from_packed` says."""
    # Remembered, because the same few come in every packet, and the text is slow to make.
    if len(packed) == 4:
        return Address(str(IPv4Address(packed)), port)
    if len(packed) != 16:
        raise ValueError(f"an address has 4 or 16 bytes, not {len(packed)}")
    six = IPv6Address(packed)
    return Address(str(six.ipv4_mapped or six), port)


class Peer(NamedTuple):
    """Whom to look for, and where."""

    name: MemberName
    address: Address


class MemberState(IntEnum):
    """SWIM states, with their numbers in a push/pull (gossip protocol, 6.1)."""

    ALIVE = 0
    SUSPECT = 1
    DEAD = 2
    LEFT = 3
