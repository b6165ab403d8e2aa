"""What we ask the pool: queries for the user, and whose our name is (10.9, 10.11).

Answers are counted in `queries.py`; here is what a query says, how long it waits, and what the
vote on our name means.
"""

from collections.abc import Callable
from random import Random

from gossip.config import GossipConfig
from gossip.errors import StateError
from gossip.serf import drops
from gossip.serf.events import Effect, QueryId
from gossip.serf.intake import Intake
from gossip.serf.internal import CONFLICT, NameVote
from gossip.serf.members import Members
from gossip.serf.queries import Asker, QueryOptions, new_query
from gossip.swim.effects import MessageDropped
from gossip.types import Address, MemberName


class Questions:
    """Asks. At most one vote on our name is held at a time."""

    def __init__(
        self,
        config: GossipConfig,
        own_name: MemberName,
        own_address: Address,
        *,
        members: Members,
        intake: Intake,
        asker: Asker,
        rng: Random,
        emit: Callable[[Effect], None],
    ) -> None:
        self._config, self._name, self._address = config, own_name, own_address
        self._members, self._intake, self._asker = members, intake, asker
        self._rng, self._emit = rng, emit
        self._name_vote: NameVote | None = None

    def ask(self, name: str, payload: bytes, options: QueryOptions, *, now: float) -> QueryId:
        """Send a query whose answers are told to the user.

        Raises:
            TooLargeError: It exceeds the configured size, or what a packet carries.
            StateError: Too many queries are under way.
        """
        return self._ask(name, payload, options, listen=self._asker.begin, now=now)

    def hold_name_vote(self, *, now: float) -> None:
        """Another member claims our name: ask the others, unless they are being asked."""
        if self._name_vote is not None:
            return
        self._name_vote = vote = NameVote(self._address)

        def listen(query: QueryId, ends_at: float) -> None:
            self._asker.listen(
                query,
                ends_at=ends_at,
                on_answer=lambda _member, payload: vote.take_untrusted(payload),
                on_end=self._finish_name_vote,
            )

        payload = self._name.encode("utf-8", "surrogateescape")
        try:
            self._ask(CONFLICT, payload, QueryOptions(), listen=listen, now=now)
        except StateError as error:
            self._name_vote = None
            self._emit(MessageDropped(drops.VOTE_NOT_HELD, str(error)))

    def _finish_name_vote(self) -> None:
        assert self._name_vote is not None
        self._emit(self._name_vote.finish())
        self._name_vote = None

    def _ask(
        self,
        name: str,
        payload: bytes,
        options: QueryOptions,
        *,
        listen: Callable[[QueryId, float], None],
        now: float,
    ) -> QueryId:
        """Send a query once `listen` waits for its answers, until an instant."""
        query_id = QueryId(self._intake.query_clock.time, self._rng.getrandbits(32))
        timeout_s = options.timeout_s or self._timeout_s()
        query = new_query(
            name,
            payload,
            options,
            query_id=query_id,
            asker=self._address,
            source=self._name,
            timeout_s=timeout_s,
        )
        encoded = self._intake.encode_query(query)
        listen(query_id, now + timeout_s)
        self._intake.ask(query, encoded, now=now)
        return query_id

    def _timeout_s(self) -> float:
        """Long enough for a rumor to reach everybody and an answer to come back."""
        present = len(self._members) - self._members.failed_count - self._members.left_count
        interval_s = self._config.swim.gossip_interval_s
        # ceil(log10(n + 1)) is the number of decimal digits of n.
        return interval_s * self._config.serf.query_timeout_mult * len(str(max(1, present)))
