"""The instances that a service name stands for, kept ready to be drawn from.

The directory adds and removes instances one by one, at a cost that does not depend on their number;
an answer looks at no more of them than it takes. What an address means (IP or host name, own or the
node's) is worked out once, when an instance comes.
"""

from collections.abc import Hashable, Iterable, Iterator
from random import Random
from typing import Final, Generic, NamedTuple, TypeVar

from dnsserver.addresses import pack_address, preferred_address
from dnsserver.addressrow import ADDRESS_BYTES, AddressRow
from dnsserver.directory import ServiceAnswer, Stamp
from dnsserver.labels import encode_name
from dnsserver.records import AAAA, ANY, A
from dnsserver.shuffling import Mixture, rotated

MIXED_MAX: Final = 16
"""Items that are worth a decision each about their order."""

ROWS_MAX: Final = 4
"""Address rows of one pool: of A and AAAA, and of TTLs that prepared queries have."""

T = TypeVar("T")


class RandomOrder(Generic[T]):
    """A collection in random order, every order equally likely whatever came and went.

    Without `rng` it is in the order in which items were added; answers keep to it, and nothing can
    be removed.
    """

    __slots__ = ("_items", "_keys", "_places", "_rng")

    def __init__(self, rng: Random | None) -> None:
        self._rng = rng
        self._items: list[T] = []
        self._keys: list[Hashable] = []
        self._places: dict[Hashable, int] = {}

    def __len__(self) -> int:
        """The number of items."""
        return len(self._items)

    def __iter__(self) -> Iterator[T]:
        """Yield all items as they are kept."""
        return iter(self._items)

    def add(self, key: Hashable, item: T) -> None:
        """Add an item under a key that is not there yet."""
        count = len(self._items)
        at = count if self._rng is None else int(self._rng.random() * (count + 1))
        self._places[key] = at
        if at == len(self._items):
            self._items.append(item)
            self._keys.append(key)
            return
        self._places[self._keys[at]] = len(self._items)
        self._items.append(self._items[at])
        self._keys.append(self._keys[at])
        self._items[at], self._keys[at] = item, key

    def discard(self, key: Hashable) -> None:
        """Remove the item of this key, if there is one."""
        at = self._places.pop(key, None)
        if at is None:
            return
        assert self._rng is not None
        item, last_key = self._items.pop(), self._keys.pop()
        if at < len(self._items):
            self._items[at], self._keys[at] = item, last_key
            self._places[last_key] = at

    def draw(self, first: int, mixture: Mixture, *, wanted: int) -> Iterator[T]:
        """Yield all items: the one at `first`, then the others as `mixture` has them.

        When many are wanted it is always the same order, from `first` on: that is cheaper.
        """
        if self._rng is None:
            return iter(self._items)
        if min(wanted, len(self._items)) > MIXED_MAX:
            return rotated(self._items, first)
        return mixture.through(self._items, first)


class Location(NamedTuple):
    """Where an instance is found, for one type of query."""

    packed: bytes | None
    host: bytes | None
    """A host name in place of an address: set when `packed` is None, unless the name is no name."""
    is_node: bool
    """Whether the address is the one that the node's own name has."""
    node_packed: bytes | None
    """The node's address behind an instance's own host name."""


class Target(NamedTuple):
    """An SRV record and the address of its target, the parts that are the same in every answer."""

    place: tuple[str, bytes, int]
    """Node, target and port: instances that share them are one answer."""
    name: bytes
    """The target."""
    srv: bytes
    """The whole record; its owner is the name that was asked."""
    address: bytes
    """The record of the address, after its owner."""
    meta_bytes: int
    """What the node's metadata takes at least."""


class Member:
    """One instance of a pool, and where it is found when A, AAAA or anything else is asked."""

    __slots__ = ("_ipv4", "_ipv6", "_other", "instance", "target", "target_key")

    def __init__(self, instance: ServiceAnswer) -> None:
        self.instance = instance
        self._ipv4 = self._ipv6 = self._other = _locate(instance, ANY)
        if _is_tagged(instance):
            self._ipv4, self._ipv6 = _locate(instance, A), _locate(instance, AAAA)
        self.target_key: tuple[bytes, str, int] | None = None
        """Zone, data center and TTL for which `target` was made."""
        self.target: Target | None = None

    def location(self, type_: int) -> Location:
        """Return where the instance is for a query of this type."""
        if type_ == A:
            return self._ipv4
        return self._ipv6 if type_ == AAAA else self._other

    def address_of(self, type_: int) -> bytes | None:
        """Return the packed address to answer A or AAAA with, if there is one."""
        packed = self.location(type_).packed
        return packed if packed is not None and len(packed) == ADDRESS_BYTES[type_] else None

    @property
    def has_host(self) -> bool:
        """Whether a host name stands in place of an address for some type."""
        return any(place.host is not None for place in (self._ipv4, self._ipv6, self._other))


