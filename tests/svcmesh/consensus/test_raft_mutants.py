"""Rafts with one safeguard removed: the simulation must see what each of them is for.

The table in docs/architecture.md names what caught each.
"""

from random import Random

import pytest

from svcmesh.consensus.raft import (
    Committed,
    Effect,
    Entry,
    EntryKind,
    HardState,
    LogIndex,
    Membership,
    Raft,
    RaftConfig,
    ReadId,
    Role,
    Save,
    ServerId,
    SnapshotMeta,
    Term,
)
from svcmesh.consensus.raft.leading import ConfirmedRead, Leadership
from svcmesh.consensus.raft.messages import AppendReply, VoteReply, VoteRequest
from tests.svcmesh.consensus.raft_checkers import SafetyChecker
from tests.svcmesh.consensus.raft_cluster import SimCluster, SimServer
from tests.svcmesh.consensus.test_raft_simulation import storm

SEEDS = range(300)


def found_in_storms(seeds: range = SEEDS) -> bool:
    """Whether one of the seeds shows a broken promise."""
    for seed in seeds:
        for size in (3, 5):
            try:
                storm(seed, size=size)
            except AssertionError:
                return True
    return False


def test_without_the_fsync_a_promise_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    begin = SimServer._begin_save

    def begin_unsynced(self: SimServer, save: Save) -> None:
        # Acknowledged at once; the disk has it later, or never.
        begin(self, save)
        self._act(self.machine.handle_saved(save.token, now=self.now))

    monkeypatch.setattr(SimServer, "_begin_save", begin_unsynced)
    assert found_in_storms()


def test_without_the_check_of_the_vote_two_lead_one_term(monkeypatch: pytest.MonkeyPatch) -> None:
    handle = Raft._handle_vote_request

    def forgetful(self: Raft, sender: ServerId, ask: VoteRequest, *, now: float) -> None:
        self._voted_for = None
        handle(self, sender, ask, now=now)

    monkeypatch.setattr(Raft, "_handle_vote_request", forgetful)
    assert found_in_storms()


