"""From a question and the directory to the records of the response, as Consul answers.

How the records become bytes and what is left out when they do not fit is `message.py`'s business.
"""

from dataclasses import dataclass, field, replace
from random import Random
from typing import assert_never

from dnsserver import records
from dnsserver.addresses import address_of_reverse
from dnsserver.config import DnsConfig, ServiceTtls
from dnsserver.directory import Directory, NodeAnswer
from dnsserver.labels import split_labels
from dnsserver.names import AddressName, NodeName, ServiceName, UnbuiltName, parse_name
from dnsserver.nameservers import nameserver_records
from dnsserver.node_records import node_address_records, node_meta_records
from dnsserver.records import Record, address_record, name_record
from dnsserver.service_records import ServiceLookup
from dnsserver.zones import Zone, Zones

ALIAS_DEPTH_MAX = 3
"""How many aliases in a row are followed inside our own zones."""


@dataclass(slots=True)
class Answer:
    """The sections of a response."""

    rcode: int = records.NOERROR
    is_authoritative: bool = True
    has_recursion: bool = False
    has_edns: bool = True
    """Whether the client's EDNS0 is answered with ours."""
    is_of_service: bool = False
    """Whether a small response is limited to a number of answers."""
    answers: list[Record] = field(default_factory=list)
    authority: list[Record] = field(default_factory=list)
    additional: list[Record] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and how much of an answer is of use."""

    name: bytes
    type: int
    answers_max: int
    """No more answers than this need to be found."""
    bytes_max: int
    """Nor more than fill a message of this size."""
    alias_records_max: int
    """No more records than this are brought along for a host name in our zones; 0: no limit."""
    serial: int
    """For the SOA."""


class Answerer:
    """Answers questions about a directory. `rng` decides the order of instances."""

    def __init__(self, directory: Directory, config: DnsConfig, rng: Random) -> None:
        self._directory, self._config, self._rng = directory, config, rng
        self._zones = Zones(config)
        self._ttls = ServiceTtls(config.service_ttl_s)

    def answer(self, question: Question) -> Answer:
        """Return the records for one question."""
        labels = split_labels(question.name.lower())
        zone = self._zones.find(labels)
        if zone is None:
            if labels[-1:] == (b"arpa",):
                return self._reverse(question, labels)
            return Answer(rcode=records.REFUSED, is_authoritative=False, has_edns=False)
        match question.type:
            case records.SOA:
                soa = zone.soa(self._config, question.serial)
                nameservers, glue = self._nameservers(zone)
                return Answer(answers=[soa], authority=nameservers, additional=glue)
            case records.NS:
                nameservers, glue = self._nameservers(zone)
                return Answer(answers=nameservers, additional=glue)
            case records.AXFR:
                return Answer(rcode=records.NOTIMP)
            case _:
                return self._look_up(question, zone, labels, ALIAS_DEPTH_MAX)

    def _look_up(
        self, question: Question, zone: Zone, labels: tuple[bytes, ...], depth: int
    ) -> Answer:
        name = parse_name(labels[: -len(zone.labels)], question.type)
        match name:
            case None:
                return self._negative(question, zone, records.NXDOMAIN)
            case ServiceName():
                return self._service(question, zone, name, depth)
            case NodeName():
                return self._node(question, zone, name, depth)
            case AddressName(packed):
                if not packed:
                    return Answer()
                # Differs from Consul in letter case only: the owner is the name as it was asked.
                ttl_s = self._config.node_ttl_s
                return Answer(answers=[address_record(question.name, packed, ttl_s)])
            case UnbuiltName():
                return self._unknown(question, zone)
            case _:
                assert_never(name)

    def _service(self, question: Question, zone: Zone, name: ServiceName, depth: int) -> Answer:
        if not self._knows_datacenter(name.datacenter):
            return self._unknown(question, zone)
        instances = self._directory.service(name.service, name.tag)
        if not instances:
            return self._unknown(question, zone)
        lookup = ServiceLookup(
            name=question.name,
            type=question.type,
            ttl_s=self._ttls.ttl_s(name.service),
            zone=zone,
            datacenter=name.datacenter or self._directory.datacenter,
            answers_max=question.answers_max,
            bytes_max=question.bytes_max,
            a_record_limit=self._config.a_record_limit,
            alias_records_max=question.alias_records_max,
            adds_node_meta=self._config.enable_additional_node_meta_txt,
            follow=lambda target: self._follow(question, target, depth),
        )
        answers, additional = lookup.run(instances, self._rng)
        if not answers:
            return self._negative(question, zone, records.NOERROR)
        return Answer(answers=answers, additional=additional, is_of_service=True)

    def _node(self, question: Question, zone: Zone, name: NodeName, depth: int) -> Answer:
        type_ = question.type
        if type_ not in (records.A, records.AAAA, records.ANY, records.TXT):
            return Answer()
        node = self._find_node(name)
        if node is None:
            return self._unknown(question, zone)
        ttl_s = self._config.node_ttl_s
        answer = Answer()
        if type_ != records.TXT:
            answer.answers = node_address_records(
                node,
                question.name,
                type_,
                ttl_s,
                follow=lambda target: self._follow(question, target, depth),
            )
        if type_ in (records.TXT, records.ANY):
            answer.answers += node_meta_records(node, question.name, ttl_s)
        elif self._config.enable_additional_node_meta_txt:
            answer.additional = node_meta_records(node, question.name, ttl_s)
        return answer

    def _find_node(self, name: NodeName) -> NodeAnswer | None:
        if not self._knows_datacenter(name.datacenter):
            return None
        return self._directory.node(name.node)

    def _follow(self, question: Question, target: bytes, depth: int) -> list[Record]:
        """Return what our own zones say about a host name, nothing for other names."""
        labels = split_labels(target.lower())
        zone = self._zones.find(labels)
        if zone is None or depth < 1:
            return []
        # As in Consul, what an alias brings along is small on every transport.
        answers_max = self._config.small_answers_max
        inner = replace(question, name=target, type=records.ANY, answers_max=answers_max)
        answer = self._look_up(inner, zone, labels, depth - 1)
        return answer.answers[:answers_max] if answer.is_of_service else answer.answers

    def _reverse(self, question: Question, labels: tuple[bytes, ...]) -> Answer:
        """Answer from an address to the first name that has it, in the primary zone."""
        zone = self._zones.primary
        target = self._name_of_address(address_of_reverse(labels), zone)
        if target is None:
            # There are no recursors to ask, and Consul says so in this way.
            return Answer(rcode=records.SERVFAIL, is_authoritative=False, has_recursion=True)
        answer = Answer(answers=[name_record(question.name, records.PTR, 0, target)])
        if question.type == records.SOA:
            answer.authority.append(zone.soa(self._config, question.serial))
        return answer

    def _name_of_address(self, address: str | None, zone: Zone) -> bytes | None:
        if address is None:
            return None
        datacenter = self._directory.datacenter
        node = self._directory.node_by_address(address)
        if node is not None:
            return zone.node_name(node.name, datacenter)
        instances = self._directory.services_by_address(address)
        return zone.service_name(instances[0].service, datacenter) if instances else None

    def _nameservers(self, zone: Zone) -> tuple[list[Record], list[Record]]:
        return nameserver_records(
            self._directory.servers(),
            zone,
            self._directory.datacenter,
            self._config.node_ttl_s,
            self._rng,
        )

    def _knows_datacenter(self, datacenter: str | None) -> bool:
        return datacenter is None or self._directory.knows_datacenter(datacenter)

    def _unknown(self, question: Question, zone: Zone) -> Answer:
        """Answer for a name that is not in the directory, which may still be filling."""
        if not self._directory.is_ready:
            return Answer(rcode=records.SERVFAIL)
        return self._negative(question, zone, records.NXDOMAIN)

    def _negative(self, question: Question, zone: Zone, rcode: int) -> Answer:
        return Answer(rcode=rcode, authority=[zone.soa(self._config, question.serial)])
