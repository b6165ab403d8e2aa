"""The broadcast queue (gossip protocol, section 9)."""

from dataclasses import dataclass
from math import ceil, log10

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.swim.broadcasts import PASSED_OVER_MAX, BroadcastQueue, retransmit_limit
from gossip.types import Address
from tests.gossip.machines import address


@dataclass(eq=False)
class NaiveRumor:
    body: bytes
    name: str | None
    no: int
    sent: int = 0


def naive_draw(rumors: list[NaiveRumor], room_bytes: int) -> list[bytes]:
    """Section 9.2 word by word: look at everything for each choice."""
    waiting, drawn = list(rumors), []
    while fitting := [r for r in waiting if room_bytes > 2 and len(r.body) <= room_bytes - 2]:
        best = min(fitting, key=lambda r: (r.sent, -len(r.body), -r.no))
        waiting.remove(best)
        drawn.append(best)
        room_bytes -= 2 + len(best.body)
    for rumor in drawn:
        rumor.sent += 1
    return [rumor.body for rumor in drawn]


def draw(queue: BroadcastQueue, room_bytes: int = 1400, limit: int = 4) -> list[bytes]:
    return queue.draw(room_bytes=room_bytes, overhead_bytes=2, limit=limit, count_max=255)


@pytest.mark.parametrize(
    ("mult", "node_count", "limit"),
    [
        (4, 0, 1),
        (4, 1, 4),
        (4, 9, 4),
        (4, 10, 8),
        (4, 99, 8),
        (4, 100, 12),
        (4, 999, 12),
        (2, 5, 2),
    ],
)
def test_the_transmit_limit_steps_up_at_every_power_of_ten(
    mult: int, node_count: int, limit: int
) -> None:
    assert retransmit_limit(mult, node_count) == limit


@given(st.integers(1, 100_000))
def test_the_transmit_limit_is_the_documented_logarithm(node_count: int) -> None:
    assert retransmit_limit(3, node_count) == 3 * ceil(round(log10(node_count + 1), 12))


def test_a_rumor_is_forgotten_after_its_last_transmission() -> None:
    queue = BroadcastQueue(size_max=10)
    no = queue.queue(b"x")
    assert [draw(queue, limit=3) for _ in range(4)] == [[b"x"], [b"x"], [b"x"], []]
    assert no not in queue


def test_the_least_transmitted_rumor_goes_first() -> None:
    queue = BroadcastQueue(size_max=10)
    queue.queue(b"old-and-long")
    draw(queue)
    queue.queue(b"new")
    assert draw(queue) == [b"new", b"old-and-long"]


def test_among_equally_transmitted_the_largest_that_fits_goes_first_and_then_the_newest() -> None:
    queue = BroadcastQueue(size_max=10)
    for body in (b"aaaa", b"1b", b"2b", b"cccccccccc"):
        queue.queue(body)
    assert draw(queue, room_bytes=10) == [b"aaaa", b"2b"]


def test_each_rumor_costs_its_length_and_the_overhead() -> None:
    queue = BroadcastQueue(size_max=10)
    for _ in range(5):
        queue.queue(b"12345678")
    assert len(draw(queue, room_bytes=29)) == 2
    assert len(draw(queue, room_bytes=30)) == 3


def test_a_rumor_replaces_the_older_one_of_the_same_name() -> None:
    queue = BroadcastQueue(size_max=10)
    older = queue.queue(b"suspect", name="n1")
    queue.queue(b"alive", name="n1")
    assert older not in queue
    assert draw(queue) == [b"alive"]


def test_unnamed_rumors_never_replace_each_other() -> None:
    queue = BroadcastQueue(size_max=10)
    queue.queue(b"x")
    queue.queue(b"x")
    assert draw(queue) == [b"x", b"x"]


