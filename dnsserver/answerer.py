"""From a question and the directory to a plan of the answers, as Consul gives them.

How the records become bytes and what is left out when they do not fit is `message.py`'s business.
"""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import TypeVar, assert_never

from dnsserver import records
from dnsserver.addresses import address_of_reverse, pack_address
from dnsserver.answers import AddressRun, Answer, Awaited, NotOurs, Plan, Question, TargetRun
from dnsserver.config import DnsConfig, ServiceTtls
from dnsserver.directory import (
    AskOthers,
    Directory,
    Lost,
    NodeAnswer,
    QueryAnswer,
    RemoteNode,
    Stamp,
    ToFetch,
    Unanswerable,
)
from dnsserver.labels import split_labels
from dnsserver.names import AddressName, NodeName, QueryName, ServiceName, UnbuiltName, parse_name
from dnsserver.nameservers import nameserver_records
from dnsserver.node_records import node_address_records, node_meta_records
from dnsserver.pool import ServicePool
from dnsserver.records import Record, address_record, name_record
from dnsserver.service_records import ServiceLookup
from dnsserver.shuffling import Mixture
from dnsserver.zones import Zone, Zones

T = TypeVar("T")

ALIAS_DEPTH_MAX = 3
"""How many aliases in a row are followed inside our own zones."""

_RUN_TYPES = frozenset({records.A, records.AAAA, records.SRV})

_ALWAYS = Stamp()
"""Of what is no matter of the directory."""


