"""The machines' timers."""

from collections.abc import Callable
from math import inf

from gossip.swim.deadlines import Deadlines


def test_they_run_in_order_and_not_early() -> None:
    ran: list[str] = []
    deadlines = Deadlines()

    def noting(what: str) -> Callable[[float], None]:
        return lambda _now: ran.append(what)

    for at, what in ((3.0, "c"), (1.0, "a"), (2.0, "b"), (2.0, "b too")):
        deadlines.arm(at, noting(what))
    deadlines.run_due(2.0)
    assert ran == ["a", "b", "b too"]
    assert deadlines.next_at == 3.0


def test_a_cancelled_one_neither_runs_nor_counts_as_next() -> None:
    ran: list[float] = []
    deadlines = Deadlines()
    deadlines.arm(1.0, ran.append).cancel()
    deadlines.arm(2.0, ran.append)
    assert deadlines.next_at == 2.0
    deadlines.run_due(5.0)
    assert ran == [5.0]
    assert deadlines.next_at == inf


def test_what_a_deadline_arms_for_now_runs_too() -> None:
    ran: list[float] = []
    deadlines = Deadlines()

    def arm_another(now: float) -> None:
        deadlines.arm(now, ran.append)

    deadlines.arm(1.0, arm_another)
    deadlines.run_due(1.5)
    assert ran == [1.5]


def test_arming_and_cancelling_for_ever_keeps_the_heap_small() -> None:
    deadlines = Deadlines()
    deadlines.arm(0.5, lambda _now: None)
    for number in range(10_000):
        deadlines.arm(100.0 + number, lambda _now: None).cancel()
    assert len(deadlines) < 200
