"""The member table and the probing ring (gossip protocol, 8.1, 8.2)."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from gossip.swim.table import Entry, MemberTable
from gossip.types import Address, Incarnation, MemberState
from tests.gossip.machines import ME, MY_ADDRESS, NO_TAGS, VSN, address, name

FOREVER = -1.0


def entry(number: int, state: MemberState = MemberState.ALIVE, changed_at: float = 0.0) -> Entry:
    where = address(number) if number else MY_ADDRESS
    who = name(number) if number else ME
    return Entry(who, where.packed, where.port, NO_TAGS, VSN, Incarnation(1), state, changed_at)


def table_of(*entries: Entry, seed: int = 1) -> MemberTable:
    table = MemberTable(ME, rng=Random(seed))
    for each in (entry(0), *entries):
        table.add(each)
    return table


def probed(table: MemberTable, count: int, forget_before: float = FOREVER) -> list[str | None]:
    found = [
        table.next_to_probe(forget_before=forget_before, forget=lambda _entry: None)
        for _ in range(count)
    ]
    return [each.name if each else None for each in found]


@given(st.integers(2, 20), st.integers(0, 1000))
def test_between_two_shuffles_everybody_is_probed_once(members: int, seed: int) -> None:
    table = table_of(*(entry(n) for n in range(1, members + 1)), seed=seed)
    found = [who for who in probed(table, 5 * members) if who is not None]
    rounds = [found[at : at + members] for at in range(0, len(found), members)]
    assert len(rounds) >= 3
    for each in rounds[:-1]:
        assert sorted(each) == sorted(name(n) for n in range(1, members + 1))


def test_in_a_pool_of_two_about_every_second_tick_probes_nobody() -> None:
    # The wrap-around counts as one of the two looks: a shuffle that puts ourselves first has
    # used them up.
    found = probed(table_of(entry(1)), 2000)
    assert 0.35 < found.count(None) / len(found) < 0.55


def test_alone_nobody_is_probed() -> None:
    assert probed(table_of(), 5) == [None] * 5


def test_dead_and_left_members_are_not_probed() -> None:
    table = table_of(entry(1, MemberState.DEAD), entry(2, MemberState.LEFT), entry(3))
    assert set(probed(table, 20)) <= {name(3), None}


def test_at_the_end_of_the_ring_who_is_gone_too_long_is_forgotten() -> None:
    table = table_of(
        entry(1),
        entry(2, MemberState.DEAD, changed_at=10.0),
        entry(3, MemberState.LEFT, changed_at=10.0),
        entry(4, MemberState.DEAD, changed_at=50.0),
    )
    forgotten: list[Entry] = []
    for _ in range(10):
        table.next_to_probe(forget_before=20.0, forget=forgotten.append)
    assert {each.name for each in forgotten} == {name(2), name(3)}
    assert {each.name for each in table} == {ME, name(1), name(4)}
    assert table.get(name(2)) is None
    assert not table.has_address(address(3))
    assert table.has_address(address(4))


def test_ourselves_are_never_forgotten() -> None:
    table = table_of(entry(1))
    me = table.get(ME)
    assert me is not None
    table.set_state(me, MemberState.LEFT, now=1.0)
    probed(table, 10, forget_before=100.0)
    assert table.get(ME) is me


def test_moving_changes_which_addresses_are_known() -> None:
    table = table_of(entry(1))
    moved, elsewhere = table.get(name(1)), Address("10.9.9.9", 1)
    assert moved is not None
    table.move(moved, elsewhere.packed, elsewhere.port)
    assert table.has_address(elsewhere)
    assert not table.has_address(address(1))


@given(st.integers(0, 40), st.integers(0, 6), st.integers(0, 1000))
def test_a_sample_holds_different_eligible_members_and_enough_of_them(
    members: int, count: int, seed: int
) -> None:
    table = table_of(*(entry(n) for n in range(1, members + 1)), seed=seed)
    eligible = {name(n) for n in range(1, members + 1, 2)}
    chosen = [each.name for each in table.sample(count, lambda each: each.name in eligible)]
    assert len(chosen) == len(set(chosen))
    assert set(chosen) <= eligible
    if members + 1 <= 3 * count:
        assert len(chosen) == min(count, len(eligible))


@given(st.lists(st.tuples(st.integers(1, 6), st.sampled_from(MemberState)), max_size=30))
def test_present_counts_those_neither_dead_nor_left(
    changes: list[tuple[int, MemberState]],
) -> None:
    table = table_of(*(entry(n) for n in range(1, 7)))
    for number, state in changes:
        changed = table.get(name(number))
        assert changed is not None
        table.set_state(changed, state, now=0.0)
    assert table.present == sum(
        each.state in (MemberState.ALIVE, MemberState.SUSPECT) for each in table
    )
