"""How many responses a client's network may have."""

import asyncio
from random import Random

import pytest

import dnsserver.ratelimit
from dnsserver import DnsConfig, DnsServer, ServerLimits
from dnsserver.ratelimit import RateLimiter, Verdict
from tests.dnsserver.fakes import decode, query
from tests.dnsserver.test_server import ask_udp, framed, read_framed, web_directory


def verdicts(limiter: RateLimiter, host: str, count: int, *, now: float) -> list[str]:
    return [limiter.judge(host, now=now).name for _ in range(count)]


def test_a_network_has_its_rate_and_as_much_at_once() -> None:
    limiter = RateLimiter(10, slip=0)
    assert verdicts(limiter, "192.0.2.1", 12, now=0.0) == ["SEND"] * 10 + ["DROP"] * 2
    assert verdicts(limiter, "192.0.2.1", 6, now=0.5) == ["SEND"] * 5 + ["DROP"]
    assert verdicts(limiter, "192.0.2.1", 11, now=100.0) == ["SEND"] * 10 + ["DROP"]


def test_clients_of_one_network_share_its_rate() -> None:
    limiter = RateLimiter(1, slip=0)
    for network in (("192.0.2.1", "192.0.2.200"), ("2001:db8::1", "2001:db8:0:ff::1")):
        first, second = network
        assert limiter.judge(first, now=0.0) is Verdict.SEND
        assert limiter.judge(second, now=0.0) is Verdict.DROP
    assert limiter.judge("192.0.3.1", now=0.0) is Verdict.SEND
    assert limiter.judge("2001:db8:0:100::1", now=0.0) is Verdict.SEND


def test_one_in_so_many_refused_responses_slips() -> None:
    limiter = RateLimiter(1, slip=3)
    found = verdicts(limiter, "192.0.2.1", 7, now=0.0)
    assert found == ["SEND", "DROP", "DROP", "SLIP", "DROP", "DROP", "SLIP"]


def test_the_table_is_bounded_and_forgets_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dnsserver.ratelimit, "NETWORKS_MAX", 100)
    limiter = RateLimiter(1, slip=0)
    for number in range(200):
        limiter.judge(f"10.0.{number}.1", now=0.0)
        limiter.judge(f"fd00:0:{number:x}::1", now=0.0)
    assert len(limiter) <= 100
    assert limiter.judge("10.0.199.1", now=0.0) is Verdict.DROP
    assert limiter.judge("10.0.0.1", now=0.0) is Verdict.SEND


def test_who_is_limited_over_udp_is_answered_over_tcp() -> None:
    async def main() -> None:
        limits = ServerLimits(responses_per_s=1, slip=1)
        server = DnsServer(web_directory(), DnsConfig(), rng=Random(1), limits=limits)
        await server.start([("127.0.0.1", 0)])
        address = server.addresses[0]
        packet = query("web.service.svcmesh")
        responses = await ask_udp(address, packet, packet, responses=2)
        whole, slipped = (decode(response) for response, _ in responses)
        assert (whole.flags, len(whole.answer)) == ("qr aa rd", 1)
        assert (slipped.flags, slipped.answer, slipped.size) == ("qr aa tc rd", [], len(packet))
        assert server.counters.slipped == 1
        reader, writer = await asyncio.open_connection(*address)
        writer.write(framed(packet))
        assert decode(await read_framed(reader)).answer == whole.answer
        writer.close()
        await writer.wait_closed()
        await server.close()

    asyncio.run(main())
