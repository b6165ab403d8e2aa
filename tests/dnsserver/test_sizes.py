"""What is left out, and when TC says so; the counts of Consul 1.8.7 where it keeps to the size."""

from collections import Counter

import pytest

from dnsserver import DnsConfig, DnsConfigError, SoaConfig
from dnsserver.pool import Location, Member
from tests.dnsserver.fakes import Client, FakeDirectory, Seen, soa


def directory_of(count: int) -> FakeDirectory:
    directory = FakeDirectory()
    directory.add_many("many", count)
    return directory


def targets_without_address(seen: Seen) -> list[str]:
    owners = {line.split()[0] for line in seen.additional}
    return [line for line in seen.answer if line.split()[-1] not in owners]


@pytest.mark.parametrize("type_", ["A", "ANY", "SRV"])
@pytest.mark.parametrize("edns", [None, 0, 100, 512])
def test_a_small_udp_response_has_three_answers_and_no_tc(type_: str, edns: int | None) -> None:
    seen = Client(directory_of(40)).ask("many.service.svcmesh", type_, edns=edns)
    assert (len(seen.answer), seen.flags) == (3, "qr aa rd")
    assert not (type_ == "SRV" and targets_without_address(seen))
    assert seen.size <= 512
    assert (seen.opt is None) == (edns is None)


def test_every_instance_is_there_over_tcp_and_with_enough_edns() -> None:
    client = Client(directory_of(40))
    for seen in (
        client.ask("many.service.svcmesh", "SRV", is_tcp=True),
        client.ask("many.service.svcmesh", "SRV", edns=4096),
    ):
        assert (len(seen.answer), len(seen.additional)) == (40, 40)
        assert seen.flags == "qr aa rd"


@pytest.mark.parametrize(
    ("edns", "type_", "count"),
    [
        (513, "A", 29),
        (600, "A", 34),
        (700, "A", 40),
        (513, "SRV", 8),
        (600, "SRV", 9),
        (700, "SRV", 11),
        (1232, "SRV", 21),
    ],
)
def test_as_many_answers_as_fit_into_the_clients_size(edns: int, type_: str, count: int) -> None:
    directory = FakeDirectory()
    for number in range(40):
        node = directory.add_node(f"m{number:02}", f"10.1.0.{number}")
        directory.add_instance(node, "many", 1000 + number)
    client = Client(directory)
    seen = client.ask("many.service.svcmesh", type_, edns=edns)
    assert seen.size <= edns
    assert len(seen.answer) == count
    assert not (type_ == "SRV" and targets_without_address(seen))
    assert seen.opt == (edns, 0, b"")


def test_tc_says_that_answers_were_left_out_when_truncation_is_on() -> None:
    client = Client(directory_of(40), DnsConfig(enable_truncate=True))
    assert client.ask("many.service.svcmesh").flags == "qr aa tc rd"
    assert client.ask("many.service.svcmesh", "SRV", edns=600).flags == "qr aa tc rd"
    assert client.ask("many.service.svcmesh", is_tcp=True).flags == "qr aa rd"
    assert client.ask("many.service.svcmesh", edns=4096).flags == "qr aa rd"
    assert client.counters.shortened == 2


def test_exactly_as_many_as_allowed_is_not_cut() -> None:
    client = Client(directory_of(3), DnsConfig(enable_truncate=True))
    assert client.ask("many.service.svcmesh", "SRV").flags == "qr aa rd"


@pytest.mark.parametrize(("limit", "count"), [(0, 0), (1, 1), (5, 5), (8, 8), (100, 8)])
def test_the_udp_answer_limit_is_at_most_eight(limit: int, count: int) -> None:
    client = Client(directory_of(40), DnsConfig(udp_answer_limit=limit))
    assert len(client.ask("many.service.svcmesh").answer) == count


