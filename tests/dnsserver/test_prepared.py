"""Responses that are prepared: always what the directory would say now, and evenly spread."""

import struct
import tracemalloc
from collections import Counter
from random import Random

import pytest

import dnsserver.cache
from dnsserver import DnsConfig, NodeAnswer, ServiceAnswer, ServicePool, Stamp
from dnsserver.cache import AnswerCache, Entry
from dnsserver.schedule import Schedule
from tests.dnsserver.fakes import NOW_UTC, Client, FakeDirectory, decode, opt_record, query, soa


class KeptDirectory(FakeDirectory):
    """Keeps its pools, as a real directory does, and counts what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.pools: dict[tuple[str, str | None], ServicePool] = {}
        self.stamps: dict[str, Stamp] = {}
        self.asked = 0

    def service(self, name: str, tag: str | None) -> ServicePool:
        self.asked += 1
        return self.pools.setdefault((name, tag), ServicePool(Random(1)))

    def node_stamp(self, name: str) -> Stamp:
        self.asked += 1
        return self.stamps.setdefault(name, Stamp())

    def put(self, service: str, number: int, *, tag: str | None = None) -> None:
        address = f"10.1.{number >> 8}.{number & 255}"
        node = NodeAnswer(f"n{number}", address)
        pool = self.pools.setdefault((service, tag), ServicePool(Random(1)))
        pool.put(number, ServiceAnswer(node, service, "", 8000, 1))


def directory_with(count: int, service: str = "web") -> KeptDirectory:
    directory = KeptDirectory()
    for number in range(count):
        directory.put(service, number)
    return directory


WEB = "web.service.svcmesh"


def test_a_repeated_query_is_answered_without_asking_the_directory() -> None:
    directory = directory_with(3)
    client = Client(directory)
    answers = {tuple(client.ask(WEB).answer) for _ in range(50)}
    assert len(answers) == 1
    assert directory.asked == 1
    assert client.counters.responses == {0: 50}
    assert client.counters.udp_queries == 50


def test_a_change_shows_in_the_next_answer() -> None:
    directory = directory_with(2)
    client = Client(directory)
    assert len(client.ask(WEB).answer) == 2
    directory.put("web", 2)
    assert len(client.ask(WEB).answer) == 3
    for number in range(3):
        directory.pools["web", None].discard(number)
    assert client.ask(WEB).rcode == "NXDOMAIN"
    directory.put("web", 7)
    assert client.ask(WEB).answer == [f"{WEB}. 0 IN A 10.1.0.7"]


def test_a_change_of_another_service_leaves_the_answer_prepared() -> None:
    directory = directory_with(3)
    client = Client(directory)
    client.ask(WEB)
    directory.put("db", 1)
    client.ask(WEB)
    assert directory.asked == 1


@pytest.mark.parametrize("is_tcp", [False, True])
def test_options_and_letter_case_do_not_split_the_answers(is_tcp: bool) -> None:
    directory = directory_with(3)
    client = Client(directory)
    for number in range(200):
        cookie = struct.pack(">HH", 10, 8) + number.to_bytes(8, "big")
        subnet = struct.pack(">HHHBB", 8, 7, 1, 24, 0) + bytes((10, 0, number))
        name = "".join(
            letter.upper() if number >> at % 8 & 1 else letter for at, letter in enumerate(WEB)
        )
        packet = query(name, opt=opt_record(1232, options=cookie + subnet))
        seen = decode(client.raw(packet, is_tcp=is_tcp))
        assert seen.opt == (1232, 0, subnet)
        assert seen.question == [f"{name}. 1 1"]
        assert len(seen.answer) == 3
        assert all(line.startswith(f"{name}. 0 IN A ") for line in seen.answer)
    assert directory.asked == 1


def test_an_echoed_option_never_makes_an_answer_too_large() -> None:
    client = Client(directory_with(400))
    subnet = struct.pack(">HHHBB", 8, 20, 2, 128, 0) + bytes(range(16))
    for size in range(513, 700):
        plain = client.raw(query(WEB, opt=opt_record(size)))
        with_subnet = client.raw(query(WEB, opt=opt_record(size, options=subnet)))
        assert plain is not None
        assert with_subnet is not None
        assert len(plain) <= size
        assert len(with_subnet) <= size
        assert decode(with_subnet).opt == (size, 0, subnet)


def test_a_negative_answer_says_the_time_it_is() -> None:
    client = Client(directory_with(0))
    respond = client.responder.respond_udp
    for seconds in (0.0, 0.4, 0.9, 1.5, 7.0):
        response = respond(query(WEB), NOW_UTC + seconds)
        assert isinstance(response, bytes)
        [authority] = decode(response).authority
        expected = soa("svcmesh").replace("1795231444", str(int(NOW_UTC + seconds)))
        assert authority == expected


def test_an_answer_that_is_not_final_is_not_kept() -> None:
    directory = directory_with(0)
    directory.is_ready = False
    client = Client(directory)
    assert client.ask(WEB).rcode == "SERVFAIL"
    assert client.ask("n1.node.svcmesh").rcode == "SERVFAIL"
    directory.is_ready = True
    assert client.ask(WEB).rcode == "NXDOMAIN"
    assert client.ask("n1.node.svcmesh").rcode == "NXDOMAIN"


def test_a_node_is_looked_up_again_when_it_has_changed() -> None:
    directory = directory_with(0)
    directory.add_node("n1", "10.0.0.1")
    client = Client(directory)
    assert client.ask("n1.node.svcmesh").answer == ["n1.node.svcmesh. 0 IN A 10.0.0.1"]
    directory.nodes.clear()
    directory.add_node("n1", "10.0.0.2")
    directory.stamps.pop("n1").is_current = False
    assert client.ask("n1.node.svcmesh").answer == ["n1.node.svcmesh. 0 IN A 10.0.0.2"]


def test_an_alias_is_followed_anew_each_time() -> None:
    directory = directory_with(1)
    node = NodeAnswer("n9", "10.0.0.9")
    pool = directory.service("alias", None)
    pool.put("a", ServiceAnswer(node, "alias", WEB, 1, 1))
    client = Client(directory)
    assert f"{WEB}. 0 IN A 10.1.0.0" in client.ask("alias.service.svcmesh").answer
    directory.put("web", 5)
    directory.pools["web", None].discard(0)
    assert f"{WEB}. 0 IN A 10.1.0.5" in client.ask("alias.service.svcmesh").answer


@pytest.mark.parametrize("type_", ["A", "SRV"])
@pytest.mark.parametrize("edns", [None, 1232])
@pytest.mark.parametrize("count", [2, 3, 5, 10, 40, 250, 1000])
def test_load_is_spread_evenly_over_ten_thousand_queries(
    type_: str, edns: int | None, count: int
) -> None:
    client = Client(directory_with(count), seed=count)
    packet = query(WEB, type_, opt=b"" if edns is None else opt_record(edns))
    firsts: Counter[bytes] = Counter()
    all_given: Counter[str] = Counter()
    for _ in range(10_000):
        response = client.raw(packet)
        assert response is not None
        # Behind the question are the pointer, type, class, TTL and length of the first record.
        at = 12 + len(query(WEB)) - 12 + 12
        firsts[response[at : at + (4 if type_ == "A" else 32)]] += 1
        if edns is None and count <= 40 and _ % 10 == 0:
            all_given.update(decode(response).answer)
    assert chi_square(firsts, 10_000, count) < critical(count - 1)
    if all_given:
        assert chi_square(all_given, sum(all_given.values()), count) < critical(count - 1)


@pytest.mark.parametrize("type_", ["A", "SRV"])
@pytest.mark.parametrize("edns", [None, 1232])
def test_any_instance_may_follow_any_other(type_: str, edns: int | None) -> None:
    """Else all clients of one that is down would go to the same second one."""
    client = Client(directory_with(3))
    packet = query(WEB, type_, opt=b"" if edns is None else opt_record(edns))
    orders = Counter(client.raw(packet) for _ in range(600))
    assert len(orders) == 6
    assert min(orders.values()) > 40


def test_a_small_part_of_many_instances_is_given_evenly() -> None:
    count = 2500
    client = Client(directory_with(count))
    packet = query(WEB, opt=opt_record(4096))
    firsts: Counter[bytes] = Counter()
    for number in range(10_000):
        response = client.raw(packet)
        assert response is not None
        assert len(response) <= 4096
        firsts[response[len(query(WEB)) + 12 :][:4]] += 1
        if number % 1000 == 0:
            answer = decode(response).answer
            assert len(answer) == len(set(answer)) > 250
    assert chi_square(firsts, 10_000, count) < critical(count - 1)
    assert client.counters.shortened == 10_000


@pytest.mark.parametrize("type_", ["A", "AAAA"])
def test_a_long_answer_follows_its_service(type_: str) -> None:
    """Instances come and go, several have one address, and others have none of this family."""
    directory = directory_with(0)
    pool = directory.pools["web", None] = ServicePool(Random(1))
    client, rng = Client(directory), Random(2)
    present: dict[int, str] = {}
    for step in range(400):
        number = rng.randrange(60)
        if step > 60 and rng.random() < 0.4:
            pool.discard(number)
            present.pop(number, None)
        else:
            address = rng.choice((f"10.2.0.{number // 2}", f"fd00::{number // 2 + 1:x}"))
            node = NodeAnswer(f"n{number}", "10.9.9.9")
            pool.put(number, ServiceAnswer(node, "web", address, 8000, 1))
            present[number] = address
        expected = {one for one in present.values() if (":" in one) == (type_ == "AAAA")}
        seen = client.ask(WEB, type_, edns=4096)
        found = [line.split()[-1] for line in seen.answer]
        assert sorted(found) == sorted(expected)


def chi_square(times: Counter[bytes] | Counter[str], total: int, categories: int) -> float:
    expected = total / categories
    missing = categories - len(times)
    return sum((count - expected) ** 2 / expected for count in times.values()) + missing * expected


def critical(degrees: int) -> float:
    """Above this once in a thousand times (Wilson and Hilferty)."""
    spread = 2 / (9 * degrees)
    return float(degrees * (1 - spread + 3.09 * spread**0.5) ** 3)


def test_names_asked_once_do_not_push_out_those_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dnsserver.cache, "ENTRIES_MAX", 100)
    directory = directory_with(3)
    client = Client(directory)
    client.ask(WEB)
    for number in range(500):
        client.raw(query(f"no{number}.service.svcmesh"))
        if number % 20 == 0:
            client.ask(WEB)
    directory.asked = 0
    client.ask(WEB)
    assert directory.asked == 0


def test_the_number_and_size_of_entries_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dnsserver.cache, "ENTRIES_MAX", 100)
    monkeypatch.setattr(dnsserver.cache, "BYTES_MAX", 1 << 20)
    cache = AnswerCache()
    stamp = Stamp()

    def entry(size: int) -> Entry:
        kept = Entry(stamp)
        kept.schedule = Schedule(1, lambda _, __: b"x" * size, Random(1), bytes_max=1 << 30)
        kept.next_response()
        return kept

    for number in range(200):
        cache.keep(b"%d" % number, entry(10))
    assert 50 <= len(cache) <= 100
    for number in range(80):
        cache.keep(b"large%d" % number, entry(1 << 15))
    assert 16 <= len(cache) <= 34


def test_many_questions_about_a_large_service_stay_within_the_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # They differ in the size that they offer, and each has answers of its own.
    monkeypatch.setattr(dnsserver.cache, "BYTES_MAX", 1 << 20)
    client = Client(directory_with(2000))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for size in range(2000, 2300):
            for is_tcp in (False, True):
                client.raw(query(WEB, opt=opt_record(size)), is_tcp=is_tcp)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 8 << 20


def test_no_datagram_gets_what_was_kept_for_a_connection() -> None:
    client = Client(directory_with(500))
    asked = query(WEB)
    assert len(client.raw(asked, is_tcp=True) or b"") > 4096
    for front in (b"tcp", b"t", b"\x00"):
        assert len(client.raw(asked[:2] + front + asked[2:]) or b"") <= 512
    assert len(client.raw(asked) or b"") <= 512


def test_configured_ttls_and_limits_hold_for_prepared_answers() -> None:
    directory = directory_with(9)
    config = DnsConfig(service_ttl_s={"web": 7}, udp_answer_limit=5, enable_truncate=True)
    client = Client(directory, config)
    for _ in range(30):
        seen = client.ask(WEB)
        assert len(seen.answer) == 5
        assert all(" 7 IN A " in line for line in seen.answer)
        assert seen.flags == "qr aa tc rd"
    assert client.counters.shortened == 30
