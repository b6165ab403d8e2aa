import threading
from contextlib import AbstractContextManager
from random import Random

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from svcmesh.client import Instance, LeastPending, NoInstanceError, Picker, PickerConfig


def instance(n: int, port: int = 80) -> Instance:
    return Instance(service="web", id=f"w{n}", node="n1", address="::1", port=port)


A, B, C = instance(1), instance(2), instance(3)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def picker(clock: Clock, *instances: Instance, **config: float) -> Picker:
    made = Picker(clock=clock, rng=Random(1), config=PickerConfig(aside_s_max=8, **config))  # type: ignore[arg-type]  # the fields of a test
    made.update(instances)
    return made


def fail_once(subject: Picker, target: Instance) -> None:
    """One call to `target` that fails."""
    others = [one for one in subject.instances if one != target]
    call = subject.use(avoid=others)
    assert call.__enter__() == target
    fail(call)


def fail(call: AbstractContextManager[Instance]) -> None:
    """End a call by an error, which is not swallowed."""
    assert not call.__exit__(OSError, OSError("down"), None)


def picked(subject: Picker, count: int = 20) -> set[str]:
    return {subject.pick().id for _ in range(count)}


def test_without_instances_there_is_nothing_to_pick(clock: Clock) -> None:
    with pytest.raises(NoInstanceError):
        picker(clock).pick()
    with pytest.raises(NoInstanceError), picker(clock).use():
        pass


def test_calls_are_pending_while_their_context_lasts(clock: Clock) -> None:
    subject = picker(clock, A)
    with subject.use(), subject.use():
        assert subject.standings()[0].pending == 2
    standing = subject.standings()[0]
    assert (standing.pending, standing.calls, standing.failures) == (0, 2, 0)


def test_a_failed_instance_is_set_aside_and_comes_back(clock: Clock) -> None:
    subject = picker(clock, A, B)
    fail_once(subject, A)
    assert picked(subject) == {"w2"}
    clock.now += 1.01
    assert picked(subject) == {"w1", "w2"}


def test_every_further_failure_sets_it_aside_for_longer_up_to_a_bound(clock: Clock) -> None:
    subject = picker(clock, A, B)
    longest = []
    for _ in range(6):
        fail_once(subject, A)
        aside_s = subject.standings()[0].aside_s
        longest.append(aside_s)
        clock.now += aside_s + 0.01
    bounds = [1, 2, 4, 8, 8, 8]
    assert all(0.8 * bound <= s <= bound for s, bound in zip(longest, bounds, strict=True))


def test_a_success_clears_what_was_held_against_it(clock: Clock) -> None:
    subject = picker(clock, A)
    fail_once(subject, A)
    clock.now += 2
    with subject.use():
        pass
    assert (subject.standings()[0].failures, subject.standings()[0].aside_s) == (0, 0)


def test_one_call_at_a_time_tries_an_instance_that_comes_back(clock: Clock) -> None:
    subject = picker(clock, A, B)
    fail_once(subject, A)
    clock.now += 1.01
    with subject.use(avoid=[B]) as trial:
        assert trial == A
        assert picked(subject) == {"w2"}
    assert picked(subject) == {"w1", "w2"}


def test_when_all_are_set_aside_the_first_to_return_is_picked(clock: Clock) -> None:
    subject = picker(clock, A, B)
    fail_once(subject, A)
    clock.now += 0.5
    fail_once(subject, B)
    assert picked(subject) == {"w1"}


def test_calls_that_fail_together_are_one_failure(clock: Clock) -> None:
    subject = picker(clock, A)
    calls = [subject.use() for _ in range(3)]
    for call in calls:
        call.__enter__()
    for call in calls:
        fail(call)
    assert subject.standings()[0].failures == 1


def test_an_older_success_does_not_excuse_a_newer_failure(clock: Clock) -> None:
    subject = picker(clock, A)
    with subject.use():
        fail_once(subject, A)
    assert subject.standings()[0].failures == 1


def test_only_the_given_exceptions_are_failures(clock: Clock) -> None:
    subject = picker(clock, A)
    with pytest.raises(ValueError, match="mine"), subject.use(failures=(OSError,)):
        raise ValueError("mine")
    assert subject.standings()[0].failures == 0