def test_without_pre_vote_a_server_that_returns_deposes_the_leader(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stand = Raft._stand

    def at_once(self: Raft, *, is_pre: bool, now: float, is_transfer: bool = False) -> None:
        stand(self, is_pre=False, now=now, is_transfer=is_transfer)

    monkeypatch.setattr(Raft, "_stand", at_once)
    cluster = SimCluster(2, 3, observer=SafetyChecker())
    cluster.run_until(lambda: bool(cluster.leaders), within_s=5.0)
    term = cluster.leader().machine.term
    alone = next(s for s in cluster.running if s not in cluster.leaders)
    cluster.split({alone.id})
    cluster.run(30.0)
    cluster.heal()
    cluster.run(5.0)
    assert cluster.leader().machine.term > term


def test_without_the_round_of_heartbeats_a_read_is_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    def at_once(
        self: Leadership, asker: ServerId, id_: ReadId, *, by_lease: bool, now: float
    ) -> list[ConfirmedRead]:
        return [(asker, id_, self._log.commit)]

    monkeypatch.setattr(Leadership, "read", at_once)
    assert is_stale_after_a_pause()
    assert is_stale_on_the_small_side(by_lease=False)


def test_with_the_round_of_heartbeats_it_is_not() -> None:
    assert not is_stale_after_a_pause()
    assert not is_stale_on_the_small_side(by_lease=False)


def test_with_a_lease_that_never_ends_a_follower_reads_what_is_stale(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Leadership, "lease_ends_at", lambda _, now: now + 1.0)
    assert is_stale_on_the_small_side(by_lease=True)


def test_with_the_lease_as_it_is_it_does_not() -> None:
    assert not is_stale_on_the_small_side(by_lease=True)


def is_stale_on_the_small_side(*, by_lease: bool) -> bool:
    """Whether a follower that is cut off together with its leader reads an old value."""
    cluster = SimCluster(8, 5, observer=SafetyChecker())
    cluster.run_until(lambda: bool(cluster.leaders), within_s=5.0)
    cluster.run(0.5)
    old = cluster.leader()
    follower = next(s for s in cluster.running if s is not old)
    cluster.split({old.id, follower.id})
    # They do not notice themselves that they are few.
    old_quorum = Leadership.has_lost_quorum
    Leadership.has_lost_quorum = lambda _, __: False  # type: ignore[method-assign]
    try:
        cluster.run_until(lambda: cluster.leader() is not old, within_s=5.0)
        cluster.run(0.5)
        assert cluster.leader().propose(("put", "k", 1), lambda _: None)
        cluster.run(0.5)
        assert cluster.leader().state == {"k": 1}
        answers: list[int] = []

        def answer(is_ok: bool) -> None:
            if is_ok:
                answers.append(follower.state.get("k", 0))

        assert follower.read(answer, by_lease=by_lease)
        cluster.run(1.0)
        return answers == [0]
    finally:
        Leadership.has_lost_quorum = old_quorum  # type: ignore[method-assign]


def is_stale_after_a_pause() -> bool:
    """Whether a leader that was stopped, and replaced, answers a read with an old value."""
    cluster = SimCluster(7, 3, observer=SafetyChecker())
    cluster.run_until(lambda: bool(cluster.leaders), within_s=5.0)
    cluster.run(0.5)
    old = cluster.leader()
    old.is_paused = True
    cluster.run_until(lambda: cluster.leader() is not old, within_s=5.0)
    cluster.run(0.5)
    assert cluster.leader().propose(("put", "k", 1), lambda _: None)
    cluster.run(0.5)
    assert cluster.leader().state == {"k": 1}
    old.is_paused = False
    answers: list[int] = []

    def answer(is_ok: bool) -> None:
        if is_ok:
            answers.append(old.state.get("k", 0))

    old.read(answer, by_lease=False)
    cluster.run(2.0)
    return answers == [0]


def test_counting_entries_of_earlier_terms_commits_one_that_can_still_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def counts_all(self: Leadership, saved_index: LogIndex) -> LogIndex:
        index = LogIndex(self._majority(lambda p: p.match, own=saved_index))
        return max(index, self._log.commit)

    monkeypatch.setattr(Leadership, "committable", counts_all)
    assert commits_of_figure_8() == [2]


def test_by_the_rule_for_earlier_terms_it_is_committed_with_one_of_the_leaders_own() -> None:
    assert commits_of_figure_8() == [3]


def commits_of_figure_8() -> list[int]:
    """The first commit of a leader as in the thesis' figure 3.7.

    It leads term 4 with an entry of term 2 at index 2. A majority gets that entry; a server whose
    log ends with term 3 could still be elected and replace it. Then a majority gets the leader's
    own entry 3.
    """
    one, two, three = (ServerId(f"s{n}") for n in (1, 2, 3))
    members = Membership.of({one, two, three, ServerId("s4"), ServerId("s5")})
    log = [Entry(LogIndex(n), Term(n), EntryKind.COMMAND, b"") for n in (1, 2)]
    raft = Raft(
        RaftConfig(),
        one,
        hard_state=HardState(Term(3)),
        snapshot=SnapshotMeta(LogIndex(0), Term(0), members),
        entries=log,
        now=0.0,
        rng=Random(1),
    )
    effects = raft.handle_timer(now=10.0)
    for is_pre in (True, False):
        for voter in (two, three):
            reply = VoteReply(Term(4), True, is_pre)
            effects += raft.handle_message(voter, reply, now=10.0)
        effects += saved(raft, effects)
    assert raft.role is Role.LEADER
    commits: list[int] = []
    for index in (2, 3):
        for follower in (two, three):
            accepted = AppendReply(Term(4), True, LogIndex(index))
            effects = raft.handle_message(follower, accepted, now=10.1)
            commits += [effect.through for effect in effects if isinstance(effect, Committed)]
    return commits[:1]


def saved(raft: Raft, effects: list[Effect]) -> list[Effect]:
    """Let everything asked for be on disk."""
    tokens = [effect.token for effect in effects if isinstance(effect, Save)]
    return raft.handle_saved(max(tokens), now=10.0) if tokens else []
