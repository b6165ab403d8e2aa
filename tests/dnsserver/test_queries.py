"""`NAME.query`: what a prepared query selects, as the directory says."""

import asyncio
from random import Random

import pytest
from dnslib import DNSRecord

from dnsserver import (
    AskOthers,
    DnsConfig,
    NodeAnswer,
    QueryAnswer,
    ServiceAnswer,
    ServicePool,
    Unanswerable,
)
from dnsserver.responder import LookUp
from tests.dnsserver.fakes import NOW_UTC, Client, FakeDirectory, decode, opt_record, query, soa

SUBNET = b"\0\x08\0\x08\0\x01\x20\x00\x0a\x01\x00\x02"
"""The option: 10.1.0.2/32, scope 0."""


def instances(*addresses: str) -> list[ServiceAnswer]:
    return [
        ServiceAnswer(NodeAnswer(f"n{n}", address), "web", "", 80 + n, 1)
        for n, address in enumerate(addresses, 1)
    ]


def answer(*addresses: str, **fields: object) -> QueryAnswer:
    pool = ServicePool.of(instances(*addresses), Random(1))
    return QueryAnswer(**{"service": "web", "pool": pool, "datacenter": "dc1", **fields})  # type: ignore[arg-type]


def directory(**queries: QueryAnswer | AskOthers | Unanswerable) -> FakeDirectory:
    return FakeDirectory(queries=dict(queries))


def test_addresses_and_targets_have_the_ttl_of_the_query() -> None:
    client = Client(directory(web=answer("10.1.0.1", ttl_s=12)))
    assert client.ask("Web.query.svcmesh").answer == ["Web.query.svcmesh. 12 IN A 10.1.0.1"]
    seen = client.ask("web.query.dc1.svcmesh", "SRV")
    assert seen.answer == ["web.query.dc1.svcmesh. 12 IN SRV 1 1 81 n1.node.dc1.svcmesh."]
    assert seen.additional == ["n1.node.dc1.svcmesh. 12 IN A 10.1.0.1"]


def test_without_a_ttl_that_of_the_service_counts() -> None:
    client = Client(
        directory(q=answer("10.1.0.1", service="Web")), DnsConfig(service_ttl_s={"web": 7})
    )
    assert client.ask("q.query.svcmesh").answer == ["q.query.svcmesh. 7 IN A 10.1.0.1"]


@pytest.mark.parametrize("name", ["no.query.svcmesh", "empty.query.svcmesh", "query.svcmesh"])
def test_what_is_unknown_or_selects_nobody_is_nxdomain(name: str) -> None:
    seen = Client(directory(empty=answer())).ask(name)
    assert (seen.rcode, seen.authority) == ("NXDOMAIN", [soa("svcmesh")])


def test_before_the_first_synchronisation_nobody_is_servfail() -> None:
    subject = directory(empty=answer())
    subject.is_ready = False
    for name in ("no.query.svcmesh", "empty.query.svcmesh"):
        assert Client(subject).ask(name).rcode == "SERVFAIL"


def test_what_cannot_be_executed_is_servfail() -> None:
    assert Client(directory(t=Unanswerable())).ask("t.query.svcmesh").rcode == "SERVFAIL"


def test_a_name_may_have_dots() -> None:
    subject = directory(**{"a.b": answer("10.1.0.1")})
    assert Client(subject).ask("a.b.query.svcmesh").rcode == "NOERROR"


def test_instances_that_are_in_an_order_are_answered_in_it() -> None:
    addresses = [f"10.1.0.{n}" for n in (9, 2, 7, 1, 5)]
    pool = ServicePool.of(instances(*addresses), None)
    client = Client(directory(near=answer(pool=pool, is_kept=False)))
    for is_tcp in (False, True):
        count = 5 if is_tcp else 3
        for type_ in ("A", "ANY"):
            found = client.raw(query("near.query.svcmesh", type_), is_tcp=is_tcp)
            records = DNSRecord.parse(found).rr
            assert [str(record.rdata) for record in records] == addresses[:count]
        targets = DNSRecord.parse(client.raw(query("near.query.svcmesh", "SRV"), is_tcp=is_tcp)).rr
        assert [record.rdata.port for record in targets] == [81, 82, 83, 84, 85][:count]