@pytest.mark.parametrize("type_", ["A", "SRV", "ANY"])
def test_a_small_response_without_any_answer_says_so_as_one_without_data(type_: str) -> None:
    client = Client(directory_of(4), DnsConfig(udp_answer_limit=0))
    seen = client.ask("many.service.svcmesh", type_)
    # RFC 2308 section 2.2, and Consul.
    assert (seen.rcode, seen.answer, seen.authority) == ("NOERROR", [], [soa("svcmesh")])
    assert len(client.ask("many.service.svcmesh", type_, edns=1232).answer) == 4
    cutting = Client(directory_of(4), DnsConfig(udp_answer_limit=0, enable_truncate=True))
    seen = cutting.ask("many.service.svcmesh", type_)
    assert (seen.flags, seen.answer, seen.authority) == ("qr aa tc rd", [], [])


def test_the_a_record_limit_holds_everywhere_but_not_for_srv() -> None:
    client = Client(directory_of(40), DnsConfig(a_record_limit=2, enable_truncate=True))
    for seen in (
        client.ask("many.service.svcmesh"),
        client.ask("many.service.svcmesh", "ANY", is_tcp=True),
        client.ask("many.service.svcmesh", edns=4096),
    ):
        assert (len(seen.answer), seen.flags) == (2, "qr aa rd")
    assert len(client.ask("many.service.svcmesh", "SRV", is_tcp=True).answer) == 40


def test_metadata_is_left_out_when_a_small_response_is_cut() -> None:
    directory = FakeDirectory()
    for number in range(4):
        node = directory.add_node(f"n{number}", f"10.0.0.{number}", {"k": "v"})
        directory.add_instance(node, "web", 80)
    seen = Client(directory).ask("web.service.svcmesh", "SRV")
    assert len(seen.additional) == 3
    assert all(" IN A " in line for line in seen.additional)


def test_a_cut_small_response_keeps_to_its_size_even_uncompressed() -> None:
    # Recorded: Consul gives one of six here.
    directory = FakeDirectory()
    service = "a-service-with-quite-a-long-name-for-the-size-test-of-responses"
    for number in range(6):
        name = f"very-long-node-name-for-the-size-test-of-responses-{number}"
        node = directory.add_node(name, f"10.0.7.{number}", {"m": "x" * 60})
        directory.add_instance(node, service, 1)
    seen = Client(directory).ask(f"{service}.service.svcmesh", "SRV")
    assert (len(seen.answer), len(seen.additional)) == (1, 1)


def test_a_nodes_metadata_that_does_not_fit_is_left_out_and_never_limited_to_three() -> None:
    directory = FakeDirectory()
    directory.add_node("big", "10.0.0.1", {f"k{n}": "v" * 100 for n in range(10)})
    directory.add_node("small", "10.0.0.2", {f"k{n}": "v" for n in range(10)})
    client = Client(directory)
    seen = client.ask("big.node.svcmesh")
    assert (seen.answer, seen.additional) == (["big.node.svcmesh. 0 IN A 10.0.0.1"], [])
    assert client.ask("big.node.svcmesh", "TXT").size <= 512
    assert len(client.ask("big.node.svcmesh", edns=4096).additional) == 10
    assert len(client.ask("small.node.svcmesh", "TXT").answer) == 10


def test_tc_says_of_a_node_that_its_metadata_is_not_all_there() -> None:
    directory = FakeDirectory()
    directory.add_node("big", "10.0.0.1", {f"k{n}": "v" * 100 for n in range(10)})
    client = Client(directory)
    assert client.ask("big.node.svcmesh", "TXT").flags == "qr aa tc rd"
    assert client.ask("big.node.svcmesh", "ANY", edns=600).flags == "qr aa tc rd"
    # Nothing of the answer is missing: RFC 2181, section 9.
    assert client.ask("big.node.svcmesh").flags == "qr aa rd"
    assert client.ask("big.node.svcmesh", "TXT", edns=4096).flags == "qr aa rd"
    assert client.ask("big.node.svcmesh", "TXT", is_tcp=True).flags == "qr aa rd"


