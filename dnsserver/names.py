"""What a name inside a zone asks for.

    [TAG.]NAME.service[.DC]     instances of a service
    _NAME._TAG[.service][.DC]   the same as RFC 2782 writes it; `_tcp` stands for no tag, and
                                `service` may only be left out when SRV is asked
    NODE.node[.DC]              a node; its name may contain dots
    HEX.addr[.anything]         the address that is spelled in hex
    NAME.query[.DC]             what a prepared query selects; its name may contain dots
    NAME.connect|ingress        features that are not here: answered as unknown names

DC may be followed by the label `dc`, as later versions of Consul have it.

The rightmost keyword decides. `_udp` is a tag like any other, as in Consul.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from dnsserver import records
from dnsserver.addresses import address_of_hex
from dnsserver.labels import label_text

KEYWORDS = frozenset({b"service", b"node", b"addr", b"query", b"connect", b"ingress"})


@dataclass(frozen=True, slots=True)
class ServiceName:
    service: str
    tag: str | None
    datacenter: str | None


@dataclass(frozen=True, slots=True)
class NodeName:
    node: str
    datacenter: str | None


@dataclass(frozen=True, slots=True)
class AddressName:
    packed: bytes
    """4 or 16 bytes, or none: a name that exists and has no data."""


@dataclass(frozen=True, slots=True)
class QueryName:
    query: str
    datacenter: str | None


@dataclass(frozen=True, slots=True)
class UnbuiltName:
    """A name of a kind that would be looked up, and is never found."""


Name = ServiceName | NodeName | AddressName | QueryName | UnbuiltName


def parse_name(labels: Sequence[bytes], type_: int) -> Name | None:
    """Say what is asked by the labels before the zone, in lower case. None: an invalid name."""
    for at in range(len(labels) - 1, -1, -1):
        label = labels[at]
        if label in KEYWORDS:
            return _parse_kind(label, labels[:at], labels[at + 1 :])
        if type_ == records.SRV and label.startswith(b"_"):
            return _parse_kind(b"service", labels[: at + 1], labels[at + 1 :])
    return None


def _parse_kind(kind: bytes, before: Sequence[bytes], after: Sequence[bytes]) -> Name | None:
    if not before:
        return None
    if kind == b"addr":
        packed = address_of_hex(label_text(before[0])) if len(before) == 1 else None
        return None if packed is None else AddressName(packed)
    if len(after) == 2 and after[1] == b"dc":
        after = after[:1]
    if len(after) > 1:
        return None
    datacenter = label_text(after[0]) if after else None
    parts = [label_text(label) for label in before]
    if kind == b"node":
        return NodeName(".".join(parts), datacenter)
    if kind == b"service":
        return _parse_service(parts, datacenter)
    if kind == b"query":
        return QueryName(".".join(parts), datacenter)
    return UnbuiltName()


def _parse_service(parts: list[str], datacenter: str | None) -> ServiceName:
    match parts:
        case [name, tag] if name.startswith("_") and tag.startswith("_"):
            return ServiceName(name[1:], None if tag in ("_tcp", "_") else tag[1:], datacenter)
        case [name]:
            return ServiceName(name, None, datacenter)
        case _:
            return ServiceName(parts[-1], ".".join(parts[:-1]), datacenter)