def test_a_cancelled_call_says_nothing(clock: Clock) -> None:
    subject = picker(clock, A)
    with pytest.raises(KeyboardInterrupt), subject.use():
        raise KeyboardInterrupt
    assert (subject.standings()[0].failures, subject.standings()[0].pending) == (0, 0)


def test_a_failure_can_be_reported_without_an_exception(clock: Clock) -> None:
    subject = picker(clock, A)
    with subject.use() as endpoint:
        subject.fail(endpoint)
    assert subject.standings()[0].failures == 1


def test_several_failures_can_be_asked_for_before_it_is_set_aside(clock: Clock) -> None:
    subject = picker(clock, A, B, failures_to_set_aside=3)
    fail_once(subject, A)
    fail_once(subject, A)
    assert picked(subject) == {"w1", "w2"}
    fail_once(subject, A)
    assert picked(subject) == {"w2"}


def test_what_is_to_be_avoided_is_picked_only_when_there_is_nothing_else(clock: Clock) -> None:
    subject = picker(clock, A, B, C)
    assert {subject.pick(avoid=[A, B]).id for _ in range(20)} == {"w3"}
    assert subject.pick(avoid=[A, B, C]) in (A, B, C)


def test_what_is_known_of_an_instance_survives_an_update(clock: Clock) -> None:
    subject = picker(clock, A, B)
    fail_once(subject, A)
    with subject.use(avoid=[A]):
        subject.update([A, B, C])
        assert [(s.failures, s.pending) for s in subject.standings()] == [(1, 0), (0, 1), (0, 0)]
    assert [s.pending for s in subject.standings()] == [0, 0, 0]


def test_an_instance_with_another_port_is_another_process(clock: Clock) -> None:
    subject = picker(clock, A)
    fail_once(subject, A)
    subject.update([instance(1, port=81)])
    assert subject.standings()[0].failures == 0


def test_an_instance_may_vanish_during_a_call(clock: Clock) -> None:
    subject = picker(clock, A)
    call = subject.use()
    call.__enter__()
    subject.update([])
    fail(call)
    assert subject.standings() == []


def test_threads_may_share_it() -> None:
    subject = Picker(LeastPending(), config=PickerConfig(aside_s_min=0.001, aside_s_max=0.002))
    group = [instance(n) for n in range(5)]
    subject.update(group)
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        rng = Random(seed)
        try:
            for _ in range(500):
                if rng.random() < 0.05:
                    subject.update(rng.sample(group, 4) + group[:1])
                try:
                    with subject.use():
                        if rng.random() < 0.1:
                            raise OSError
                except OSError:
                    continue
        except BaseException as error:  # told to the test
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert all(standing.pending == 0 for standing in subject.standings())


class PickerMachine(RuleBasedStateMachine):
    """Whatever happens: what is picked is known, and nothing set aside while there is better."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.subject = picker(self.clock)
        self.open: list[AbstractContextManager[Instance]] = []

    @rule(numbers=st.lists(st.integers(0, 5), unique=True))
    def update(self, numbers: list[int]) -> None:
        self.subject.update([instance(n) for n in numbers])

    @rule(seconds=st.floats(0, 10))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule()
    def begin(self) -> None:
        if self.subject.instances:
            self.open.append(self.subject.use())
            self.open[-1].__enter__()

    @rule(is_failure=st.booleans())
    def end(self, is_failure: bool) -> None:
        if self.open:
            call = self.open.pop(0)
            if is_failure:
                fail(call)
            else:
                call.__exit__(None, None, None)

    @invariant()
    def what_is_picked_is_known_and_the_best_there_is(self) -> None:
        standings = {one.instance.key: one for one in self.subject.standings()}
        if not standings:
            return
        chosen = standings[self.subject.pick().key]
        least_s = min(one.aside_s for one in standings.values())
        assert chosen.aside_s == 0 or chosen.aside_s == least_s

    @invariant()
    def what_is_pending_is_what_was_begun(self) -> None:
        assert all(one.pending <= len(self.open) for one in self.subject.standings())

    def teardown(self) -> None:
        while self.open:
            self.end(False)
        assert all(one.pending == 0 for one in self.subject.standings())


TestPickerMachine = PickerMachine.TestCase