def test_an_answer_that_cannot_fit_at_all_is_left_out() -> None:
    directory = FakeDirectory()
    directory.add_node("n", "10.0.0.1", {"k": "v" * 600})
    client = Client(directory, DnsConfig(enable_truncate=True))
    seen = client.ask("n.node.svcmesh", "TXT")
    assert (seen.answer, seen.flags) == ([], "qr aa tc rd")


def test_the_longest_name_leaves_room_for_the_soa() -> None:
    domain = ".".join(["d" * 60] * 3)
    client = Client(FakeDirectory(), DnsConfig(domain=domain))
    seen = client.ask(f"{'x' * 40}.service.{domain}", edns=512)
    assert (seen.rcode, seen.authority) == ("NXDOMAIN", [soa(domain)])
    assert seen.size <= 512


def test_a_large_tcp_response_has_correct_names_beyond_16_kib_and_fits() -> None:
    directory = FakeDirectory()
    for number in range(3000):
        node = directory.add_node(f"node-{number}", f"10.3.{number // 250}.{number % 250}")
        directory.add_instance(node, "huge", 80)
    client = Client(directory)
    seen = client.ask("huge.service.svcmesh", "SRV", is_tcp=True)
    assert 50_000 < seen.size <= 65_535
    assert len(seen.answer) == len(seen.additional) > 800
    assert targets_without_address(seen) == []
    addresses = {f"{node.name}.node.dc1.svcmesh.": node.address for node in directory.nodes}
    for line in seen.additional:
        owner, _, _, _, address = line.split()
        assert addresses[owner] == address
    assert len(client.ask("huge.service.svcmesh", is_tcp=True).answer) == 3000


def test_each_instance_is_equally_often_among_three_of_ten() -> None:
    client = Client(directory_of(10), seed=7)
    rounds = 4000
    seen = Counter(
        line for _ in range(rounds) for line in client.ask("many.service.svcmesh").answer
    )
    expected = rounds * 3 / 10
    chi_square = sum((count - expected) ** 2 / expected for count in seen.values())
    assert len(seen) == 10
    # 9 degrees of freedom: above 27.9 once in a thousand seeds.
    assert chi_square < 27.9


def test_all_orders_of_three_are_equally_likely() -> None:
    client = Client(directory_of(3), seed=3)
    rounds = 3000
    orders = Counter(
        response[-52:] for _ in range(rounds) if (response := client.raw(_A_QUERY)) is not None
    )
    chi_square = sum((count - rounds / 6) ** 2 / (rounds / 6) for count in orders.values())
    assert len(orders) == 6
    # 5 degrees of freedom: above 20.5 once in a thousand seeds.
    assert chi_square < 20.5


_A_QUERY = bytes.fromhex("123401000001000000000000") + (
    b"\x04many\x07service\x07svcmesh\x00\x00\x01\x00\x01"
)


def test_a_few_answers_of_a_large_service_cost_a_few_draws(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_at = 0
    location = Member.location

    def counted(member: Member, type_: int) -> Location:
        nonlocal looked_at
        looked_at += 1
        return location(member, type_)

    directory = FakeDirectory()
    directory.add_many("many", 200)
    pool = directory.service("many", None)
    directory.service = lambda name, tag: pool  # type: ignore[method-assign]  # the pool is kept
    monkeypatch.setattr(Member, "location", counted)
    Client(directory).ask("many.service.svcmesh", "SRV")
    assert 4 <= looked_at <= 8


@pytest.mark.parametrize(
    "settings",
    [
        {"domain": "."},
        {"domain": "a..b"},
        {"alt_domain": "x" * 64},
        {"node_ttl_s": -1},
        {"service_ttl_s": {"*": 2**31}},
        {"udp_answer_limit": -1},
        {"a_record_limit": -1},
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(DnsConfigError, match=next(iter(settings))):
        DnsConfig(**settings)  # type: ignore[arg-type]  # varied by the test


def test_soa_settings_out_of_range_are_refused() -> None:
    with pytest.raises(DnsConfigError, match="min_ttl_s"):
        SoaConfig(min_ttl_s=-1)
