from svcmesh.catalog.settled import PAIRS_MAX, SETTLED_S, SHOWN_MAX, SettledDifferences


def test_a_difference_is_settled_when_two_comparisons_running_led_to_nothing() -> None:
    settled = SettledDifferences()
    settled.note(1, 2, now=0.0)
    assert settled.with_ours(1, now=0.0) == ()
    settled.note(1, 2, now=1.0)
    assert settled.with_ours(1, now=1.0) == (2,)


def test_it_holds_for_these_two_versions_only() -> None:
    settled = SettledDifferences()
    for now in (0.0, 1.0):
        settled.note(1, 2, now=now)
    assert settled.with_ours(3, now=1.0) == ()


def test_it_is_looked_into_again_after_a_while() -> None:
    settled = SettledDifferences()
    for now in (0.0, 1.0):
        settled.note(1, 2, now=now)
    late = 1.0 + SETTLED_S
    assert settled.with_ours(1, now=late) == ()
    settled.note(1, 2, now=late)
    assert settled.with_ours(1, now=late) == ()


def test_only_the_latest_are_kept_and_named() -> None:
    settled = SettledDifferences()
    for theirs in range(2 * PAIRS_MAX):
        for now in (0.0, 1.0):
            settled.note(1, theirs, now=now)
    shown = settled.with_ours(1, now=1.0)
    assert shown == tuple(range(2 * PAIRS_MAX - SHOWN_MAX, 2 * PAIRS_MAX))
