"""Gossip rounds and what a packet holds (gossip protocol, 8.8, section 9)."""

from dataclasses import replace
from itertools import pairwise

import pytest

from gossip.config import GossipConfig, PoolConfig, SwimConfig, lan
from gossip.swim.carrier import packet_room_bytes
from gossip.swim.effects import SendPacket
from gossip.types import Address, MemberName
from gossip.wire.messages import Ack, Alive, Ping, Suspect
from tests.gossip.machines import (
    VSN,
    Bench,
    Sent,
    address,
    alive,
    dead,
    drop_reasons,
    name,
    of_type,
    ping,
    sent,
    suspect,
)

NO_PROBES = replace(lan(), probe_interval_s=10_000.0, push_pull_interval_s=0.0)


def about(number: int, packets: list[Sent]) -> list[Sent]:
    """Packets with an alive claim about one member."""
    return [p for p in packets if name(number) in [m.node for m in of_type(Alive, p.messages)]]


def test_a_rumor_is_sent_as_often_as_its_limit_says() -> None:
    # Five members besides us: n = 6 or 7 below 10, so 4 x 1 transmissions.
    bench = Bench(members=5, swim=NO_PROBES)
    bench.run_for(5)
    bench.take(alive(6))
    assert len(about(6, sent(bench.run_for(5)))) == 4


def test_from_ten_members_on_a_rumor_is_sent_twice_as_often() -> None:
    bench = Bench(members=12, swim=NO_PROBES)
    bench.run_for(5)
    bench.take(alive(13))
    assert len(about(13, sent(bench.run_for(5)))) == 8


def test_a_round_goes_to_three_different_members_with_a_checksum() -> None:
    bench = Bench(members=9, swim=NO_PROBES)
    bench.run_for(5)
    bench.take(alive(10))
    packets = sent(bench.step())
    assert len({p.to for p in packets}) == 3
    assert all(p.crc for p in packets)


def test_a_member_that_does_not_know_checksums_gets_none() -> None:
    bench = Bench(swim=NO_PROBES)
    bench.take(alive(1, vsn=bytes((1, 4)) + VSN[2:]))
    packets = sent(bench.run_for(1))
    assert packets
    assert not any(p.crc for p in packets)


def test_after_a_quiet_time_a_rumor_is_sent_at_once() -> None:
    bench = Bench(members=9, swim=NO_PROBES)
    bench.run_for(5)
    bench.take(alive(10))
    due_at = bench.machine.next_deadline_at
    assert due_at is not None
    assert due_at <= bench.now


def test_rounds_are_never_closer_than_the_gossip_interval() -> None:
    bench = Bench(members=30, swim=NO_PROBES)
    instants = []
    for number in range(31, 90):
        bench.take(alive(number))
        if sent(bench.run_for(0.05)):
            instants.append(bench.now)
    gaps = [b - a for a, b in pairwise(instants)]
    assert min(gaps) >= 0.2 - 0.05


def test_without_rumors_a_member_wakes_for_nothing_but_probes_and_exchanges() -> None:
    bench = Bench(members=3)
    bench.run_for(30)
    steps, end = 0, bench.now + 60
    while bench.now < end:
        bench.step()
        steps += 1
    # 60 probes, 2 exchanges, 4 reaps and 2 reconnects, and each ack's cancelled timer.
    assert steps < 75


def test_rumors_go_to_suspect_and_recently_dead_members_but_not_to_left_ones() -> None:
    bench = Bench(members=3, swim=NO_PROBES)
    bench.take(suspect(name(1), 1, "m9"))
    bench.take(dead(name(2), 1, "m9"))
    bench.take(dead(name(3), 1, "m3"))
    targets = {p.to for p in sent(bench.run_for(2))}
    assert targets == {address(1), address(2)}


def test_the_dead_get_rumors_for_thirty_seconds_only() -> None:
    bench = Bench(members=2, swim=NO_PROBES)
    bench.take(dead(name(2), 1, "m1"))
    bench.run_for(29)
    bench.take(alive(1, 2))
    assert address(2) in {p.to for p in sent(bench.run_for(0.9))}
    bench.run_for(2)
    bench.take(alive(1, 3))
    assert address(2) not in {p.to for p in sent(bench.run_for(5))}


