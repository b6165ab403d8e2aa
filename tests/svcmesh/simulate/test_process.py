"""Processes that get no processor, are blocked or take their time."""

from svcmesh.simulate.clock import VirtualClock
from svcmesh.simulate.process import BATCH_MAX, QUEUE_MAX, Process


def process_of(service_s: float = 0.0) -> tuple[VirtualClock, Process, list[tuple[float, str]]]:
    clock = VirtualClock()
    log: list[tuple[float, str]] = []
    process = Process(clock, lambda *_: None, None, None, service_s=service_s)
    return clock, process, log


def test_an_idle_process_handles_at_once_and_a_busy_one_in_turn() -> None:
    clock, process, log = process_of(service_s=1.0)
    for what in "abc":
        process.arrive(lambda what=what: log.append((clock.now, what)))
    clock.run_for(10)
    assert log == [(0.0, "a"), (1.0, "b"), (2.0, "c")]


def test_what_arrives_while_it_is_held_waits_and_timers_come_after_a_batch() -> None:
    clock, process, log = process_of()
    process.hold()
    process.turn(lambda: log.append((clock.now, "timer")))
    for number in range(BATCH_MAX + 2):
        process.arrive(lambda number=number: log.append((clock.now, str(number))))
    clock.run_for(5)
    assert log == []
    process.release()
    what = [each for _, each in log]
    assert what == [*map(str, range(BATCH_MAX)), "timer", str(BATCH_MAX), str(BATCH_MAX + 1)]
    assert {at for at, _ in log} == {5.0}


def test_a_blocked_one_goes_on_with_its_timers_alone() -> None:
    clock, process, log = process_of()
    process.block()
    process.arrive(lambda: log.append((clock.now, "arrival")))
    process.turn(lambda: log.append((clock.now, "timer")))
    clock.run_for(1)
    assert log == [(0.0, "timer")]
    process.release()
    assert log == [(0.0, "timer"), (1.0, "arrival")]


def test_after_its_release_everything_is_handled_at_once_again() -> None:
    clock, process, log = process_of()
    process.hold()
    process.release()
    assert process.queue is None
    process.arrive(lambda: log.append((clock.now, "x")))
    assert log == [(0.0, "x")]


def test_held_again_in_the_middle_it_stops_there() -> None:
    clock, process, log = process_of()
    process.hold()
    process.arrive(process.hold)
    process.arrive(lambda: log.append((clock.now, "second")))
    process.release()
    assert log == []
    process.release()
    assert log == [(0.0, "second")]


def test_what_finds_the_queue_full_is_lost_and_counted() -> None:
    _, process, log = process_of()
    process.hold()
    for _ in range(QUEUE_MAX + 3):
        process.arrive(lambda: log.append((0.0, "x")))
    assert process.dropped == 3
    process.release()
    assert len(log) == QUEUE_MAX


def test_nothing_is_handled_after_its_end() -> None:
    clock, process, log = process_of(service_s=1.0)
    process.arrive(lambda: log.append((clock.now, "a")))
    process.arrive(lambda: log.append((clock.now, "b")))
    process.end()
    clock.run_for(10)
    assert log == [(0.0, "a")]
