"""Who founds the group, who is taken in and when, and who is let go of."""

import pytest

from svcmesh.consensus.group import (
    AutopilotSettings,
    Candidate,
    Presence,
    lag_of,
    may_found,
    next_members,
)
from svcmesh.consensus.raft import LogIndex, Membership, ServerId

A, B, C, D, E = (ServerId(name) for name in "abcde")
ALIVE, FAILED, LEFT = Presence.ALIVE, Presence.FAILED, Presence.LEFT


def after(
    voters: set[ServerId],
    presence: dict[ServerId, Presence],
    *,
    learners: set[ServerId] | None = None,
    stable_s: float = 60.0,
    lag: int | None = 0,
    settings: AutopilotSettings | None = None,
    is_forming: bool = False,
) -> Membership | None:
    """The next membership with `a` as the leader."""
    return next_members(
        Membership.of(voters, learners),
        A,
        presence,
        dict.fromkeys(presence, stable_s),
        dict.fromkeys(presence, lag),
        settings or AutopilotSettings(),
        is_forming=is_forming,
    )


@pytest.mark.parametrize(
    ("own", "expects", "others", "founds"),
    [
        (A, 1, [], True),
        (A, 0, [], False),
        (B, 3, [Candidate("n2", A, 3)], False),
        (B, 3, [Candidate("n2", A, 3), Candidate("n3", C, 3)], True),
        (B, 3, [Candidate("n0", C, 3), Candidate("n3", A, 3)], False),
        (B, 3, [Candidate("n1", A, 3), Candidate("n3", C, 3)], False),
        (B, 3, [Candidate("n2", A, 3), Candidate("n3", C, 0)], False),
    ],
)
def test_the_first_by_name_founds_when_as_many_are_there_as_expected(
    own: ServerId, expects: int, others: list[Candidate], founds: bool
) -> None:
    assert may_found(own, expects, [Candidate("n1", own, expects), *others]) is founds


def test_a_new_server_first_learns() -> None:
    assert after({A}, {A: ALIVE, B: ALIVE, C: FAILED}) == Membership.of({A}, {B})


def test_a_learner_votes_when_it_is_stable_and_close() -> None:
    both = {A: ALIVE, B: ALIVE}
    promoted = Membership.of({A, B})
    assert after({A}, both, learners={B}) == promoted
    assert after({A}, both, learners={B}, stable_s=9.9) is None
    assert after({A}, both, learners={B}, stable_s=0.0, is_forming=True) == promoted
    assert after({A}, both, learners={B}, lag=251) is None
    assert after({A}, both, learners={B}, lag=None, is_forming=True) is None


def test_who_has_left_is_taken_out_and_so_is_who_is_unknown() -> None:
    assert after({A, B, C}, {A: ALIVE, B: LEFT, C: ALIVE}) == Membership.of({A, C})
    assert after({A, B}, {A: ALIVE}) == Membership.of({A})
    assert after({A}, {A: LEFT}) is None


def test_the_dead_are_removed_while_fewer_than_half_are() -> None:
    five = {A: ALIVE, B: FAILED, C: ALIVE, D: ALIVE, E: ALIVE}
    assert after({A, B, C, D, E}, five) == Membership.of({A, C, D, E})
    assert after({A, B, C, D, E}, {**five, C: FAILED}) is None
    assert after({A, B, C}, {A: ALIVE, B: FAILED, C: ALIVE}) is None


def test_the_dead_stay_where_the_operator_wants_it() -> None:
    five = {A: ALIVE, B: FAILED, C: ALIVE, D: ALIVE, E: ALIVE}
    for settings in (
        AutopilotSettings(cleanup_dead_servers=False),
        AutopilotSettings(min_quorum=5),
    ):
        assert after({A, B, C, D, E}, five, settings=settings) is None


def test_a_dead_learner_goes_though_a_dead_voter_has_to_stay() -> None:
    found = after({A, B, C}, {A: ALIVE, B: FAILED, C: ALIVE, D: FAILED}, learners={D})
    assert found == Membership.of({A, B, C})


def test_lag() -> None:
    assert lag_of(None, LogIndex(5)) is None
    assert (lag_of(LogIndex(3), LogIndex(5)), lag_of(LogIndex(6), LogIndex(5))) == (2, 0)