def test_a_full_queue_forgets_a_most_transmitted_rumor() -> None:
    queue = BroadcastQueue(size_max=2)
    queue.queue(b"old")
    draw(queue)
    queue.queue(b"newer")
    queue.queue(b"newest")
    assert sorted(draw(queue)) == [b"newer", b"newest"]


def test_no_more_parts_are_drawn_than_asked_for() -> None:
    queue = BroadcastQueue(size_max=300)
    for number in range(300):
        queue.queue(bytes([number % 256]))
    assert len(queue.draw(room_bytes=65000, overhead_bytes=2, limit=4, count_max=255)) == 255


@given(
    st.lists(
        st.one_of(
            st.tuples(st.binary(min_size=1, max_size=30), st.sampled_from([None, "a", "b", "c"])),
            st.integers(0, 80),
        ),
        max_size=60,
    )
)
def test_draws_agree_with_a_naive_queue(steps: list[tuple[bytes, str | None] | int]) -> None:
    queue = BroadcastQueue(size_max=1000)
    naive: list[NaiveRumor] = []
    for number, step in enumerate(steps):
        if isinstance(step, tuple):
            body, name = step
            queue.queue(body, name=name)
            naive = [rumor for rumor in naive if name is None or rumor.name != name]
            naive.append(NaiveRumor(body, name, number))
        else:
            assert draw(queue, room_bytes=step, limit=3) == naive_draw(naive, step)
            naive = [rumor for rumor in naive if rumor.sent < 3]
            assert len(queue) == len(naive)


def draw_for(queue: BroadcastQueue, to: Address, *, others_present: int) -> list[bytes]:
    return queue.draw(
        room_bytes=1000,
        overhead_bytes=2,
        limit=2,
        count_max=255,
        to=to,
        others_present=others_present,
    )


def test_whoever_knows_a_rumor_does_not_use_it_up() -> None:
    queue = BroadcastQueue(size_max=10)
    queue.queue(b"subject", known_by=[address(1)])
    queue.queue(b"news", name="n")
    queue.note_known("n", address(1))
    assert [draw_for(queue, address(1), others_present=2) for _ in range(5)] == [[]] * 5
    assert sorted(draw_for(queue, address(2), others_present=2)) == [b"news", b"subject"]


def test_a_draw_passes_over_a_bounded_number_and_loses_none() -> None:
    queue = BroadcastQueue(size_max=200)
    queue.queue(b"z")
    for number in range(PASSED_OVER_MAX):
        queue.queue(b"long" + bytes([number]), known_by=[address(1)])
    assert draw_for(queue, address(1), others_present=9) == []
    assert len(draw_for(queue, address(2), others_present=9)) == PASSED_OVER_MAX + 1


def test_a_rumor_that_everybody_present_knows_is_used_up_all_the_same() -> None:
    queue = BroadcastQueue(size_max=10)
    queue.queue(b"x", known_by=[address(1)])
    sent = [draw_for(queue, address(1), others_present=1) for _ in range(3)]
    assert sent == [[b"x"], [b"x"], []]


def test_an_urgent_rumor_goes_first_until_it_is_spread() -> None:
    queue = BroadcastQueue(size_max=100)
    urgent = queue.queue(b"leaving", is_urgent=True)
    for number in range(50):
        queue.queue(b"%07d" % number)
    assert queue.has_urgent
    for _ in range(4):
        (first,) = queue.draw(room_bytes=10, overhead_bytes=2, limit=4, count_max=1)
        assert first == b"leaving"
    assert urgent not in queue
    assert not queue.has_urgent
    assert queue.draw(room_bytes=10, overhead_bytes=2, limit=4, count_max=1) != [b"leaving"]


def test_a_full_queue_keeps_what_is_urgent() -> None:
    queue = BroadcastQueue(size_max=3)
    urgent = queue.queue(b"leaving", is_urgent=True)
    for number in range(10):
        queue.queue(b"%d" % number)
    assert urgent in queue
    assert len(queue) == 3
