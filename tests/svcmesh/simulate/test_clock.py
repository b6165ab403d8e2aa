"""Virtual time: order, whatever the distance, and what is taken back."""

from random import Random

from svcmesh.simulate import Timer, VirtualClock


def test_everything_runs_once_in_the_order_of_instants_and_then_of_postings() -> None:
    rng, clock = Random(1), VirtualClock()
    ran: list[tuple[float, int]] = []
    posted: list[tuple[float, int]] = []

    def run(number: int) -> None:
        ran.append((clock.now, number))
        for _ in range(rng.randrange(3)):
            if len(posted) < 3000:
                post()

    def post() -> None:
        # Coarse, so that many are equal and some lie exactly on the border of a slot.
        at = clock.now + rng.choice((0, 1, 2, 4, 300, 2000)) / 64
        posted.append((at, len(posted)))
        clock.post_at(at, run, len(posted) - 1)

    for _ in range(300):
        post()
    while len(ran) < len(posted):
        clock.run_for(rng.random() / 4)
    assert ran == sorted(posted)


def test_time_stands_at_the_end_of_a_run_even_if_nothing_was_due() -> None:
    clock, ran = VirtualClock(), list[float]()
    clock.call_at(7.0, lambda: ran.append(clock.now))
    clock.run_until(6.99)
    assert (clock.now, ran) == (6.99, [])
    clock.post_at(1.0, lambda: ran.append(clock.now))
    clock.run_until(7.0)
    assert (clock.now, ran) == (7.0, [6.99, 7.0])


def test_a_timer_that_is_cancelled_does_not_run_near_or_far() -> None:
    clock, ran = VirtualClock(), list[str]()
    timers: list[Timer] = []
    clock.call_later(0.02, lambda: timers[0].cancel())
    timers.append(clock.call_later(0.03, lambda: ran.append("near")))
    clock.call_later(30.0, lambda: ran.append("kept"))
    clock.call_later(40.0, lambda: ran.append("far")).cancel()
    clock.run_for(60.0)
    assert ran == ["kept"]
    timers[0].cancel()
