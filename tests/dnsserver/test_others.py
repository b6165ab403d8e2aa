"""Names in other data centers, as Consul 1.8.7 answers them; and what is asked for first."""

import asyncio
from random import Random

import pytest

from dnsserver import (
    DnsConfig,
    Lost,
    NodeAnswer,
    RemoteNode,
    ServiceAnswer,
    ServicePool,
    Stamp,
    ToFetch,
)
from dnsserver.responder import LookUp
from tests.dnsserver.fakes import NOW_UTC, Client, FakeDirectory, Seen, decode, query, soa

NODE = NodeAnswer("s2", "127.0.2.1", {"a": "b"})
WEB = ServiceAnswer(NODE, "web", "10.2.2.2", 80, 1, ("v1",))
ALIAS = ServiceAnswer(NODE, "al", "example.com", 81, 1)


class Others:
    """dc2 with a node and two services; everything is at hand once it was fetched."""

    def __init__(self, *, is_at_hand: bool = True) -> None:
        self.is_at_hand = is_at_hand
        self.is_reachable = True
        self.fetched = 0
        self.pools: dict[tuple[str, str | None], ServicePool] = {}
        for name, tag, found in (("web", None, WEB), ("web", "v1", WEB), ("al", None, ALIAS)):
            self.pools[name, tag] = ServicePool.of([found], Random(1))

    def service(
        self, datacenter: str, name: str, tag: str | None
    ) -> ServicePool | Lost | ToFetch[ServicePool]:
        async def fetch() -> ServicePool | Lost:
            self.fetched += 1
            self.is_at_hand = True
            return self._service(datacenter, name, tag)

        return self._service(datacenter, name, tag) if self.is_at_hand else ToFetch(fetch)

    def node(self, datacenter: str, name: str) -> RemoteNode | Lost | ToFetch[RemoteNode]:
        async def fetch() -> RemoteNode | Lost:
            self.fetched += 1
            return self._node(datacenter, name)

        return self._node(datacenter, name) if self.is_at_hand else ToFetch(fetch)

    def _lost(self, datacenter: str) -> Lost | None:
        if datacenter != "dc2":
            return Lost.UNKNOWN
        return None if self.is_reachable else Lost.UNREACHABLE

    def _service(self, datacenter: str, name: str, tag: str | None) -> ServicePool | Lost:
        none = ServicePool.of([], Random(1))
        return self._lost(datacenter) or self.pools.setdefault((name, tag), none)

    def _node(self, datacenter: str, name: str) -> RemoteNode | Lost:
        return self._lost(datacenter) or RemoteNode(NODE if name == "s2" else None, Stamp())


def client_of(others: Others, config: DnsConfig | None = None) -> Client:
    return Client(FakeDirectory(others=others), config)


ANSWERS = [
    ("web.service.dc2.consul", "A", ["web.service.dc2.consul. 0 IN A 10.2.2.2"], []),
    ("WEB.service.DC2.consul", "A", ["WEB.service.DC2.consul. 0 IN A 10.2.2.2"], []),
    ("web.service.dc2.dc.consul", "A", ["web.service.dc2.dc.consul. 0 IN A 10.2.2.2"], []),
    ("v1.web.service.dc2.consul", "A", ["v1.web.service.dc2.consul. 0 IN A 10.2.2.2"], []),
    ("web.service.dc2.consul", "ANY", ["web.service.dc2.consul. 0 IN A 10.2.2.2"], []),
    *(
        (
            name, "SRV", [f"{name}. 0 IN SRV 1 1 80 0a020202.addr.dc2.consul."],
            ["0a020202.addr.dc2.consul. 0 IN A 10.2.2.2", 's2.node.dc2.consul. 0 IN TXT "a=b"'],
        )
        for name in (
            "web.service.dc2.consul", "_web._v1.service.dc2.consul", "_web._tcp.service.dc2.consul",
            "_web._v1.dc2.consul",
        )
    ),
    ("al.service.dc2.consul", "A", ["al.service.dc2.consul. 0 IN CNAME example.com."], []),
    (
        "s2.node.dc2.consul", "A", ["s2.node.dc2.consul. 0 IN A 127.0.2.1"],
        ['s2.node.dc2.consul. 0 IN TXT "a=b"'],
    ),
    ("s2.node.dc2.dc.consul", "TXT", ['s2.node.dc2.dc.consul. 0 IN TXT "a=b"'], []),
]  # fmt: skip


