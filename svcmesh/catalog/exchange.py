"""Repair: the conversation with a random peer, every one to three seconds, that ends in agreement.

| message              | answer                                                                |
|----------------------|-----------------------------------------------------------------------|
| `Compare`            | `Same`, or `Buckets`                                                  |
| `Buckets`            | `Summaries` of the buckets that differ, under a byte budget           |
| `Summaries`          | `Wants` for what we lack, and, unless it is an answer, our `Summaries`|
| `Wants`              | `Pages` under a byte budget; more is asked for as they arrive         |
| `WantExternal`       | `ExternalPage`                                                        |

Who began with `Compare` is in a round; it ends with `Same`, or when there is nothing to be had. A
difference over which nothing can be exchanged (`settled.py`) counts as agreement.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from random import Random

from svcmesh.catalog.agreement import Agreements
from svcmesh.catalog.config import ReplicaConfig
from svcmesh.catalog.digest import BUCKETS
from svcmesh.catalog.holdings import Holdings
from svcmesh.catalog.log import HASH_MASK, Origin
from svcmesh.catalog.messages import (
    FROM_THE_START,
    Buckets,
    CatalogMessage,
    Compare,
    ExternalPage,
    Page,
    Pages,
    Same,
    Summaries,
    Summary,
    Want,
    WantExternal,
    Wants,
)
from svcmesh.catalog.paging import PAGE_BYTES, size_bytes
from svcmesh.catalog.settled import SettledDifferences

WANTS_MAX = 256
"""Origins asked for in one message."""

ASK_AGAIN_S = 0.5
"""An answer that takes longer is taken for lost when there is another occasion to ask."""

PULL_MAX = 4096
"""Origins asked for in one pull; more are found again in the next round."""


@dataclass(slots=True)
class _Round:
    """The comparison under way with one peer."""

    peer: str
    deadline_at: float
    fingerprint: int
    """Ours, as it was sent."""
    is_confirmation: bool = False
    theirs: int = 0
    """The peer's, once it has shown its buckets."""
    differing_buckets: int = 0


@dataclass(slots=True)
class _Pull:
    """What is still to come from one peer. One question is under way at a time."""

    deadline_at: float
    summaries: dict[tuple[bool, str, int], Summary] = field(default_factory=dict)
    """The latest of each own log and of each external one."""
    asked: tuple[Want, ...] = ()
    """What was asked for last. Asking for the same again would bring the same."""
    asked_at: float = -inf
    adopted: set[Origin] = field(default_factory=set)
    """Those whose whole content has been asked for, at a version we had: at most once."""
    loose_after: dict[tuple[bool, Origin], int] = field(default_factory=dict)
    """Up to where loose records have come."""


