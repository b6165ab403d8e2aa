"""Rows of address records: complete, each once, in random order, whatever came and went."""

import socket
from collections import Counter
from random import Random

from dnslib import DNSRecord
from hypothesis import given
from hypothesis import strategies as st

from dnsserver.addressrow import AddressRow
from dnsserver.records import AAAA, A
from tests.dnsserver.fakes import query

NAME = "web.service.svcmesh"


def packed(number: int) -> bytes:
    return bytes((10, 0, 0, number))


def decoded(records: bytes, count: int) -> list[str]:
    """The addresses in records, by a second implementation: they are put into a message."""
    question = query(NAME)
    header = question[:2] + b"\x84\0\0\1" + count.to_bytes(2, "big") + b"\0\0\0\0"
    answers = DNSRecord.parse(header + question[12:] + records).rr
    assert {(str(answer.rname), answer.ttl) for answer in answers} <= {(f"{NAME}.", 7)}
    return [str(answer.rdata) for answer in answers]


def order(row: AddressRow) -> tuple[str, ...]:
    return tuple(decoded(row.stretch(0, len(row)), len(row)))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9))), st.integers(0, 2**32))
def test_a_row_has_the_addresses_of_those_that_came_and_did_not_go(
    steps: list[tuple[bool, int]], seed: int
) -> None:
    expected = Counter({1: 2, 2: 1})
    row = AddressRow(A, 7, [packed(1), packed(2), packed(1)], Random(seed))
    for adds, number in steps:
        if adds:
            expected[number] += 1
            row.add(packed(number))
        elif expected[number]:
            expected[number] -= 1
            row.discard(packed(number))
    present = [number for number, count in expected.items() if count]
    assert len(row) == len(present)
    assert sorted(order(row)) == sorted(f"10.0.0.{number}" for number in present)


def test_every_order_is_equally_likely_after_addresses_came_and_went() -> None:
    orders: Counter[tuple[str, ...]] = Counter()
    for seed in range(6000):
        row = AddressRow(A, 7, [packed(0)], Random(seed))
        for number in (1, 2, 3):
            row.add(packed(number))
        row.discard(packed(1))
        orders[order(row)] += 1
    assert len(orders) == 6
    # 5 degrees of freedom: above 20.5 once in a thousand times.
    assert sum((count - 1000) ** 2 / 1000 for count in orders.values()) < 20.5


def test_a_stretch_goes_on_from_the_last_to_the_first() -> None:
    addresses = [socket.inet_pton(socket.AF_INET6, f"fd00::{number}") for number in range(1, 6)]
    row = AddressRow(AAAA, 7, addresses, Random(1))
    assert decoded(row.stretch(3, 4), 4) == ["fd00::4", "fd00::5", "fd00::1", "fd00::2"]
    assert decoded(row.stretch(1, 2), 2) == ["fd00::2", "fd00::3"]
    assert decoded(row.stretch(4, 7), 7) == [f"fd00::{n}" for n in (5, 1, 2, 3, 4, 5, 1)]
