"""Pools of instances: kept one by one, in random order, at a cost that does not grow."""

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from dnsserver import NodeAnswer, ServiceAnswer, ServicePool
from dnsserver.pool import RandomOrder
from dnsserver.shuffling import Mixture


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 12))),
    st.integers(0, 2**32),
    st.integers(1, 40),
)
def test_a_random_order_holds_what_came_and_did_not_go(
    steps: list[tuple[bool, int]], seed: int, wanted: int
) -> None:
    order: RandomOrder[int] = RandomOrder(Random(seed))
    expected: set[int] = set()
    for adds, key in steps:
        if not adds:
            order.discard(key)
            expected.discard(key)
        elif key not in expected:
            order.add(key, key)
            expected.add(key)
    assert len(order) == len(expected)
    firsts = set()
    mixture = Mixture(Random(seed))
    for first in range(len(order)):
        drawn = list(order.draw(first, mixture, wanted=wanted))
        assert sorted(drawn) == sorted(expected)
        firsts.add(drawn[0])
    assert firsts == expected


def test_every_order_is_equally_likely_after_items_came_and_went() -> None:
    orders: Counter[tuple[int, ...]] = Counter()
    for seed in range(6000):
        order: RandomOrder[int] = RandomOrder(Random(seed))
        for key in (0, 1, 2, 3):
            order.add(key, key)
        order.discard(1)
        orders[tuple(order.draw(0, Mixture(Random(0)), wanted=100))] += 1
    chi_square = sum((count - 1000) ** 2 / 1000 for count in orders.values())
    assert len(orders) == 6
    # 5 degrees of freedom: above 20.5 once in a thousand times.
    assert chi_square < 20.5


def instance(number: int, **changes: object) -> ServiceAnswer:
    node = NodeAnswer(f"n{number}", f"10.0.0.{number}")
    fields: dict[str, object] = {"address": "", "port": 80, "weight": 1}
    return ServiceAnswer(node=node, service="web", **(fields | changes))  # type: ignore[arg-type]


def test_a_stamp_is_current_until_something_changes() -> None:
    pool = ServicePool(Random(1))
    pool.put("a", instance(1))
    stamp = pool.stamp
    pool.put("a", instance(1))
    pool.discard("b")
    assert stamp.is_current
    pool.put("a", instance(1, weight=2))
    assert (stamp.is_current, pool.stamp.is_current) == (False, True)
    stamp = pool.stamp
    pool.discard("a")
    assert not stamp.is_current
    assert len(pool) == 0


def test_instances_are_kept_by_what_they_can_be_answered_with() -> None:
    pool = ServicePool.of(
        (
            instance(1),
            instance(2, address="fd00::2"),
            instance(3, address="db.example.com"),
            instance(4, lan_ipv6="fd00::4"),
        ),
        Random(1),
    )
    sizes = [len(one) for one in (pool.members, pool.ipv4, pool.ipv6, pool.hosts)]
    assert sizes == [4, 2, 2, 1]