class ServicePool:
    """The instances of a service, with a tag or all of them, that may be answered.

    `rng` decides the order in which they are kept; without it answers are in the order in which
    they came. A pool that is not complete gives answers that nobody should keep.
    """

    __slots__ = (
        "_by_key",
        "_rng",
        "_rows",
        "hosts",
        "ipv4",
        "ipv6",
        "is_complete",
        "members",
        "stamp",
    )

    def __init__(self, rng: Random | None) -> None:
        self._rng = rng
        self.members: RandomOrder[Member] = RandomOrder(rng)
        self.ipv4: RandomOrder[Member] = RandomOrder(rng)
        """Those with an address for A."""
        self.ipv6: RandomOrder[Member] = RandomOrder(rng)
        self.hosts: RandomOrder[Member] = RandomOrder(rng)
        """Those with a host name in place of an address, for some type of query."""
        self._by_key: dict[Hashable, Member] = {}
        """All of them, in the order in which they came."""
        self._rows: dict[tuple[int, int], AddressRow] = {}
        """By type and TTL, the oldest first."""
        self.is_complete = True
        self.stamp = Stamp()

    @classmethod
    def of(cls, instances: Iterable[ServiceAnswer], rng: Random | None) -> "ServicePool":
        """Return a pool of instances that are all known; without `rng` their order is kept."""
        pool = cls(rng)
        for key, instance in enumerate(instances):
            pool.put(key, instance)
        return pool

    def __len__(self) -> int:
        """The number of instances."""
        return len(self.members)

    def address_row(self, type_: int, ttl_s: int) -> AddressRow:
        """Return the records for A or AAAA; only a pool in random order has them ready."""
        row = self._rows.get((type_, ttl_s))
        if row is None:
            assert self._rng is not None
            if len(self._rows) >= ROWS_MAX:
                del self._rows[next(iter(self._rows))]
            members = self.ipv4 if type_ == A else self.ipv6
            found = [member.address_of(type_) for member in members]
            addresses = [address for address in found if address is not None]
            row = self._rows[type_, ttl_s] = AddressRow(type_, ttl_s, addresses, self._rng)
        return row

    @property
    def is_ordered(self) -> bool:
        """Whether answers keep the order of the instances."""
        return self._rng is None

    def renew(self) -> None:
        """End the answers that were made from it, although it stays as it is."""
        self.stamp.is_current = False
        self.stamp = Stamp()

    def instances(self) -> tuple[ServiceAnswer, ...]:
        """Return all instances, in the order in which they came."""
        return tuple(member.instance for member in self._by_key.values())

    def put(self, key: Hashable, instance: ServiceAnswer) -> None:
        """Add an instance, or replace the one of this key; nothing happens when it is the same."""
        old = self._by_key.get(key)
        if old is not None:
            if old.instance == instance:
                return
            self.discard(key)
        member = self._by_key[key] = Member(instance)
        self.members.add(key, member)
        if member.address_of(A) is not None:
            self.ipv4.add(key, member)
        if member.address_of(AAAA) is not None:
            self.ipv6.add(key, member)
        if member.has_host:
            self.hosts.add(key, member)
        for (type_, _), row in self._rows.items():
            if (address := member.address_of(type_)) is not None:
                row.add(address)
        self.renew()

    def discard(self, key: Hashable) -> None:
        """Remove an instance, if it is there."""
        member = self._by_key.pop(key, None)
        if member is None:
            return
        for collection in (self.members, self.ipv4, self.ipv6, self.hosts):
            collection.discard(key)
        for (type_, _), row in self._rows.items():
            if (address := member.address_of(type_)) is not None:
                row.discard(address)
        self.renew()


def _is_tagged(instance: ServiceAnswer) -> bool:
    """Say whether the address may depend on the type of the query."""
    if instance.lan_ipv4 or instance.lan_ipv6:
        return True
    node = instance.node
    # The node's address is looked at even when the instance has one of its own: that may be a name.
    return not node.address == (node.lan_ipv4 or node.address) == (node.lan_ipv6 or node.address)


def _locate(instance: ServiceAnswer, type_: int) -> Location:
    """Find an instance at its own address, or else at its node's."""
    address = preferred_address(instance.address, instance.lan_ipv4, instance.lan_ipv6, type_)
    packed = pack_address(address)
    if packed is not None:
        return Location(packed, None, is_node=False, node_packed=None)
    node = instance.node
    node_address = preferred_address(node.address, node.lan_ipv4, node.lan_ipv6, type_)
    node_packed = pack_address(node_address)
    if not address and node_packed is not None:
        is_node = node_address == node.address
        return Location(node_packed, None, is_node=is_node, node_packed=None)
    name = address or node_address
    host = encode_name(name) if name else None
    return Location(None, host, is_node=False, node_packed=node_packed)
