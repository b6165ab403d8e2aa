"""Key management: asking the whole pool, and doing what the pool asks of us (10.13)."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from gossip.errors import DecodeError
from gossip.serf.events import KeyOperation
from gossip.serf.keys import failed, key_text, perform
from gossip.types import MemberName
from gossip.wire.crypto import Keyring
from gossip.wire.messages import KeyResponse
from gossip.wire.serf import decode_serf_untrusted

SaveKeys = Callable[[Sequence[bytes]], Awaitable[None]]
"""Makes a changed keyring durable, the primary key first; raises OSError if that fails."""

KEY_MISSING: Final = "the key is not in the keyring"


@dataclass(slots=True)
class KeyReport:
    """What came of a key operation, member by member."""

    members: int
    """How many were asked: those present."""
    answers: int = 0
    failures: dict[MemberName, str] = field(default_factory=dict)
    """Who could not do it, and why."""
    notes: dict[MemberName, str] = field(default_factory=dict)
    """What those said that could, if anything."""
    keys_of: dict[MemberName, tuple[str, ...]] = field(default_factory=dict)
    """On a list: the keys of each member, in base64."""
    primary_keys: dict[str, int] = field(default_factory=dict)
    """On a list: how many members encrypt with each key."""

    @property
    def keys(self) -> dict[str, int]:
        """On a list: how many members have each key."""
        return Counter(key for keys in self.keys_of.values() for key in keys)

    @property
    def silent(self) -> int:
        """How many did not answer in time."""
        return max(0, self.members - self.answers)

    @property
    def is_complete(self) -> bool:
        """Whether every member did it."""
        return not self.failures and self.answers >= self.members

    def lacking(self, key: bytes) -> list[MemberName]:
        """On a list: who does not have `key`, as far as its list was complete."""
        text = key_text(key)
        return [
            member
            for member, keys in self.keys_of.items()
            if text not in keys and member not in self.notes
        ]

    def take_untrusted(self, member: MemberName, payload: bytes) -> None:
        """Count one member's answer."""
        self.answers += 1
        try:
            response = decode_serf_untrusted(payload)
        except DecodeError as error:
            self.failures[member] = f"the answer is not readable: {error}"
            return
        if not isinstance(response, KeyResponse):
            self.failures[member] = "the answer is none to a key query"
            return
        if not response.result:
            self.failures[member] = response.message
        elif response.message:
            self.notes[member] = response.message
        if response.keys:
            self.keys_of[member] = response.keys
        if response.primary_key:
            primary = response.primary_key
            self.primary_keys[primary] = self.primary_keys.get(primary, 0) + 1


async def perform_durably(
    keyring: Keyring | None, operation: KeyOperation, key: bytes, save: SaveKeys | None
) -> KeyResponse:
    """Carry out an operation on our keyring; success means that it is durable."""
    before = () if keyring is None else keyring.keys
    response = perform(keyring, operation, key)
    if keyring is None or save is None or keyring.keys == before:
        return response
    try:
        await save(keyring.keys)
    except OSError as error:
        keyring.restore(before)
        return failed(f"the keyring could not be saved: {error}")
    return response