def test_the_directory_is_asked_for_the_client_or_for_its_subnet() -> None:
    subject = directory(q=answer("10.1.0.1", is_kept=False))
    respond = Client(subject).responder.respond_udp
    respond(query("q.query.svcmesh"), NOW_UTC, "192.0.2.7")
    respond(query("q.query.svcmesh", opt=opt_record(1232, options=SUBNET)), NOW_UTC, "192.0.2.7")
    assert subject.asked_by == ["192.0.2.7", "10.1.0.2"]


@pytest.mark.parametrize("is_kept", [False, True])
def test_the_answer_is_for_the_subnet_and_its_absence_is_for_all(is_kept: bool) -> None:
    client = Client(directory(q=answer("10.1.0.1", is_kept=is_kept)))
    for _ in range(3):
        seen = decode(client.raw(query("q.query.svcmesh", opt=opt_record(1232, options=SUBNET))))
        assert seen.opt == (1232, 0, SUBNET[:7] + b"\x20" + SUBNET[8:])
        none = decode(client.raw(query("no.query.svcmesh", opt=opt_record(1232, options=SUBNET))))
        assert none.opt == (1232, 0, SUBNET)
        assert decode(client.raw(query("q.query.svcmesh", opt=opt_record(1232)))).opt == (
            1232, 0, b"",
        )  # fmt: skip


def test_a_kept_answer_is_given_without_asking_until_its_pool_changes() -> None:
    found = answer("10.1.0.1")
    subject = directory(q=found)
    client = Client(subject)
    for _ in range(3):
        assert client.ask("q.query.svcmesh").answer == ["q.query.svcmesh. 0 IN A 10.1.0.1"]
    assert len(subject.asked_by) == 1
    found.pool.renew()
    subject.queries["q"] = answer("10.1.0.9")
    assert client.ask("q.query.svcmesh").answer == ["q.query.svcmesh. 0 IN A 10.1.0.9"]


def asked_elsewhere(found: QueryAnswer | None, name: str = "Q.query.svcmesh") -> bytes:
    async def ask() -> QueryAnswer | None:
        return found

    client = Client(directory(q=AskOthers(ask)))
    pending = client.responder.respond_udp(query(name), NOW_UTC)
    assert isinstance(pending, LookUp)
    plan = asyncio.run(pending.awaited.plan())  # type: ignore[arg-type]  # a coroutine it is
    return client.responder.finish_look_up(pending, plan)


def test_what_others_are_asked_for_is_answered_when_they_have_answered() -> None:
    seen = decode(asked_elsewhere(answer("10.2.0.1", datacenter="dc2", ttl_s=3, is_kept=False)))
    assert seen.answer == ["Q.query.svcmesh. 3 IN A 10.2.0.1"]


def test_targets_elsewhere_are_named_there() -> None:
    found = answer("10.2.0.1", datacenter="dc2", is_kept=False)

    async def ask() -> QueryAnswer | None:
        return found

    client = Client(directory(q=AskOthers(ask)))
    pending = client.responder.respond_tcp(query("q.query.svcmesh", "SRV"), NOW_UTC)
    assert isinstance(pending, LookUp)
    plan = asyncio.run(pending.awaited.plan())  # type: ignore[arg-type]
    seen = decode(client.responder.finish_look_up(pending, plan))
    assert seen.answer == ["q.query.svcmesh. 0 IN SRV 1 1 81 n1.node.dc2.svcmesh."]


def test_when_nobody_can_say_it_is_servfail_and_when_nobody_is_there_nxdomain() -> None:
    assert decode(asked_elsewhere(None)).rcode == "SERVFAIL"
    assert decode(asked_elsewhere(answer(is_kept=False))).rcode == "NXDOMAIN"
