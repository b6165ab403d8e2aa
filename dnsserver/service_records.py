"""Records about the instances of a service.

An instance is found at its own address, or else at its node's. An SRV target is the node's name
when the address is the node's, otherwise a hex name, or the host name that is given as address.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from dnsserver import records
from dnsserver.addresses import pack_address, preferred_address
from dnsserver.directory import ServiceAnswer
from dnsserver.labels import encode_name
from dnsserver.node_records import is_asked_for, node_meta_records
from dnsserver.records import Record, address_record, name_record, srv_record
from dnsserver.shuffling import shuffled
from dnsserver.zones import Zone

SRV_BYTES_MIN = 18
"""Of an SRV record without its target, when its owner is compressed."""

_ALIAS_TYPES = frozenset({records.CNAME, records.A, records.AAAA})


class _Location(NamedTuple):
    packed: bytes | None
    host: bytes | None
    """Set when there is no IP."""
    is_node: bool
    """Whether the address is the one that the node's own name has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceLookup:
    """One look-up of a service by name, of any type."""

    name: bytes
    """As asked; owner of the answers."""
    type: int
    ttl_s: int
    zone: Zone
    datacenter: str
    answers_max: int
    """Stop when this many answers are found."""
    bytes_max: int
    """Stop when targets and their records are larger than this."""
    a_record_limit: int
    """The same for addresses, as configured; 0 is no limit."""
    alias_records_max: int
    """Of what a host name in our zones brings along; 0 is no limit."""
    adds_node_meta: bool
    follow: Callable[[bytes], list[Record]]
    """What our own zones say about a host name."""

    def run(
        self, instances: Sequence[ServiceAnswer], rng: Random
    ) -> tuple[list[Record], list[Record]]:
        """Return answers in random order, and additional records."""
        if self.type == records.SRV:
            return self._targets(instances, rng)
        return self._addresses(instances, rng), []

    def _addresses(self, instances: Sequence[ServiceAnswer], rng: Random) -> list[Record]:
        """Return each address once; without any, an alias for the first host name."""
        answers: list[Record] = []
        seen: set[bytes] = set()
        alias: bytes | None = None
        limit = min(self.answers_max, self.a_record_limit or self.answers_max)
        for instance in shuffled(instances, rng):
            location = self._locate(instance)
            packed = location.packed
            if packed is None:
                alias = alias or location.host
            elif packed not in seen and is_asked_for(packed, self.type):
                seen.add(packed)
                answers.append(address_record(self.name, packed, self.ttl_s))
                if len(answers) >= limit:
                    break
        if answers or alias is None:
            return answers
        return [name_record(self.name, records.CNAME, self.ttl_s, alias), *self._follow(alias)]

    def _targets(
        self, instances: Sequence[ServiceAnswer], rng: Random
    ) -> tuple[list[Record], list[Record]]:
        answers: list[Record] = []
        additional: list[Record] = []
        seen: set[tuple[str, str, int]] = set()
        found_bytes = 0
        for instance in shuffled(instances, rng):
            address = preferred_address(
                instance.address, instance.lan_ipv4, instance.lan_ipv6, self.type
            )
            place = (instance.node.name, address, instance.port)
            if place in seen:
                continue
            seen.add(place)
            location = self._locate(instance)
            target = self._target(instance, location)
            if target is None:
                continue
            answers.append(
                srv_record(
                    self.name,
                    self.ttl_s,
                    weight=instance.weight,
                    port=instance.port,
                    target=target,
                )
            )
            if location.packed is not None:
                additional.append(address_record(target, location.packed, self.ttl_s))
            else:
                additional += self._follow(target)
            if self.adds_node_meta and instance.node.meta:
                node_name = self.zone.node_name(instance.node.name, self.datacenter)
                if node_name is not None:
                    additional += node_meta_records(instance.node, node_name, self.ttl_s)
            found_bytes += SRV_BYTES_MIN + len(target)
            if len(answers) >= self.answers_max or found_bytes > self.bytes_max:
                break
        return answers, additional

    def _locate(self, instance: ServiceAnswer) -> _Location:
        address = preferred_address(
            instance.address, instance.lan_ipv4, instance.lan_ipv6, self.type
        )
        packed = pack_address(address)
        if packed is not None:
            return _Location(packed, None, is_node=False)
        node = instance.node
        node_address = preferred_address(node.address, node.lan_ipv4, node.lan_ipv6, self.type)
        node_packed = pack_address(node_address)
        host = encode_name(address or node_address)
        if address and node_packed is not None and host is not None:
            # An instance whose address is the very name that was asked: the node's address helps.
            # Differs from Consul, which compares letter case too and answers with a loop.
            if host.lower() == self.name.lower():
                return _Location(node_packed, None, is_node=True)
        elif not address and node_packed is not None:
            return _Location(node_packed, None, is_node=node_address == node.address)
        return _Location(None, host if address or node_address else None, is_node=False)

    def _target(self, instance: ServiceAnswer, location: _Location) -> bytes | None:
        if location.packed is None:
            return location.host
        if location.is_node:
            node_name = self.zone.node_name(instance.node.name, self.datacenter)
            if node_name is not None:
                return node_name
        return self.zone.address_name(location.packed, self.datacenter)

    def _follow(self, target: bytes) -> list[Record]:
        found = [
            record._replace(ttl_s=self.ttl_s)
            for record in self.follow(target)
            if record.type in _ALIAS_TYPES
        ]
        return found[: self.alias_records_max or None]
