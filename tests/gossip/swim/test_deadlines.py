"""The machines' timers."""

from collections.abc import Callable
from math import inf

from hypothesis import given
from hypothesis import strategies as st

from gossip.swim.deadlines import Deadline, Deadlines


def test_they_run_in_order_and_not_early() -> None:
    ran: list[str] = []
    deadlines = Deadlines()

    def noting(what: str) -> Callable[[float], None]:
        return lambda _now: ran.append(what)

    for at, what in ((3.0, "c"), (1.0, "a"), (2.0, "b"), (2.0, "b too")):
        deadlines.call_at(at, noting(what))
    deadlines.run_due(2.0)
    assert ran == ["a", "b", "b too"]
    assert deadlines.next_at == 3.0


def test_a_cancelled_one_neither_runs_nor_counts_as_next() -> None:
    ran: list[float] = []
    deadlines = Deadlines()
    deadlines.cancel(deadlines.call_at(1.0, ran.append))
    deadlines.call_at(2.0, ran.append)
    assert deadlines.next_at == 2.0
    deadlines.run_due(5.0)
    assert ran == [5.0]
    assert deadlines.next_at == inf


def test_what_a_deadline_arms_for_now_runs_too() -> None:
    ran: list[float] = []
    deadlines = Deadlines()

    def arm_another(now: float) -> None:
        deadlines.call_at(now, ran.append)

    deadlines.call_at(1.0, arm_another)
    deadlines.run_due(1.5)
    assert ran == [1.5]


def test_arming_and_cancelling_for_ever_keeps_the_heap_small() -> None:
    deadlines = Deadlines()
    deadlines.call_at(0.5, lambda _now: None)
    for number in range(10_000):
        deadlines.cancel(deadlines.call_at(100.0 + number, lambda _now: None))
    assert len(deadlines) < 200


def test_a_deadline_that_is_armed_anew_runs_for_its_last_arming_only() -> None:
    ran: list[str] = []
    deadlines = Deadlines()
    moved, kept = Deadline(), Deadline()
    deadlines.arm(moved, 1.0, lambda _now: ran.append("too early"))
    deadlines.arm(kept, 2.0, lambda _now: ran.append("kept"))
    deadlines.arm(moved, 3.0, lambda _now: ran.append("from the front"))
    assert deadlines.next_at == 2.0
    deadlines.arm(moved, 1.5, lambda _now: ran.append("from behind"))
    assert deadlines.next_at == 1.5
    deadlines.run_due(5.0)
    assert ran == ["from behind", "kept"]
    assert deadlines.next_at == inf
    deadlines.arm(moved, 6.0, lambda _now: ran.append("again"))
    deadlines.run_due(6.0)
    assert ran[2:] == ["again"]
    assert not moved.is_armed


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9)), max_size=60))
def test_whatever_is_armed_and_cancelled_the_next_instant_is_the_earliest(
    steps: list[tuple[int, int]],
) -> None:
    deadlines, timers = Deadlines(), [Deadline() for _ in range(5)]
    armed: dict[int, int] = {}
    for which, at in steps:
        if at:
            deadlines.arm(timers[which], at, lambda _now: None)
            armed[which] = at
        else:
            deadlines.cancel(timers[which])
            armed.pop(which, None)
        assert deadlines.next_at == min(armed.values(), default=inf)
