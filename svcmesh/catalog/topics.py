"""What a blocking query can wait for, and who is waiting. No I/O: a waiter is a callback.

A topic names the part of the catalog that an answer was made from. The view keeps an index for
each and wakes the watches of the topics that a change touches, so a watch of `web` sleeps through
changes of `db`.
"""

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import NamedTuple


class Part(StrEnum):
    """Parts of the catalog that are watched."""

    NODES = "nodes"
    """The list of nodes and their own fields."""
    SERVICES = "services"
    """The list of service names and their tags."""
    CHECKS = "checks"
    """All checks of all nodes."""
    NODE = "node"
    """One node and its services."""
    NODE_CHECKS = "node-checks"
    """The checks of one node and of its services."""
    SERVICE = "service"
    """The instances of one service, with the nodes they run on."""
    SERVICE_CHECKS = "service-checks"
    """The checks that decide on the health of one service's instances."""
    COORDINATES = "coordinates"
    """Where the nodes are in the network."""


class Topic(NamedTuple):
    """A part of the catalog; `key` is a node or service name in lower case, or empty."""

    part: Part
    key: str = ""


NODES = Topic(Part.NODES)
SERVICES = Topic(Part.SERVICES)
CHECKS = Topic(Part.CHECKS)
COORDINATES = Topic(Part.COORDINATES)


def node_topic(name: str) -> Topic:
    """One node and its services."""
    return Topic(Part.NODE, name.lower())


def node_checks_topic(name: str) -> Topic:
    """The checks of one node and of its services."""
    return Topic(Part.NODE_CHECKS, name.lower())


def service_topic(name: str) -> Topic:
    """The instances of one service."""
    return Topic(Part.SERVICE, name.lower())


def service_checks_topic(name: str) -> Topic:
    """The checks of one service's instances and of their nodes."""
    return Topic(Part.SERVICE_CHECKS, name.lower())


class Watch:
    """One waiter. `on_change` is called once, at the first change of one of the topics."""

    __slots__ = ("on_change", "topics")

    def __init__(self, topics: tuple[Topic, ...], on_change: Callable[[], None]) -> None:
        self.topics, self.on_change = topics, on_change


class WatchRegistry:
    """Watches by topic. A watch that has fired or was cancelled is forgotten."""

    __slots__ = ("_by_topic", "_waiting")

    def __init__(self) -> None:
        self._by_topic: dict[Topic, dict[Watch, None]] = {}
        self._waiting: set[Watch] = set()

    def __len__(self) -> int:
        """The number of watches that wait."""
        return len(self._waiting)

    def add(self, topics: Iterable[Topic], on_change: Callable[[], None]) -> Watch:
        """Call `on_change` once, at the first change of any of `topics`."""
        watch = Watch(tuple(topics), on_change)
        self._waiting.add(watch)
        for topic in watch.topics:
            self._by_topic.setdefault(topic, {})[watch] = None
        return watch

    def cancel(self, watch: Watch) -> None:
        """Forget a watch; one that has fired already is fine."""
        self._waiting.discard(watch)
        for topic in watch.topics:
            waiting = self._by_topic.get(topic)
            if waiting is None:
                continue
            waiting.pop(watch, None)
            if not waiting:
                del self._by_topic[topic]

    def fire(self, topics: Iterable[Topic]) -> None:
        """Call the watches of `topics`, each once, in the order in which they were added."""
        fired: dict[Watch, None] = {}
        for topic in topics:
            fired.update(self._by_topic.get(topic, {}))
        for watch in fired:
            self.cancel(watch)
        for watch in fired:
            watch.on_change()
