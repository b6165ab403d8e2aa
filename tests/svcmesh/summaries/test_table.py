from hypothesis import given
from hypothesis import strategies as st

from svcmesh.summaries.table import Entry, Table, new_generation

names = st.sampled_from(["a", "b", "c", "d"])


def table_of(changed: list[str]) -> Table:
    table = Table(1)
    for sequence, name in enumerate(changed, 1):
        table.put(name, Entry(sequence % 3, 0, sequence, sequence))
    return table


@given(st.lists(names, max_size=30), st.integers(0, 30), st.integers(1, 200))
def test_pages_one_after_the_other_bring_a_table_to_another_from_wherever_that_was(
    changed: list[str], start: int, bytes_max: int
) -> None:
    table = table_of(changed)
    other = table_of(changed[:start])
    while other.through < table.through:
        before = other.through
        changes, through = table.page(before, bytes_max)
        other.append(changes, through)
        assert before < other.through <= table.through
    assert list(other.entries.items()) == list(table.entries.items())
    assert other.gone == table.gone == sum(not e.instances for e in table.entries.values())


def test_a_page_twice_changes_nothing() -> None:
    table = table_of(["a", "b", "a"])
    other = Table(1)
    for _ in range(2):
        other.append(*table.page(0, 1000))
    assert other.entries == table.entries


def test_what_is_gone_is_not_present() -> None:
    table = table_of(["a", "b", "c"])
    assert [name for name, _ in table.present()] == ["a", "b"]


def test_a_new_generation_is_above_every_earlier_one_and_differs_by_its_publisher() -> None:
    first = new_generation(0, "node-1", wall_ms=1000)
    assert new_generation(first, "node-1", wall_ms=500) > first
    assert new_generation(first, "node-2", wall_ms=2000) > first
    assert new_generation(0, "node-2", wall_ms=1000) != first
    assert new_generation(0, "x", wall_ms=2**42) < 2**64
