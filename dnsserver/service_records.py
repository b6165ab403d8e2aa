"""Records about the instances of a service.

An SRV target is the node's name when the address is the node's, otherwise a hex name, or the host
name that is given as address.
"""

from collections.abc import Callable
from dataclasses import dataclass

from dnsserver import records
from dnsserver.addressrow import AddressRow, encode_address_records
from dnsserver.directory import NodeAnswer
from dnsserver.node_records import is_asked_for, node_meta_records
from dnsserver.pool import MIXED_MAX, Location, Member, RandomOrder, ServicePool, Target
from dnsserver.records import Record, address_record, name_record, srv_record
from dnsserver.shuffling import Mixture
from dnsserver.writer import POINTER_BYTES, encode_address_data, encode_srv
from dnsserver.zones import Zone

SRV_BYTES_MIN = 18
"""Of an SRV record without its target, when its owner is compressed."""

TXT_BYTES_MIN = 13
"""Of a TXT record without its text, when its owner is compressed."""

_ALIAS_TYPES = frozenset({records.CNAME, records.A, records.AAAA})


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceLookup:
    """One look-up of a service by name, of any type.

    Drawing from it again gives other instances, or the same in another order.
    """

    pool: ServicePool
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
    """Of what a host name brings along; 0 is no limit."""
    adds_node_meta: bool

    @property
    def beginnings(self) -> int:
        """How many ways there are to begin an answer, all equally likely; 0: there is no answer."""
        row = self.row
        if row is not None:
            return len(row)
        count = len(self._drawn_from)
        return min(count, 1) if self.pool.is_ordered else count

    @property
    def may_alias(self) -> bool:
        """Whether an answer may bring along what is known of a host name."""
        drawn_from, hosts = self._drawn_from, self.pool.hosts
        return len(hosts) > 0 and (drawn_from is hosts or drawn_from is self.pool.members)

    @property
    def row(self) -> AddressRow | None:
        """What answers are stretches of: set when A or AAAA is asked and many addresses fit."""
        if self.type not in (records.A, records.AAAA) or self.pool.is_ordered:
            return None
        count = len(self.pool.ipv4 if self.type == records.A else self.pool.ipv6)
        if min(self.addresses_max, count) <= MIXED_MAX:
            return None
        return self.pool.address_row(self.type, self.ttl_s)

    @property
    def _drawn_from(self) -> RandomOrder[Member]:
        pool = self.pool
        match self.type:
            case records.SRV | records.ANY | records.TXT:
                return pool.members
            case records.A:
                return pool.ipv4 if len(pool.ipv4) else pool.hosts
            case records.AAAA:
                return pool.ipv6 if len(pool.ipv6) else pool.hosts
            case _:
                return pool.hosts

    def draw_addresses(self, first: int, mixture: Mixture) -> bytes:
        """Return address records, each address once, when A or AAAA is asked and there are any.

        Args:
            first: Where to begin, below `beginnings`; the rest follows as the mixture has it.
            mixture: Decides in which order.
        """
        limit, type_ = self.addresses_max, self.type
        row = self.row
        if row is not None:
            return row.stretch(first, min(limit, len(row)))
        found: dict[bytes, None] = {}
        for member in self._drawn_from.draw(first, mixture, wanted=limit):
            address = member.address_of(type_)
            assert address is not None, "only those with an address are drawn from"
            found[address] = None
            if len(found) == limit:
                break
        return encode_address_records(type_, self.ttl_s, list(found))

    def draw_targets(self, first: int, mixture: Mixture) -> tuple[list[Target], list[Record], bool]:
        """Return targets, each once, when SRV is asked and no target is a host name.

        Besides, what else there is to say about their nodes; and whether all of it is known to be
        too large. Then the rest is left out anyway, and once the targets alone are too large, no
        more of them are looked at. `first` and `mixture` are as above.
        """
        targets: dict[tuple[str, bytes, int], Target] = {}
        nodes: list[NodeAnswer] = []
        target_bytes = meta_bytes = 0
        bytes_max, answers_max = self.bytes_max, self.answers_max
        target_key = (self.zone.name, self.datacenter, self.ttl_s)
        for member in self.pool.members.draw(first, mixture, wanted=answers_max):
            if member.target_key != target_key:
                member.target_key, member.target = target_key, self._make_target(member)
            target = member.target
            if target is None or target.place in targets:
                continue
            targets[target.place] = target
            if self.adds_node_meta:
                nodes.append(member.instance.node)
                meta_bytes += target.meta_bytes
            target_bytes += len(target.srv) + len(target.address) + POINTER_BYTES
            if target_bytes > bytes_max or len(targets) >= answers_max:
                # No more are of use, and something will be left out.
                return list(targets.values()), [], True
        if target_bytes + meta_bytes > bytes_max:
            return list(targets.values()), [], True
        return list(targets.values()), self._metadata(nodes), False

    def _make_target(self, member: Member) -> Target | None:
        """Encode what an SRV answer has of a member, of which the type asked is no part."""
        packed = member.location(records.SRV).packed
        name = self._target(member, packed)
        if packed is None or name is None:
            return None
        instance = member.instance
        return Target(
            place=(instance.node.name, name, instance.port),
            name=name,
            srv=encode_srv(self.ttl_s, instance.weight, instance.port, name),
            address=encode_address_data(self.ttl_s, packed),
            meta_bytes=sum(TXT_BYTES_MIN + len(text) for text in instance.node.meta.values()),
        )

    def draw(
        self, first: int, mixture: Mixture, follow: Callable[[bytes], list[Record]]
    ) -> tuple[list[Record], list[Record]]:
        """Return answers and additional records; `follow` says what is known of a host name."""
        if self.type == records.SRV:
            return self._targets(first, mixture, follow)
        return self._addresses(first, mixture, follow), []

    @property
    def addresses_max(self) -> int:
        return min(self.answers_max, self.a_record_limit or self.answers_max)

    def _addresses(
        self, first: int, mixture: Mixture, follow: Callable[[bytes], list[Record]]
    ) -> list[Record]:
        """Return each address once; without any, an alias for the first host name."""
        found: dict[bytes, None] = {}
        alias: bytes | None = None
        limit = self.addresses_max
        for member in self._drawn_from.draw(first, mixture, wanted=limit):
            location = member.location(self.type)
            packed = self._packed(location)
            if packed is None:
                alias = alias or location.host
            elif is_asked_for(packed, self.type):
                found[packed] = None
                if len(found) >= limit:
                    break
        if found:
            return [address_record(self.name, packed, self.ttl_s) for packed in found]
        if alias is None:
            return []
        return [
            name_record(self.name, records.CNAME, self.ttl_s, alias),
            *self._brought_along(follow(alias)),
        ]

    def _targets(
        self, first: int, mixture: Mixture, follow: Callable[[bytes], list[Record]]
    ) -> tuple[list[Record], list[Record]]:
        answers: list[Record] = []
        additional: list[Record] = []
        nodes: list[NodeAnswer] = []
        seen: set[tuple[str, bytes, int]] = set()
        found_bytes = 0
        for member in self.pool.members.draw(first, mixture, wanted=self.answers_max):
            instance = member.instance
            packed = self._packed(member.location(self.type))
            target = self._target(member, packed)
            if target is None:
                continue
            place = (instance.node.name, target, instance.port)
            if place in seen:
                continue
            seen.add(place)
            answers.append(
                srv_record(
                    self.name,
                    self.ttl_s,
                    weight=instance.weight,
                    port=instance.port,
                    target=target,
                )
            )
            if packed is not None:
                additional.append(address_record(target, packed, self.ttl_s))
            else:
                additional += self._brought_along(follow(target))
            if self.adds_node_meta:
                nodes.append(instance.node)
            found_bytes += SRV_BYTES_MIN + len(target)
            if len(answers) >= self.answers_max or found_bytes > self.bytes_max:
                break
        return answers, additional + self._metadata(nodes)

    def _metadata(self, nodes: list[NodeAnswer]) -> list[Record]:
        found: list[Record] = []
        for node in nodes:
            if node.meta and (name := self.zone.node_name(node.name, self.datacenter)) is not None:
                found += node_meta_records(node, name, self.ttl_s)
        return found

    def _packed(self, location: Location) -> bytes | None:
        # An instance whose address is the very name that was asked: the node's address helps.
        # Differs from Consul, which compares letter case too and answers with a loop.
        if location.host is not None and location.host.lower() == self.name.lower():
            return location.node_packed
        return location.packed

    def _target(self, member: Member, packed: bytes | None) -> bytes | None:
        location = member.location(self.type)
        if packed is None:
            return location.host
        if location.is_node or location.packed is None:
            node_name = self.zone.node_name(member.instance.node.name, self.datacenter)
            if node_name is not None:
                return node_name
        return self.zone.address_name(packed, self.datacenter)

    def _brought_along(self, found: list[Record]) -> list[Record]:
        kept = [
            record._replace(ttl_s=self.ttl_s) for record in found if record.type in _ALIAS_TYPES
        ]
        return kept[: self.alias_records_max or None]
