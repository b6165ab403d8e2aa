"""What an agent has, as numbers that two agents can compare: one for all, one for each bucket.

An item is an origin's own log, an external log, or the content of the external space; its value
covers version and content. Sums modulo 2^64 make a change cost one item, not all of them.
"""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final, NamedTuple

from svcmesh.catalog.log import HASH_MASK, Origin

BUCKETS: Final = 128


class Item(NamedTuple):
    """What a value stands for. Own logs are one item a node: `epoch` 0."""

    is_external: bool
    node_id: str
    epoch: int


def _hash(text: str) -> int:
    digest = blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8)
    return int.from_bytes(digest.digest(), "big")


def item_value(origin: Origin, through: int, content: int) -> int:
    """64 bits for one origin at one version with one content."""
    return _hash(f"{origin.node_id}\0{origin.epoch}\0{through}\0{content}")


class Digest:
    """Sums of item values. Invariant: the total is the sum of the buckets."""

    def __init__(self) -> None:
        self.total = 0
        self.buckets = [0] * BUCKETS
        self._values: list[dict[Item, int]] = [{} for _ in range(BUCKETS)]

    def put(self, item: Item, value: int) -> None:
        """Set an item's value."""
        bucket = bucket_of(item)
        self._shift(bucket, value - self._values[bucket].get(item, 0))
        self._values[bucket][item] = value

    def drop(self, item: Item) -> None:
        """Leave an item out."""
        bucket = bucket_of(item)
        self._shift(bucket, -self._values[bucket].pop(item, 0))

    def items(self, bucket: int) -> Iterable[Item]:
        """What is summed up in a bucket."""
        return self._values[bucket]

    def _shift(self, bucket: int, difference: int) -> None:
        self.buckets[bucket] = (self.buckets[bucket] + difference) & HASH_MASK
        self.total = (self.total + difference) & HASH_MASK


def bucket_of(item: Item) -> int:
    """Where an item belongs, the same on every agent."""
    return _hash(f"{item.node_id}\0{item.epoch}") % BUCKETS
