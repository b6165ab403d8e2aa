from collections import Counter
from itertools import pairwise
from random import Random

import pytest

from svcmesh.client import Instance, LeastPending, Nearest, Policy, RandomChoice, RoundRobin
from svcmesh.client.policies import Candidate


def candidates(*weights: int, rtts_s: tuple[float, ...] = ()) -> list[Candidate]:
    return [
        Candidate(
            Instance(service="web", id=f"w{n}", node=f"n{n}", address="::1", port=n, weight=weight),
            rtt_s=rtts_s[n] if rtts_s else float("inf"),
        )
        for n, weight in enumerate(weights)
    ]


def chosen(policy: Policy, count: int) -> list[str]:
    return [policy.choose().instance.id for _ in range(count)]


def test_round_robin_takes_each_in_turn() -> None:
    policy = RoundRobin(Random(1))
    policy.replace(candidates(1, 1, 1))
    turns = chosen(policy, 9)
    assert sorted(turns[:3]) == ["w0", "w1", "w2"]
    assert turns == turns[:3] * 3


def test_round_robin_gives_shares_by_weight_and_spreads_them() -> None:
    policy = RoundRobin(Random(1))
    policy.replace(candidates(5, 1))
    turns = chosen(policy, 60)
    assert Counter(turns) == {"w0": 50, "w1": 10}
    rare = [position for position, one in enumerate(turns) if one == "w1"]
    assert {later - earlier for earlier, later in pairwise(rare)} == {6}


def test_round_robin_of_many_clients_does_not_begin_with_the_same_instance() -> None:
    firsts: Counter[str] = Counter()
    for seed in range(300):
        policy = RoundRobin(Random(seed))
        policy.replace(candidates(1, 1, 1))
        firsts[policy.choose().instance.id] += 1
    assert min(firsts.values()) > 70


def test_round_robin_goes_on_where_it_was_when_others_come_and_go() -> None:
    policy = RoundRobin(Random(1))
    first, second, third = candidates(1, 1, 1)
    policy.replace([first, second])
    before = policy.choose()
    policy.replace([first, second, third])
    assert policy.choose() is not before
    assert len({one.instance.id for one in (policy.choose(), policy.choose(), policy.choose())}) > 1


def test_random_follows_the_weights() -> None:
    policy = RandomChoice(Random(1))
    policy.replace(candidates(3, 1))
    counts = Counter(chosen(policy, 10_000))
    # Three quarters of 10,000, give or take four standard deviations.
    assert abs(counts["w0"] - 7500) < 4 * (10_000 * 0.75 * 0.25) ** 0.5


@pytest.mark.parametrize("policy", [RoundRobin(), RandomChoice(), LeastPending(), Nearest()])
def test_a_weight_of_zero_is_chosen_only_when_there_is_nothing_else(policy: Policy) -> None:
    policy.replace(candidates(0, 1))
    assert set(chosen(policy, 50)) == {"w1"}
    policy.replace(candidates(0, 0))
    assert set(chosen(policy, 200)) == {"w0", "w1"}


def test_least_pending_takes_the_least_busy_for_its_weight() -> None:
    policy = LeastPending(Random(1))
    first, second, third = group = candidates(1, 1, 10)
    first.pending, second.pending, third.pending = 3, 2, 9
    policy.replace(group)
    assert chosen(policy, 1) == ["w2"]
    third.pending = 40
    assert chosen(policy, 1) == ["w1"]


def test_least_pending_does_not_prefer_the_first_among_equals() -> None:
    policy = LeastPending(Random(1))
    policy.replace(candidates(1, 1, 1))
    assert min(Counter(chosen(policy, 300)).values()) > 70


def test_nearest_stays_near() -> None:
    policy = Nearest(Random(1))
    policy.replace(candidates(1, 1, 1, 1, rtts_s=(0.020, 0.0205, 0.060, float("inf"))))
    assert set(chosen(policy, 100)) == {"w0", "w1"}


def test_nearest_without_any_distance_takes_all() -> None:
    policy = Nearest(Random(1))
    policy.replace(candidates(1, 1))
    assert set(chosen(policy, 100)) == {"w0", "w1"}
