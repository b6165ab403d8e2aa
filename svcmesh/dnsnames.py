"""What DNS in one data center is told of names in another, as it is carried between them.

| asked | answer |
| --- | --- |
| [service, tag or null, version, seconds to wait] | [version, instances] |
| [node, null, version, seconds to wait] | [version, node or null] |

A node is [name, address, metadata, `lan_ipv4`, `lan_ipv6`], an instance [node, service, address,
port, weight, tags, `lan_ipv4`, `lan_ipv6`, whether every check passes]. A version is a text that
means something to the server that gave it. Whoever asks with one gets the answer when what was
asked for has changed since, or the time is over; at once from another server, or with an empty one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from dnsserver.directory import NodeAnswer, ServiceAnswer
from svcmesh.catalog.health import instance_status, is_passing
from svcmesh.catalog.records import HealthStatus
from svcmesh.catalog.view_rows import NodeRow, ServiceRow
from svcmesh.errors import DecodeError

SERVICE: Final = "names.service"
NODE: Final = "names.node"
"""Methods that servers offer to other data centers."""

INSTANCES_MAX: Final = 1024
"""Of a service with more, other data centers are told of so many, chosen at random."""
UNKNOWN_STATUS_WEIGHT: Final = 1
WEIGHT_MAX: Final = 65535
VERSION_LENGTH_MAX: Final = 64

LAN_IPV4: Final = "lan_ipv4"
LAN_IPV6: Final = "lan_ipv6"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RemoteInstance:
    """An instance that no critical check excludes."""

    answer: ServiceAnswer
    is_passing: bool


def pack_node(row: NodeRow) -> list[Any]:
    """A node, to be carried."""
    record = row.body
    tagged = record.tagged_addresses
    lan = [tagged.get(LAN_IPV4, ""), tagged.get(LAN_IPV6, "")]
    return [row.name, record.address, dict(record.meta), *lan]


def pack_instance(row: ServiceRow) -> list[Any] | None:
    """An instance, to be carried; None when a critical check excludes it."""
    record = row.record
    status = instance_status(row)
    if status is HealthStatus.CRITICAL:
        return None
    weight = UNKNOWN_STATUS_WEIGHT
    if status is not None:
        is_warning = status is HealthStatus.WARNING
        weight = record.weight_warning if is_warning else record.weight_passing
    tagged = record.tagged_addresses
    lan = ["" if (one := tagged.get(tag)) is None else one.address for tag in (LAN_IPV4, LAN_IPV6)]
    return [
        pack_node(row.node), record.name, record.address, record.port, weight, list(record.tags),
        *lan, is_passing(row),
    ]  # fmt: skip


def unpack_service_untrusted(answer: object) -> tuple[str, Sequence[RemoteInstance]]:
    """The version and the instances of an answer.

    Raises:
        DecodeError: It is none.
    """
    return _unpack(answer, lambda packed: [_instance(one) for one in _list(packed)])


def unpack_node_untrusted(answer: object) -> tuple[str, NodeAnswer | None]:
    """The version and the node of an answer.

    Raises:
        DecodeError: It is none.
    """
    return _unpack(answer, lambda packed: None if packed is None else _node(packed))


def _unpack(answer: object, unpack: Callable[[object], T]) -> tuple[str, T]:
    match answer:
        case [str() as version, packed] if len(version) <= VERSION_LENGTH_MAX:
            return version, unpack(packed)
        case _:
            raise DecodeError("dns-names", "expected [version, ...]")


def _list(packed: object) -> list[object]:
    if not isinstance(packed, list) or len(packed) > INSTANCES_MAX:
        raise DecodeError("dns-names", "expected a list of instances")
    return packed


def _node(packed: object) -> NodeAnswer:
    match packed:
        case [
            str() as name, str() as address, dict() as meta, str() as lan_ipv4, str() as lan_ipv6,
        ] if all(isinstance(text, str) for item in meta.items() for text in item):  # fmt: skip
            return NodeAnswer(name, address, meta, lan_ipv4, lan_ipv6)
        case _:
            raise DecodeError("dns-names", "expected a node")


def _instance(packed: object) -> RemoteInstance:
    match packed:
        case [
            node, str() as service, str() as address, int() as port, int() as weight,
            list() as tags, str() as lan_ipv4, str() as lan_ipv6, bool() as passes,
        ] if (
            0 <= port <= WEIGHT_MAX
            and 0 <= weight <= WEIGHT_MAX
            and all(isinstance(tag, str) for tag in tags)
        ):  # fmt: skip
            answer = ServiceAnswer(
                _node(node), service, address, port, weight, tuple(tags), lan_ipv4, lan_ipv6
            )
            return RemoteInstance(answer, passes)
        case _:
            raise DecodeError("dns-names", "expected an instance")
