"""NS records: the alive servers."""

import re
from collections.abc import Sequence
from random import Random

from dnsserver.addresses import pack_address
from dnsserver.directory import ServerAnswer
from dnsserver.labels import encode_name
from dnsserver.records import CNAME, NS, Record, address_record, name_record
from dnsserver.shuffling import shuffled
from dnsserver.zones import Zone

NAMESERVERS_MAX = 3

_HOST_LABEL = re.compile(r"[a-z0-9-]+")


def nameserver_records(
    servers: Sequence[ServerAnswer], zone: Zone, datacenter: str, ttl_s: int, rng: Random
) -> tuple[list[Record], list[Record]]:
    """Return NS records for some of the servers and the records with their addresses.

    A server whose node name is no host label is left out, as in Consul.
    """
    nameservers: list[Record] = []
    glue: list[Record] = []
    for server in shuffled(servers, rng):
        node = server.node.lower()
        name = zone.node_name(node, datacenter) if _HOST_LABEL.fullmatch(node) else None
        if name is None:
            continue
        nameservers.append(name_record(zone.name, NS, ttl_s, name))
        packed = pack_address(server.address)
        if packed is not None:
            glue.append(address_record(name, packed, ttl_s))
        elif (host := encode_name(server.address)) is not None:
            glue.append(name_record(name, CNAME, ttl_s, host))
        if len(nameservers) == NAMESERVERS_MAX:
            break
    return nameservers, glue
