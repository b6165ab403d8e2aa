"""The log has a line for what an operator asks of the servers, and names them."""

import pytest

from svcmesh.consensus.raft import Membership, Role, RoleChanged, ServerId, Term
from svcmesh.runtime.grouplog import GroupLog

ONE, TWO, THREE = (ServerId(f"id-{n}") for n in range(1, 4))
NAMES = {ONE: "n1", TWO: "n2"}


def name_of(server: ServerId) -> str:
    return NAMES.get(server, server)


def role(role: Role, term: int, leader: ServerId | None) -> RoleChanged:
    return RoleChanged(role, Term(term), leader)


def test_every_change_of_leader_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="raft")
    log = GroupLog(ONE, Membership((ONE, TWO)), name_of)
    for change in (
        role(Role.FOLLOWER, 0, None),
        role(Role.PRE_CANDIDATE, 1, None),
        role(Role.FOLLOWER, 2, TWO),
        role(Role.PRE_CANDIDATE, 2, None),
        role(Role.CANDIDATE, 3, None),
        role(Role.LEADER, 3, ONE),
        role(Role.FOLLOWER, 4, None),
        role(Role.FOLLOWER, 4, THREE),
    ):
        log.note_role(change)
    assert caplog.messages == [
        "n2 leads: term=2",
        "nobody leads, keys and locks wait for a leader: term=2",
        "this server leads: term=3",
        "nobody leads, keys and locks wait for a leader: term=4",
        "id-3 leads: term=4",
    ]


def test_every_change_of_members_says_what_has_become_of_whom(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", logger="raft")
    log = GroupLog(ONE, Membership((ONE,)), name_of)
    for members in (
        Membership((ONE,), (TWO,)),
        Membership((ONE, TWO)),
        Membership((ONE, TWO)),
        Membership((TWO,), (THREE,)),
    ):
        log.note_members(members)
    assert caplog.messages == [
        "n2 follows, and votes when it has caught up: voters=n1",
        "n2 votes: voters=n1,n2",
        "id-3 follows, and votes when it has caught up; n1 is no member any more: voters=n2",
    ]
