"""What a follower makes of its leader's entries (thesis, 3.5), and whose votes count (3.4)."""

import pytest

from svcmesh.consensus.raft import (
    Entry,
    EntryKind,
    LogIndex,
    Membership,
    ReadId,
    ReadRequest,
    ServerId,
    SnapshotMeta,
    Term,
)
from svcmesh.consensus.raft.electing import Candidacy
from svcmesh.consensus.raft.following import Accepted, AskedReads, Following, Refused
from svcmesh.consensus.raft.log import RaftLog
from svcmesh.consensus.raft.messages import AppendReply, AppendRequest, VoteReply

TERM = Term(5)
IDS = [ServerId(f"s{n}") for n in range(5)]
MEMBERS = Membership(tuple(IDS[:3]), (IDS[3],))


def entries(first: int, *terms: int) -> tuple[Entry, ...]:
    return tuple(
        Entry(LogIndex(index), Term(term), EntryKind.COMMAND, b"")
        for index, term in enumerate(terms, start=first)
    )


def log_of(*terms: int, commit: int = 0) -> RaftLog:
    log = RaftLog(SnapshotMeta(LogIndex(0), Term(0), MEMBERS), entries(1, *terms))
    log.commit = LogIndex(commit)
    return log


def judged(log: RaftLog, prev_index: int, prev_term: int, *terms: int) -> Accepted | Refused:
    new = entries(prev_index + 1, *terms)
    append = AppendRequest(TERM, LogIndex(prev_index), Term(prev_term), new, LogIndex(0))
    return Following(TERM, log).judge(append)


def reply(*, is_ok: bool, index: int, hint_index: int = 0, hint_term: int = 0) -> AppendReply:
    return AppendReply(TERM, is_ok, LogIndex(index), LogIndex(hint_index), Term(hint_term))


def test_entries_behind_the_end_are_taken() -> None:
    assert judged(log_of(1, 2), 2, 2, 5, 5) == Accepted(
        entries(3, 5, 5), LogIndex(4), reply(is_ok=True, index=4)
    )


def test_what_is_there_is_not_appended_again_and_what_differs_is_replaced() -> None:
    assert judged(log_of(1, 2, 5), 1, 1, 2, 5) == Accepted(
        (), LogIndex(3), reply(is_ok=True, index=3)
    )
    assert judged(log_of(1, 2, 3, 3), 1, 1, 2, 5) == Accepted(
        entries(3, 5), LogIndex(3), reply(is_ok=True, index=3)
    )


def test_a_gap_or_another_term_before_the_entries_is_refused_with_a_place_to_try_next() -> None:
    assert judged(log_of(1, 2), 7, 5, 5) == Refused(
        reply(is_ok=False, index=7, hint_index=2, hint_term=2)
    )
    # The whole of a term that the leader has not is passed over.
    assert judged(log_of(1, 4, 4, 4), 4, 3, 5) == Refused(
        reply(is_ok=False, index=4, hint_index=1, hint_term=1)
    )


def test_what_comes_from_before_the_commit_is_known_and_proves_nothing_more() -> None:
    assert judged(log_of(1, 2, 5, commit=3), 1, 1, 2) == Accepted(
        (), None, reply(is_ok=True, index=3)
    )


@pytest.mark.parametrize("prev_index", range(5))
@pytest.mark.parametrize("prev_term", [1, 2, 3])
def test_nothing_committed_is_ever_news(prev_index: int, prev_term: int) -> None:
    judgement = judged(log_of(1, 2, 3, 3, commit=3), prev_index, prev_term, 5, 5, 5)
    if isinstance(judgement, Accepted):
        assert all(entry.index > 3 for entry in judgement.news)


def test_only_what_the_leader_has_committed_and_we_have_of_it_is_committed() -> None:
    following = Following(TERM, log_of(1, 2, 3))
    # Our own entries may be another leader's.
    assert following.committable(LogIndex(3)) == 0
    following.note_matched(LogIndex(2))
    assert following.committable(LogIndex(1)) == 2
    following.note_matched(LogIndex(1))
    assert following.committable(LogIndex(9)) == 2


def test_votes_of_the_voters_in_this_election_count_once() -> None:
    candidacy = Candidacy(TERM, is_pre=False, is_transfer=False)
    for voter in (IDS[0], IDS[0], IDS[3], IDS[4]):
        candidacy.add(voter)
    assert not candidacy.is_won(MEMBERS)
    candidacy.add(IDS[1])
    assert candidacy.is_won(MEMBERS)


@pytest.mark.parametrize("is_pre", [False, True])
def test_a_reply_is_a_vote_in_the_election_that_it_was_asked_for(is_pre: bool) -> None:
    candidacy = Candidacy(TERM, is_pre=is_pre, is_transfer=False)
    assert candidacy.takes(VoteReply(TERM, True, is_pre))
    assert not candidacy.takes(VoteReply(TERM, False, is_pre))
    assert not candidacy.takes(VoteReply(TERM, True, not is_pre))
    assert not candidacy.takes(VoteReply(Term(4), True, is_pre))


def test_the_request_says_how_far_the_log_goes() -> None:
    ask = Candidacy(TERM, is_pre=True, is_transfer=False).request(log_of(1, 4))
    assert (ask.term, ask.last_index, ask.last_term, ask.is_pre) == (5, 2, 4, True)


def test_reads_are_asked_again_after_a_while_until_they_are_answered() -> None:
    asked = AskedReads(now=0.0)
    first, second = (ReadRequest(TERM, ReadId(n), by_lease=True) for n in (1, 2))
    asked.add(first, now=1.0)
    asked.add(second, now=2.0)
    assert asked.due_again(now=2.9, every_s=1.0) == []
    assert asked.due_again(now=3.0, every_s=1.0) == [first, second]
    assert asked.due_again(now=3.5, every_s=1.0) == []
    assert asked.take(first.id)
    assert not asked.take(first.id)
    assert asked.due_again(now=4.0, every_s=1.0) == [second]
    assert asked.take_all() == [second.id]
    assert asked.due_again(now=9.0, every_s=1.0) == []
