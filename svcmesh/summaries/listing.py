"""Every service of every data center, from the summaries and our own counts."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from svcmesh.errors import DecodeError
from svcmesh.summaries.counting import ServiceCount
from svcmesh.summaries.table import Entry

SERVICES_MAX: Final = 200_000
PLACES_MAX: Final = 1024
"""Data centers of one service; more than that is no answer."""


class Place(NamedTuple):
    """A data center that has instances of a service."""

    datacenter: str
    instances: int
    healthy: int
    version: int
    """The publisher's wall clock, ms, when this was last otherwise; 0 if not published."""


class GlobalService(NamedTuple):
    """One service, by its name in lower case, wherever it is."""

    name: str
    places: tuple[Place, ...]


def global_services(
    said: Iterable[tuple[str, Mapping[str, Entry]]], own: str, counts: Mapping[str, ServiceCount]
) -> list[GlobalService]:
    """Services by name, with their data centers in the order of `said`.

    `said` has what each data center says, in the order in which they are wanted; of our `own` data
    center `counts` are newer. Tens of milliseconds for twenty thousand services.
    """
    places: dict[str, list[Place]] = {}
    for datacenter, entries in said:
        if datacenter == own:
            for name, count in counts.items():
                entry = entries.get(name)
                version = 0 if entry is None else entry.version
                places.setdefault(name, []).append(Place(datacenter, *count, version))
            continue
        for name, (instances, healthy, version, _) in entries.items():
            if instances:
                place = Place(datacenter, instances, healthy, version)
                places.setdefault(name, []).append(place)
    return [GlobalService(name, tuple(places[name])) for name in sorted(places)]


def pack_services(services: Iterable[GlobalService]) -> list[Any]:
    """In the form that agents exchange: [[name, [[data center, numbers, ...], ...]], ...]."""
    return [[one.name, [list(place) for place in one.places]] for one in services]


def unpack_services_untrusted(value: object) -> list[GlobalService]:
    """What another agent said.

    Raises:
        DecodeError: It is not of that form.
    """
    if not isinstance(value, list) or len(value) > SERVICES_MAX:
        raise DecodeError("services", "expected a list")
    return [_unpack_service_untrusted(one) for one in value]


def _unpack_service_untrusted(value: object) -> GlobalService:
    match value:
        case [str() as name, list() as places] if len(places) <= PLACES_MAX:
            return GlobalService(name, tuple(map(_unpack_place_untrusted, places)))
        case _:
            raise DecodeError("services", "expected a name and data centers")


def _unpack_place_untrusted(value: object) -> Place:
    match value:
        case [str() as datacenter, int() as instances, int() as healthy, int() as version]:
            return Place(datacenter, instances, healthy, version)
        case _:
            raise DecodeError("services", "expected a data center and its counts")
