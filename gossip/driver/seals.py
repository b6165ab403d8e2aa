"""Which members encrypt, and with which key: seen from the packets that they send.

It shows how far a pool is on its way from plain text to encryption, or from one key to another.
"""

from collections import OrderedDict
from typing import Final

from gossip.types import Address

ADDRESSES_MAX: Final = 65536
"""Source addresses remembered; anybody can make one up, so the longest unchanged is forgotten."""


class Seals:
    """The last seal seen of each source address: the key that opened it, or None for plain text."""

    def __init__(self) -> None:
        self._last: OrderedDict[Address, bytes | None] = OrderedDict()

    def note(self, source: Address, key: bytes | None) -> None:
        """A good packet came from there."""
        if self._last.get(source, b"") == key:
            return
        self._last[source] = key
        self._last.move_to_end(source)
        if len(self._last) > ADDRESSES_MAX:
            self._last.popitem(last=False)

    def key(self, source: Address) -> bytes | None:
        """The key of its last packet, None for plain text or silence."""
        return self._last.get(source)