class Answerer:
    """Answers questions about a directory. `rng` decides the order of name servers."""

    def __init__(self, directory: Directory, config: DnsConfig, rng: Random) -> None:
        self._directory, self._config, self._rng = directory, config, rng
        self._zones = Zones(config)
        self._ttls = ServiceTtls(config.service_ttl_s)

    def plan(self, question: Question) -> Plan | Awaited | NotOurs:
        """Look a question up."""
        labels = split_labels(question.name.lower())
        zone = self._zones.find(labels)
        if zone is None:
            if labels[-1:] == (b"arpa",):
                return self._reverse(question, labels)
            if self._config.has_recursors:
                return NotOurs()
            return _plan(Answer(rcode=records.REFUSED, is_authoritative=False, has_edns=False))
        match question.type:
            case records.SOA:
                soa = zone.soa(self._config, question.serial)
                nameservers, glue = self._nameservers(zone)
                return _plan(Answer(answers=[soa], authority=nameservers, additional=glue))
            case records.NS:
                nameservers, glue = self._nameservers(zone)
                return _plan(Answer(answers=nameservers, additional=glue))
            case records.AXFR:
                return _plan(Answer(rcode=records.NOTIMP))
            case _:
                return self._look_up(question, zone, labels, ALIAS_DEPTH_MAX)

    def _look_up(
        self, question: Question, zone: Zone, labels: tuple[bytes, ...], depth: int
    ) -> Plan | Awaited:
        name = parse_name(labels[: -len(zone.labels)], question.type)
        match name:
            case None:
                return _plan(self._negative(question, zone, records.NXDOMAIN), _ALWAYS)
            case ServiceName():
                return self._service(question, zone, name, depth)
            case NodeName():
                return self._node(question, zone, name, depth)
            case AddressName(packed):
                if not packed:
                    return _plan(Answer(), _ALWAYS)
                # Differs from Consul in letter case only: the owner is the name as it was asked.
                record = address_record(question.name, packed, self._config.node_ttl_s)
                return _plan(Answer(answers=[record]), _ALWAYS)
            case QueryName():
                return self._query(question, zone, name, depth)
            case UnbuiltName():
                return _plan(self._unknown(question, zone))
            case _:
                assert_never(name)

    def _service(
        self, question: Question, zone: Zone, name: ServiceName, depth: int
    ) -> Plan | Awaited:
        datacenter = name.datacenter or self._directory.datacenter

        def plan(pool: ServicePool) -> Plan:
            stamp = pool.stamp if pool.is_complete else None
            if not len(pool):
                return self._absent(question, zone, datacenter, stamp)
            ttl_s = self._ttls.ttl_s(name.service)
            lookup = self._service_lookup(question, zone, pool, ttl_s=ttl_s, datacenter=datacenter)
            return self._instances(question, zone, lookup, stamp, depth)

        if datacenter == self._directory.datacenter:
            return plan(self._directory.service(name.service, name.tag))
        found = self._directory.others.service(datacenter, name.service, name.tag)
        return self._elsewhere(question, zone, found, plan)

    def _query(self, question: Question, zone: Zone, name: QueryName, depth: int) -> Plan | Awaited:
        found = self._directory.prepared_query(name.query, name.datacenter, question.client)
        match found:
            case None:
                return _plan(self._unknown(question, zone))
            case Unanswerable():
                return _plan(Answer(rcode=records.SERVFAIL))
            case QueryAnswer():
                return self._selected(question, zone, found, depth)
            case AskOthers():

                async def plan() -> Plan:
                    answer = await found.ask()
                    if answer is None:
                        return _plan(Answer(rcode=records.SERVFAIL))
                    return self._selected(question, zone, answer, depth)

                return Awaited(plan)
            case _:
                assert_never(found)

    def _selected(self, question: Question, zone: Zone, found: QueryAnswer, depth: int) -> Plan:
        """The plan for what a prepared query selects."""
        pool = found.pool
        stamp = pool.stamp if found.is_kept and pool.is_complete else None
        if not len(pool):
            return _plan(self._unknown(question, zone), stamp if self._directory.is_ready else None)
        ttl_s = self._ttls.ttl_s(found.service.lower()) if found.ttl_s is None else found.ttl_s
        lookup = self._service_lookup(
            question, zone, pool, ttl_s=ttl_s, datacenter=found.datacenter
        )
        plan = self._instances(question, zone, lookup, stamp, depth)

        def draw(first: int, mixture: Mixture) -> Answer:
            # As in Consul: who is near may be selected by where the client is.
            return replace(plan.draw(first, mixture), is_for_subnet=True)

        return replace(plan, draw=draw)

    def _service_lookup(
        self, question: Question, zone: Zone, pool: ServicePool, *, ttl_s: int, datacenter: str
    ) -> ServiceLookup:
        return ServiceLookup(
            pool=pool,
            name=question.name,
            type=question.type,
            ttl_s=ttl_s,
            zone=zone,
            datacenter=datacenter,
            answers_max=question.answers_max,
            bytes_max=question.bytes_max,
            a_record_limit=self._config.a_record_limit,
            alias_records_max=question.alias_records_max,
            adds_node_meta=self._config.enable_additional_node_meta_txt,
        )

    def _instances(
        self,
        question: Question,
        zone: Zone,
        lookup: ServiceLookup,
        stamp: Stamp | None,
        depth: int,
    ) -> Plan:
        """The plan for instances, of which there are some."""
        is_withheld = question.takes_none and not self._config.enable_truncate
        if not lookup.beginnings or is_withheld:
            return _plan(self._negative(question, zone, records.NOERROR), stamp)
        if lookup.may_alias:
            stamp = None  # What a host name brings along has its own changes.

        def draw(first: int, mixture: Mixture) -> Answer:
            answer = Answer(is_of_service=True)
            if not lookup.may_alias and question.type in _RUN_TYPES:
                answer.run = _draw_run(lookup, first, mixture)
            else:
                follow = self._follower(question, answer, depth, mixture)
                answer.answers, answer.additional = lookup.draw(first, mixture, follow)
            if answer.run is None and not answer.answers:
                return self._negative(question, zone, records.NOERROR)
            return answer

        return Plan(draw, lookup.beginnings, stamp, lookup.row)

    def _node(self, question: Question, zone: Zone, name: NodeName, depth: int) -> Plan | Awaited:
        type_ = question.type
        if type_ not in (records.A, records.AAAA, records.ANY, records.TXT):
            return _plan(Answer())
        datacenter = name.datacenter or self._directory.datacenter

        def plan(found: RemoteNode) -> Plan:
            if found.node is None:
                return self._absent(question, zone, datacenter, found.stamp)
            return self._node_plan(question, found.node, found.stamp, depth)

        if datacenter != self._directory.datacenter:
            found = self._directory.others.node(datacenter, name.node)
            return self._elsewhere(question, zone, found, plan)
        node, stamp = self._directory.node(name.node), self._directory.node_stamp(name.node)
        if node is None:
            return self._absent(question, zone, datacenter, stamp)
        return self._node_plan(question, node, stamp, depth)

    def _node_plan(
        self, question: Question, node: NodeAnswer, stamp: Stamp | None, depth: int
    ) -> Plan:
        if pack_address(node.address) is None:
            stamp = None  # What a host name brings along has its own changes.

        def draw(_: int, mixture: Mixture) -> Answer:
            answer = Answer()
            follow = self._follower(question, answer, depth, mixture)
            self._fill_node_answer(answer, node, question, follow)
            return answer

        return Plan(draw, stamp=stamp)

    def _elsewhere(
        self,
        question: Question,
        zone: Zone,
        found: T | Lost | ToFetch[T],
        plan: Callable[[T], Plan],
    ) -> Plan | Awaited:
        """The plan for what is, or has to be found, in another data center."""
        match found:
            case Lost.UNKNOWN:
                return _plan(self._unknown(question, zone))
            case Lost.UNREACHABLE:
                # Differs from a name that is not there, so that nobody keeps that in mind.
                return _plan(Answer(rcode=records.SERVFAIL))
            case ToFetch(fetch):

                async def fetched() -> Plan:
                    return _done(self._elsewhere(question, zone, await fetch(), plan))

                return Awaited(fetched)
            case _:
                return plan(found)

    def _fill_node_answer(
        self,
        answer: Answer,
        node: NodeAnswer,
        question: Question,
        follow: Callable[[bytes], list[Record]],
    ) -> None:
        type_, ttl_s = question.type, self._config.node_ttl_s
        if type_ != records.TXT:
            answer.answers = node_address_records(node, question.name, type_, ttl_s, follow)
        if type_ in (records.TXT, records.ANY):
            answer.answers += node_meta_records(node, question.name, ttl_s)
        elif self._config.enable_additional_node_meta_txt:
            answer.additional = node_meta_records(node, question.name, ttl_s)

    def _follower(
        self, question: Question, answer: Answer, depth: int, mixture: Mixture
    ) -> Callable[[bytes], list[Record]]:
        """Return what looks host names up for `answer`, and notes there what that means for it."""

        def follow(target: bytes) -> list[Record]:
            labels = split_labels(target.lower())
            zone = self._zones.find(labels)
            if zone is None:
                return self._ask_recursors(question, answer, target)
            if depth < 1:
                return []
            # As in Consul, what an alias brings along is small on every transport.
            answers_max = self._config.small_answers_max
            inner = replace(question, name=target, type=records.ANY, answers_max=answers_max)
            plan = self._look_up(inner, zone, labels, depth - 1)
            if isinstance(plan, Awaited):
                # What has to be asked for elsewhere is no more than an alias.
                return []
            found = plan.draw(int(mixture.rng.random() * plan.beginnings), mixture)
            answer.unresolved += found.unresolved
            return found.answers[:answers_max] if found.is_of_service else found.answers

        return follow

    def _ask_recursors(self, question: Question, answer: Answer, target: bytes) -> list[Record]:
        if not self._config.has_recursors:
            return []
        found = question.resolved.get(target)
        if found is None:
            answer.unresolved.append(target)
            return []
        return list(found)

    def _reverse(self, question: Question, labels: tuple[bytes, ...]) -> Plan | NotOurs:
        """Answer from an address to the first name that has it, in the primary zone."""
        zone = self._zones.primary
        target = self._name_of_address(address_of_reverse(labels), zone)
        if target is None:
            if self._config.has_recursors:
                return NotOurs()
            # There are no recursors to ask, and Consul says so in this way.
            answer = Answer(rcode=records.SERVFAIL, is_authoritative=False, has_recursion=True)
            return _plan(answer)
        answer = Answer(answers=[name_record(question.name, records.PTR, 0, target)])
        if question.type == records.SOA:
            answer.authority.append(zone.soa(self._config, question.serial))
        return _plan(answer)

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

    def _absent(self, question: Question, zone: Zone, datacenter: str, stamp: Stamp | None) -> Plan:
        """The plan for a name that is not in the directory of a data center."""
        if datacenter != self._directory.datacenter:
            # Who was asked there knows.
            return _plan(self._negative(question, zone, records.NXDOMAIN), stamp)
        return _plan(self._unknown(question, zone), stamp if self._directory.is_ready else None)

    def _unknown(self, question: Question, zone: Zone) -> Answer:
        """Answer for a name that is not in the directory, which may still be filling."""
        if not self._directory.is_ready:
            return Answer(rcode=records.SERVFAIL)
        return self._negative(question, zone, records.NXDOMAIN)

    def _negative(self, question: Question, zone: Zone, rcode: int) -> Answer:
        soa = zone.soa(self._config, question.serial)
        return Answer(rcode=rcode, authority=[soa], has_soa=True)


def _draw_run(lookup: ServiceLookup, first: int, mixture: Mixture) -> AddressRun | TargetRun | None:
    if lookup.type != records.SRV:
        return AddressRun(lookup.type, lookup.draw_addresses(first, mixture))
    targets, additional, overflows = lookup.draw_targets(first, mixture)
    return TargetRun(targets, additional, overflows) if targets else None


def _done(plan: Plan | Awaited) -> Plan:
    assert isinstance(plan, Plan), "what was fetched is there"
    return plan


def _plan(answer: Answer, stamp: Stamp | None = None) -> Plan:
    """Return the plan that has one answer only."""
    return Plan(lambda _beginning, _mixture: answer, stamp=stamp)
