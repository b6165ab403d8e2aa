"""Records about one node: its address and its metadata."""

import re
from collections.abc import Callable

from dnsserver import records
from dnsserver.addresses import pack_address, preferred_address
from dnsserver.directory import NodeAnswer
from dnsserver.labels import encode_name
from dnsserver.records import Record, address_record, name_record, txt_record

VALUE_ONLY_PREFIX = "rfc1035-"
"""Metadata keys with this prefix, in any letter case, are sent as their value alone."""

_IPV4_TYPES = frozenset({records.A, records.ANY, records.SRV, records.TXT})
_IPV6_TYPES = frozenset({records.AAAA, records.ANY, records.SRV, records.TXT})
_OUTER_SPACE = re.compile(r"^ +| +$")


def is_asked_for(packed: bytes, type_: int) -> bool:
    """Say whether a query of this type is answered with this address. TXT is, as in Consul."""
    return type_ in (_IPV4_TYPES if len(packed) == 4 else _IPV6_TYPES)


def node_address_records(
    node: NodeAnswer,
    name: bytes,
    type_: int,
    ttl_s: int,
    follow: Callable[[bytes], list[Record]],
) -> list[Record]:
    """Return the node's address, or an alias and what `follow` knows about its target."""
    address = preferred_address(node.address, node.lan_ipv4, node.lan_ipv6, type_)
    packed = pack_address(address)
    if packed is not None:
        return [address_record(name, packed, ttl_s)] if is_asked_for(packed, type_) else []
    target = encode_name(node.address) if node.address else None
    if target is None:
        return []
    return [name_record(name, records.CNAME, ttl_s, target), *follow(target)]


def node_meta_records(node: NodeAnswer, name: bytes, ttl_s: int) -> list[Record]:
    """Return the node's metadata as TXT records."""
    return [txt_record(name, ttl_s, meta_text(key, value)) for key, value in node.meta.items()]


def meta_text(key: str, value: str) -> str:
    """Return one entry as RFC 1464 writes an attribute: "`" quotes itself, "=" and outer spaces."""
    if key.lower().startswith(VALUE_ONLY_PREFIX):
        return value
    quoted = key.replace("`", "``").replace("=", "`=")
    quoted = _OUTER_SPACE.sub(lambda spaces: "` " * len(spaces[0]), quoted)
    return f"{quoted}={value.replace('`', '``')}"