class Exchange:
    """Both sides of every comparison. `send(peer, message)` is given what goes out.

    `has_synced` turns true with the first round that left us with all that the peer has.
    """

    def __init__(
        self,
        config: ReplicaConfig,
        holdings: Holdings,
        *,
        send: Callable[[str, CatalogMessage], None],
        now: float,
        rng: Random,
    ) -> None:
        self.has_synced = False
        self.agreements = Agreements()
        self.to_confirm: str | None = None
        """A peer that took what it lacked from us: whether it has it now is worth a round."""
        self.comparisons = 0
        self.rebuilds = 0
        self._config, self._holdings, self._send, self._rng = config, holdings, send, rng
        self._settled = SettledDifferences()
        self._round: _Round | None = None
        self._pulls: dict[str, _Pull] = {}

    def start_round(self, peer: str, *, now: float) -> None:
        """Compare with a peer."""
        fingerprint = self._holdings.digest.total
        deadline_at = now + self._config.reply_timeout_s
        self._round = _Round(
            peer, deadline_at, fingerprint, is_confirmation=peer == self.to_confirm
        )
        self.to_confirm = None
        self.comparisons += 1
        self._send(peer, Compare(fingerprint, self._settled.with_ours(fingerprint, now=now)))

    def forget_peer(self, peer: str) -> None:
        """Expect nothing more from a peer."""
        self._pulls.pop(peer, None)
        self.agreements.forget(peer)

    def forget_late(self, *, now: float) -> None:
        """Expect nothing more from peers that have not answered in time."""
        self._pulls = {peer: pull for peer, pull in self._pulls.items() if now < pull.deadline_at}

    # -- comparing --------------------------------------------------------------------------

    def handle_compare(self, peer: str, theirs: Compare, *, now: float) -> None:
        """Tell a peer whether we have the same."""
        digest = self._holdings.digest
        is_same = theirs.fingerprint == digest.total or digest.total in theirs.settled
        if is_same:
            self.agreements.note_same(peer, now=now)
        self._send(peer, Same() if is_same else Buckets(tuple(digest.buckets)))

    def handle_same(self, peer: str, *, now: float) -> None:
        """Take in that a peer has what we had when we asked."""
        if self._is_in_round_with(peer, now):
            self._end_round(peer, now=now)

    def handle_buckets(self, peer: str, theirs: Buckets, *, now: float) -> None:
        """Show a peer what we have where we differ, as far as the byte budget goes."""
        if not self._is_in_round_with(peer, now):
            return
        ours = self._holdings.digest.buckets
        differing = [n for n in range(BUCKETS) if theirs.hashes[n] != ours[n]]
        if not differing:
            self._end_round(peer, now=now)
            return
        assert self._round is not None
        self._round.theirs = sum(theirs.hashes) & HASH_MASK
        self._round.differing_buckets = len(differing)
        self.agreements.note_different(peer, len(differing), now=now)
        # Another place to begin each time, so that no bucket starves behind a large one.
        first = self._rng.randrange(len(differing))
        self._send(peer, self._summaries(differing[first:] + differing[:first], is_answer=False))

    def handle_summaries(self, peer: str, theirs: Summaries, *, now: float) -> None:
        """Ask a peer for what it has and we lack; show it ours if it began."""
        if theirs.buckets:
            self._note_versions(peer, theirs, now=now)
            if not theirs.is_answer:
                self._send(peer, self._summaries(theirs.buckets, is_answer=True))
        pull = self._pulls.get(peer)
        is_waiting = pull is not None and now - pull.asked_at < ASK_AGAIN_S
        if pull is None or not is_waiting:
            pull = _Pull(now)
        needs_rebuild = False
        for summary in theirs.summaries:
            self._holdings.heed_claim(summary)
            if summary.is_external:
                needs_rebuild |= self._holdings.external.needs_rebuild(summary)
            self._note_summary(pull, summary, now=now)
        if needs_rebuild:
            want = self._holdings.external.start_rebuild(peer, now=now)
            if want is not None:
                self.rebuilds += 1
                self._send(peer, want)
        if pull.summaries:
            # Who is answering already is asked for more when the answer is here.
            if not is_waiting:
                self._continue_pull(peer, pull, now=now)
        elif theirs.is_answer and not needs_rebuild and self._is_in_round_with(peer, now):
            # The peer lacks something of ours, we lack nothing of what was compared.
            assert self._round is not None
            if len(theirs.buckets) >= self._round.differing_buckets:
                self.has_synced = True
                self._settled.note(self._round.fingerprint, self._round.theirs, now=now)
            if not self._round.is_confirmation:
                self.to_confirm = peer
            self._round = None

    def _note_versions(self, peer: str, theirs: Summaries, *, now: float) -> None:
        ours = [one for bucket in theirs.buckets for one in self._holdings.summaries(bucket)]
        comparable = [one for one in theirs.summaries if self._holdings.is_comparable(one)]
        self.agreements.note_versions(peer, ours, comparable, now=now)

    def _summaries(self, buckets: Sequence[int], *, is_answer: bool) -> Summaries:
        covered: list[int] = []
        summaries: list[Summary] = []
        for bucket in buckets:
            if covered and len(summaries) * PAGE_BYTES > self._config.page_bytes:
                break
            covered.append(bucket)
            summaries += self._holdings.summaries(bucket)
        return Summaries(tuple(covered), tuple(summaries), is_answer)

    def _is_in_round_with(self, peer: str, now: float) -> bool:
        return (
            self._round is not None and self._round.peer == peer and now < self._round.deadline_at
        )

    def _end_round(self, peer: str, *, now: float) -> None:
        self._round = None
        self.agreements.note_same(peer, now=now)
        self.has_synced = True

    # -- pulling ----------------------------------------------------------------------------

    def handle_answer(self, peer: str, pages: Sequence[Page], *, now: float) -> list[Page]:
        """Take in what we asked a peer for, and ask for more; the pages with anything new."""
        news = self._holdings.apply(pages, now=now)
        pull = self._pulls.get(peer)
        if pull is not None:
            for page in pages:
                key = (page.is_external, page.origin)
                pull.loose_after[key] = max(page.through, pull.loose_after.get(key, 0))
            self._continue_pull(peer, pull, now=now)
        return news

    def handle_external_page(self, peer: str, answer: ExternalPage, *, now: float) -> None:
        """Take in a part of the external space, and ask for the next one."""
        before = self._holdings.digest.total
        want = self._holdings.external.apply_external_page(peer, answer, now=now)
        if want is not None:
            self._send(peer, want)
        elif self._holdings.digest.total != before:
            self._compare_again(peer, now=now)

    def _note_summary(self, pull: _Pull, summary: Summary, *, now: float) -> None:
        origin = summary.origin
        key = (summary.is_external, origin.node_id, origin.epoch if summary.is_external else 0)
        if self._holdings.want(summary, loose_after=0, now=now) is None:
            pull.summaries.pop(key, None)
        elif key in pull.summaries or len(pull.summaries) < PULL_MAX:
            pull.summaries[key] = summary

    def _continue_pull(self, peer: str, pull: _Pull, *, now: float) -> None:
        wants: list[Want] = []
        for key, summary in list(pull.summaries.items()):
            loose_after = pull.loose_after.get((summary.is_external, summary.origin), 0)
            want = self._holdings.want(summary, loose_after=loose_after, now=now)
            if want is None or (want.full_floor == FROM_THE_START and want.origin in pull.adopted):
                del pull.summaries[key]
            elif len(wants) < WANTS_MAX:
                wants.append(want)
        if wants and tuple(wants) != pull.asked:
            pull.asked, pull.asked_at = tuple(wants), now
            pull.adopted.update(w.origin for w in wants if w.full_floor == FROM_THE_START)
            pull.deadline_at = now + self._config.reply_timeout_s
            self._pulls[peer] = pull
            self._send(peer, Wants(pull.asked))
            return
        self._pulls.pop(peer, None)
        if not wants:
            self._compare_again(peer, now=now)

    def _compare_again(self, peer: str, *, now: float) -> None:
        """See whether that was all; it usually was, and then we are in sync."""
        round_ = self._round
        if not self._is_in_round_with(peer, now):
            self.to_confirm = peer
            return
        # What has changed nothing would change nothing again: the next round is soon enough.
        if (
            round_ is not None
            and self._is_in_round_with(peer, now)
            and round_.fingerprint != self._holdings.digest.total
        ):
            self.start_round(peer, now=now)

    # -- serving ----------------------------------------------------------------------------

    def handle_wants(self, peer: str, wants: Wants) -> None:
        """Serve a peer what it lacks, as far as the byte budget goes."""
        budget_bytes = self._config.page_bytes
        pages: list[Page] = []
        for want in wants.wants[:WANTS_MAX]:
            if budget_bytes <= 0:
                break
            for page in self._holdings.serve(want, budget_bytes):
                pages.append(page)
                budget_bytes -= size_bytes(page)
        # An empty answer says that there is nothing to wait for.
        self._send(peer, Pages(tuple(pages), is_answer=True, pass_on=False))

    def handle_want_external(self, peer: str, want: WantExternal) -> None:
        """Serve a peer the next part of the external space."""
        page = self._holdings.external.external_page(want, self._config.page_bytes)
        self._send(peer, page)