@pytest.mark.parametrize(
    ("label", "key_bytes", "room_bytes"),
    # 1400 less compound header 2, checksum 5, label 2 + length, encryption 29.
    [("", 0, 1393), ("", 29, 1364), ("blue", 0, 1387), ("blue", 29, 1358)],
)
def test_the_room_in_a_packet_is_what_all_layers_leave(
    label: str, key_bytes: int, room_bytes: int
) -> None:
    config = GossipConfig(pool=PoolConfig(label=label))
    assert packet_room_bytes(config, keyring_overhead_bytes=key_bytes) == room_bytes


@pytest.mark.parametrize("udp_buffer_bytes", [512, 1400, 9000])
@pytest.mark.parametrize("key_bytes", [0, 29])
def test_no_packet_is_larger_than_the_buffer(udp_buffer_bytes: int, key_bytes: int) -> None:
    swim = SwimConfig(udp_buffer_bytes=udp_buffer_bytes)
    bench = Bench(swim=swim, keyring_overhead_bytes=key_bytes)
    for number in range(1, 120):
        bench.take(alive(number, tags={"n": "x" * (number % 97)}))
    bench.take(ping(5))
    bench.run_for(10)
    sizes = [
        key_bytes + 5 * e.crc + 2 + sum(2 + len(part) for part in e.parts)
        for e in bench.effects
        if isinstance(e, SendPacket) and len(e.parts) > 1
    ]
    assert max(sizes) <= udp_buffer_bytes
    assert max(sizes) > udp_buffer_bytes * 0.8


def test_a_packet_has_at_most_255_parts() -> None:
    bench = Bench(swim=SwimConfig(udp_buffer_bytes=65507))
    for number in range(1, 255):
        bench.take(alive(number))
    for number in range(1, 255):
        bench.take(alive(number, at=Address(f"10.0.2.{number}", 1)))  # conflicts: no rumor
    for number in range(1, 30):
        bench.take(replace(alive(number), node=MemberName(f"other{number}")))
    parts = [len(e.parts) for e in bench.run_for(5) if isinstance(e, SendPacket)]
    assert max(parts) == 255


def test_a_claim_that_fits_no_packet_is_not_queued() -> None:
    bench = Bench(swim=SwimConfig(udp_buffer_bytes=512))
    effects = bench.take(alive(1, tags={"t": "x" * 480}))
    assert "rumor-too-large" in drop_reasons(effects)
    assert bench.machine.member(name(1)) is not None


def test_acks_and_pings_have_no_checksum() -> None:
    bench = Bench(members=3)
    bench.take(ping(1))
    bench.run_for(5)
    plain = [p for p in sent(bench.effects) if isinstance(p.messages[0], Ping | Ack)]
    assert plain
    assert not any(p.crc for p in plain)


def test_a_claim_goes_neither_to_its_subject_nor_to_who_made_it_known() -> None:
    bench = Bench(members=5, swim=NO_PROBES)
    bench.run_for(5)
    bench.take(alive(6), source=address(1))
    bench.take(alive(6), source=address(2))
    packets = about(6, sent(bench.run_for(5)))
    assert len(packets) == 4
    assert {p.to for p in packets} <= {address(3), address(4), address(5)}


def test_an_accusation_does_go_to_the_accused() -> None:
    bench = Bench(members=2, swim=NO_PROBES)
    bench.run_for(5)
    bench.take(suspect(name(1), 1, "m2"), source=address(2))
    told = [p.to for p in sent(bench.run_for(3)) if of_type(Suspect, p.messages)]
    assert set(told) == {address(1)}


def test_forged_sources_are_not_remembered_as_knowing() -> None:
    bench = Bench(members=3, swim=NO_PROBES)
    bench.run_for(5)
    for number in range(50):
        bench.take(alive(4), source=address(100 + number))
    assert len(about(4, sent(bench.run_for(5)))) == 4