def fetched(client: Client, name: str, type_: str, *, is_tcp: bool = False) -> Seen:
    respond = client.responder.respond_tcp if is_tcp else client.responder.respond_udp
    pending = respond(query(name, type_), NOW_UTC)
    assert isinstance(pending, LookUp)
    plan = asyncio.run(pending.awaited.plan())  # type: ignore[arg-type]  # a coroutine it is
    return decode(client.responder.finish_look_up(pending, plan))


@pytest.mark.parametrize(("name", "type_", "answer", "additional"), ANSWERS)
@pytest.mark.parametrize("is_tcp", [False, True])
def test_what_is_at_hand_is_answered_like_a_name_of_our_own(
    name: str, type_: str, answer: list[str], additional: list[str], is_tcp: bool
) -> None:
    seen = client_of(Others()).ask(name, type_, is_tcp=is_tcp)
    assert (seen.rcode, seen.answer, seen.additional) == ("NOERROR", answer, additional)
    assert "aa" in seen.flags


@pytest.mark.parametrize(("name", "type_", "answer", "additional"), ANSWERS)
@pytest.mark.parametrize("is_tcp", [False, True])
def test_what_is_not_at_hand_is_fetched_and_answered_alike(
    name: str, type_: str, answer: list[str], additional: list[str], is_tcp: bool
) -> None:
    others = Others(is_at_hand=False)
    seen = fetched(client_of(others), name, type_, is_tcp=is_tcp)
    assert (seen.rcode, seen.answer, seen.additional) == ("NOERROR", answer, additional)
    assert others.fetched == 1


@pytest.mark.parametrize(
    "name",
    [
        "nope.service.dc2.consul",
        "v9.web.service.dc2.consul",
        "nope.node.dc2.consul",
        "web.service.dc9.consul",
        "s2.node.dc9.consul",
    ],
)
@pytest.mark.parametrize("is_at_hand", [True, False])
def test_what_is_not_there_is_nxdomain(name: str, is_at_hand: bool) -> None:
    client = client_of(Others(is_at_hand=is_at_hand))
    seen = client.ask(name) if is_at_hand else fetched(client, name, "A")
    assert (seen.rcode, seen.authority) == ("NXDOMAIN", [soa("consul")])


@pytest.mark.parametrize("name", ["web.service.dc2.consul", "s2.node.dc2.consul"])
@pytest.mark.parametrize("is_at_hand", [True, False])
def test_when_nobody_answers_it_is_servfail(name: str, is_at_hand: bool) -> None:
    others = Others(is_at_hand=is_at_hand)
    others.is_reachable = False
    client = client_of(others)
    seen = client.ask(name) if is_at_hand else fetched(client, name, "A")
    assert (seen.rcode, seen.authority) == ("SERVFAIL", [])


@pytest.mark.parametrize("name", ["web.service.dc2.foo.consul", "web.service.dc2.dc.dc.consul"])
def test_more_labels_than_a_data_center_are_no_name(name: str) -> None:
    assert client_of(Others(is_at_hand=False)).ask(name).rcode == "NXDOMAIN"


def test_the_own_data_center_is_never_asked_for_elsewhere() -> None:
    others = Others(is_at_hand=False)
    client = Client(FakeDirectory(others=others, instances=[WEB], nodes=[NODE]))
    for name in ("web.service.DC1.consul", "web.service.dc1.dc.consul", "s2.node.dc1.consul"):
        assert client.ask(name).rcode == "NOERROR"
    assert others.fetched == 0


def test_an_answer_is_kept_as_long_as_what_it_was_made_from() -> None:
    others = Others()
    client = client_of(others)
    assert client.ask("web.service.dc2.consul").answer
    pool = others.pools["web", None]
    others.is_at_hand = False
    assert client.ask("web.service.dc2.consul").answer, "it is still good"
    pool.stamp.is_current = False
    assert isinstance(
        client.responder.respond_udp(query("web.service.dc2.consul"), NOW_UTC), LookUp
    )


def test_an_alias_into_another_data_center_is_left_to_the_client() -> None:
    alias = ServiceAnswer(NODE, "here", "web.service.dc2.consul", 80, 1)
    client = Client(FakeDirectory(others=Others(is_at_hand=False), instances=[alias]))
    assert client.ask("here.service.consul").answer == [
        "here.service.consul. 0 IN CNAME web.service.dc2.consul."
    ]
