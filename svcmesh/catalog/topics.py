"""What a blocking query can wait for. Who waits is kept by `svcmesh.watches`.

A topic names the part of the catalog that an answer was made from. The view keeps an index for
each and wakes the watches of the topics that a change touches, so a watch of `web` sleeps through
changes of `db`.
"""

from enum import StrEnum
from typing import NamedTuple

from svcmesh import watches


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
    QUERIES = "queries"
    """The prepared queries."""


class Topic(NamedTuple):
    """A part of the catalog; `key` is a node or service name in lower case, or empty."""

    part: Part
    key: str = ""


NODES = Topic(Part.NODES)
SERVICES = Topic(Part.SERVICES)
CHECKS = Topic(Part.CHECKS)
COORDINATES = Topic(Part.COORDINATES)
QUERIES = Topic(Part.QUERIES)


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


Watch = watches.Watch[Topic]
Watches = watches.WatchRegistry[Topic]
