"""What the consistent store holds: entries of the key/value store, and sessions."""

from typing import Any, Final, NamedTuple

VALUE_BYTES_MAX = 512 * 1024

Packed = list[Any]
"""What msgpack carries."""


class KvEntry(NamedTuple):
    """One key. Replaced whole, never changed: a frozen state may share it."""

    key: str
    value: bytes
    flags: int = 0
    """Opaque to us, 64 bits."""
    lock_index: int = 0
    """How often the key was locked: a fencing token while it is."""
    session: str = ""
    """The session that holds the lock; empty: none."""
    create_index: int = 0
    modify_index: int = 0

    def pack(self) -> Packed:
        """As a list, in the order of the fields."""
        return list(self)


Row = tuple[str, bytes, int, int, str, int, int]
"""An entry's fields, as they are kept: the garbage collector goes over a named tuple in every full
pass, and over this in none, which with a million of them is the longest that the loop stands."""

SESSION: Final = 4
MODIFY_INDEX: Final = 6
"""Where they stand in a row."""


class Session(NamedTuple):
    """Somebody's claim to be alive: locks last as long as it does."""

    id: str
    name: str
    node: str
    node_checks: tuple[str, ...]
    """Checks of the node that end it when they turn critical."""
    service_checks: tuple[tuple[str, str], ...]
    """(check id, namespace) of checks of services, likewise."""
    lock_delay_ns: int
    """How long a key that it held cannot be locked when it ends otherwise than by leave."""
    behavior: str
    """"release" or "delete": what becomes of the keys that it holds."""
    ttl: str
    """A duration as it was given; empty: none."""
    create_index: int = 0
    modify_index: int = 0
    older_checks: tuple[str, ...] = ()
    """Those given in the older field `Checks`, which shows them again: they end it too."""

    @property
    def check_ids(self) -> tuple[str, ...]:
        """All checks that end it when they turn critical."""
        of_services = (check for check, _ in self.service_checks)
        return (*self.node_checks, *self.older_checks, *of_services)

    def pack(self) -> Packed:
        """As a list, in the order of the fields; without the last one if it is empty."""
        packed = list(self)
        return packed if self.older_checks else packed[:-1]

    @classmethod
    def unpack(cls, packed: Packed) -> "Session":
        """From `pack`, as this program wrote it."""
        # One without older checks may be of a version that did not keep them apart.
        fields = packed if len(packed) == len(cls._fields) else (*packed, ())
        id_, name, node, node_checks, service_checks, *rest, older_checks = fields
        of_services = tuple((check, namespace) for check, namespace in service_checks)
        before = (id_, name, node, tuple(node_checks), of_services)
        return cls._make((*before, *rest, tuple(older_checks)))
