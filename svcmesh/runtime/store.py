"""The consistent store as an agent sees it: here if it is a server that may answer, else passed on.

A write goes to the leader. A read goes there as well, unless it may be stale. Whom to ask, and what
a call that failed says of it, is `passing.py`'s.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from random import Random
from typing import Any, Final

from svcmesh.consensus.service import (
    NoLeaderError,
    QueryAnswer,
    ReadMode,
    StoreError,
)
from svcmesh.consensus.store import (
    Answer,
    CommandError,
    CommandKind,
    KvEntry,
    Store,
    encode_command,
)
from svcmesh.consensus.store.queries import QUERIES, Query
from svcmesh.errors import DecodeError
from svcmesh.rpc import Body, RpcError, RpcPool, seconds_untrusted
from svcmesh.runtime.consensus import Consensus
from svcmesh.runtime.passing import (
    HOPS_MAX,
    REFUSED,
    WRITE_TIMEOUT_S,
    PassingOn,
    Server,
    for_rpc,
    formless,
)
from svcmesh.runtime.sessions import SessionKeeper
from svcmesh.runtime.writing import (
    PackedWrite,
    WriteBatches,
    unpack_write_untrusted,
    verdict_of,
)

READ_TIMEOUT_S: Final = 10.0
QUERY_WAIT_S_MAX: Final = 3300.0
"""For another agent's question: the longest `max_query_time` and the sixteenth that is added."""
WAITED_S: Final = 0.25
"""A question that fails sooner had nobody to answer it from the start."""
ELECTION_S_MAX: Final = 5.0
"""So long a question that has waited is asked again while nobody leads."""
ASK_AGAIN_S: Final = 0.1
LAG_S: Final = 1.0
"""So long a server that could not keep up leaves reads to the leader."""


class StoreService:
    """Reads and writes of the consistent store, on every agent.

    `servers` gives the alive servers of the data center, ourselves included.
    """

    def __init__(
        self,
        pool: RpcPool,
        servers: Callable[[], Sequence[Server]],
        *,
        consensus: Consensus | None = None,
        store: Store | None = None,
        rng: Random,
    ) -> None:
        """`consensus` and `store` are a server's."""
        assert (consensus is None) == (store is None)
        self.consensus, self.store = consensus, store
        self.keeper: SessionKeeper | None = None
        """A server's: whom renewals are told."""
        self.passing = PassingOn(pool, servers, consensus, rng)
        self._loop = asyncio.get_running_loop()
        self._wall_ms = 0
        self._lags_until = 0.0
        self._batches = WriteBatches(partial(self._serve_writes, hops=0), self.passing.begin_writes)

    # -- for the API ----------------------------------------------------------------------------

    async def write(self, kind: CommandKind, body: Sequence[object]) -> Any:  # noqa: ANN401 -- the command's answer
        """Have a command applied; its answer.

        Raises:
            NoLeaderError: Nobody leads. Nothing was done.
            StoreError: It was refused. Nothing was done.
            OutcomeUnknownError: It may have happened or not.
        """
        if self._leads:
            return _value(await self._propose_settled(kind, body))
        return _value(await self._batches.add(kind, body))

    async def query(
        self,
        name: str,
        *arguments: object,
        mode: ReadMode = ReadMode.DEFAULT,
        index: int = 0,
        wait_s: float = 0.0,
    ) -> QueryAnswer:
        """Ask; with `index` not before that has changed, or `wait_s` is over.

        A question that has waited for a while when the leader is lost is asked again of the next.

        Raises:
            NoLeaderError: Nobody can answer with the freshness that is asked for.
            StoreError: It was refused.
        """
        ends_at = self._loop.time() + wait_s
        lost_at: float | None = None
        while True:
            asked_at = self._loop.time()
            left_s = max(0.0, ends_at - asked_at)
            try:
                return await self.serve_query(
                    name, arguments, mode=mode, index=index, wait_s=left_s
                )
            except NoLeaderError:
                now = self._loop.time()
                if lost_at is None and now - asked_at >= WAITED_S:
                    lost_at = now
                if not index or lost_at is None or now >= min(ends_at, lost_at + ELECTION_S_MAX):
                    raise
            await asyncio.sleep(ASK_AGAIN_S)

    async def renew(self, session_id: str) -> list[Any] | None:
        """Give a session its whole time again; the packed session, None when there is none.

        Raises:
            NoLeaderError: Nobody leads.
        """
        return await self.serve_renew(session_id, hops=0)

    # -- for the API and for other agents ---------------------------------------------------------

    async def propose(self, kind: CommandKind, body: Sequence[object]) -> Answer:
        """Have a command applied as the leader; it is never passed on.

        Raises:
            NoLeaderError: We do not lead. Nothing was done.
            OutcomeUnknownError: It may have happened or not.
        """
        if self.consensus is None:
            raise NoLeaderError
        answer = await self._propose_soon(self.consensus, kind, body)
        assert isinstance(answer, list)
        return answer

    def _propose_soon(
        self, consensus: Consensus, kind: CommandKind, body: Sequence[object]
    ) -> "asyncio.Future[Any]":
        return consensus.propose_soon(encode_command(kind, body, wall_ms=self._now_ms()))

    def _begin_write(self, kind: CommandKind, body: Sequence[object]) -> Awaitable[Answer]:
        consensus = self.consensus
        is_plain = kind is not CommandKind.SESSION_CREATE
        if is_plain and consensus and self.keeper is not None and self.keeper.is_settled:
            return self._propose_soon(consensus, kind, body)
        return self._propose_settled(kind, body)

    async def _propose_settled(self, kind: CommandKind, body: Sequence[object]) -> Answer:
        await self._settle()
        answer = await self.propose(kind, body)
        if kind is CommandKind.SESSION_CREATE and self.keeper is not None:
            self.keeper.note_created(answer[1])
        return answer

    async def _serve_writes(self, writes: list[PackedWrite], *, hops: int) -> list[Answer]:
        """Propose all of a batch, or pass it on; one verdict for each (`writing.py`).

        Raises:
            NoLeaderError, OutcomeUnknownError: As `write`.
            DecodeError: One of them cannot be read. Nothing was done.
        """
        if self._leads:
            # All are read before any begins: of a batch that is refused nothing has been done.
            unpacked = [unpack_write_untrusted(packed) for packed in writes]
            # They begin in order, and in one turn: they go into the log together.
            outcomes = await asyncio.gather(
                *[self._begin_write(kind, body) for kind, body in unpacked],
                return_exceptions=True,
            )
            return [verdict_of(outcome) for outcome in outcomes]
        verdicts = await self.passing.call(
            "store.writes",
            [writes, hops + 1],
            hops=hops,
            timeout_s=WRITE_TIMEOUT_S,
            is_write=True,
        )
        if not isinstance(verdicts, list):
            raise formless()
        return verdicts

    @property
    def _leads(self) -> bool:
        return self.consensus is not None and self.consensus.is_leader

    # -- without a task for each (`api/lane.py`) --------------------------------------------------

    def begin_read(self, done: Callable[[bool], None]) -> bool:
        """Begin a `default` read; `done(True)` is called when the store here is fresh, or at once.

        False: `done` is not called; the read takes the ordinary way.
        """
        consensus = self.consensus
        if consensus is None:
            return False
        if consensus.is_leader:
            if self.keeper is None or not self.keeper.is_settled or not consensus.has_lease:
                return False
            done(True)
            return True
        if not self._reads_here(consensus):
            return False
        consensus.barrier_soon(by_lease=True).add_done_callback(
            lambda round_: done(round_.exception() is None)
        )
        return True

    def find_key(self, key: str) -> KvEntry | None:
        """A server's entry of a key, as fresh as what is applied here."""
        assert self.store is not None
        return self.store.keys.get(key)

    def begin_set(self, key: str, value: bytes, done: Callable[[Answer | Exception], None]) -> bool:
        """Begin a plain write of a key; `done` gets the answer, or what `write` raises.

        False: `done` is not called; the write takes the ordinary way.
        """
        body = [key, value, 0]
        consensus = self.consensus
        if consensus is None or not consensus.is_leader:
            self._batches.begin(CommandKind.SET, body, done)
            return True
        if self.keeper is None or not self.keeper.is_settled:
            return False
        outcome = self._propose_soon(consensus, CommandKind.SET, body)
        outcome.add_done_callback(
            lambda ended: done(ended.exception() or ended.result())  # type: ignore[arg-type] # ours
        )
        return True

    async def serve_query(
        self, name: str, arguments: Sequence[Any], *, mode: ReadMode, index: int, wait_s: float,
        hops: int = 0,
    ) -> QueryAnswer:  # fmt: skip
        """Answer here, or pass on.

        Raises:
            NoLeaderError, StoreError: As `query`.
        """
        query = QUERIES.get(name)
        if query is None:
            raise StoreError(f"unknown query {name!r:.50}")
        consensus = self.consensus
        if consensus is not None and (mode is ReadMode.STALE or self._reads_here(consensus)):
            try:
                return await self._answer(query, arguments, mode=mode, index=index, wait_s=wait_s)
            except NoLeaderError:
                if consensus.is_leader or consensus.leader is None or hops >= HOPS_MAX:
                    raise
                # We lag, or are no member: the leader answers itself.
                self._lags_until = self._loop.time() + LAG_S
        packed = await self.passing.call(
            "store.query",
            [name, list(arguments), mode.value, index, wait_s, hops + 1],
            hops=hops,
            timeout_s=READ_TIMEOUT_S + wait_s,
            is_write=False,
        )
        match packed:
            case [int() as at, value, bool() as has_leader, int() as contact_ms]:
                return QueryAnswer(at, value, has_leader, contact_ms)
            case _:
                raise StoreError("a server answered a query with something else")

    def _reads_here(self, consensus: Consensus) -> bool:
        """Whether reads that must be fresh are answered here, with the leader's leave."""
        if consensus.is_leader:
            return True
        return consensus.leader is not None and self._loop.time() >= self._lags_until

    async def serve_renew(self, session_id: str, *, hops: int) -> list[Any] | None:
        """Renew, or pass on.

        Raises:
            NoLeaderError: Nobody leads.
        """
        consensus = self.consensus
        if consensus is not None and consensus.is_leader and self.keeper is not None:
            await self._be_fresh(ReadMode.DEFAULT)
            session = self.keeper.renew(session_id)
            return None if session is None else session.pack()
        packed: list[Any] | None = await self.passing.call(
            "session.renew",
            [session_id, hops + 1],
            hops=hops,
            timeout_s=READ_TIMEOUT_S,
            is_write=False,
        )
        return packed

    async def _answer(
        self, query: Query, arguments: Sequence[Any], *, mode: ReadMode, index: int, wait_s: float
    ) -> QueryAnswer:
        assert self.store is not None
        store = self.store
        ends_at = self._loop.time() + wait_s
        while True:
            await self._be_fresh(mode)
            try:
                found = query.find(store, *arguments)
            except CommandError as error:
                raise StoreError(str(error)) from error
            left_s = ends_at - self._loop.time()
            if not index or not found.index <= index <= store.index or left_s <= 0:
                return self._described(max(1, found.index), found.value, mode)
            changed: asyncio.Future[None] = self._loop.create_future()
            watch = store.watch(query.topics(*arguments), partial(_wake, changed))
            try:
                async with asyncio.timeout(left_s):
                    await changed
            except TimeoutError:
                index = 0
            finally:
                store.cancel_watch(watch)

    async def _be_fresh(self, mode: ReadMode) -> None:
        consensus = self.consensus
        assert consensus is not None
        if mode is ReadMode.STALE:
            return
        await self._settle()
        by_lease = mode is ReadMode.DEFAULT
        if not by_lease or not consensus.has_lease:
            await consensus.barrier(by_lease=by_lease)

    async def _settle(self) -> None:
        if self.keeper is not None and self.consensus is not None and self.consensus.is_leader:
            await self.keeper.settle()

    def _described(self, index: int, value: object, mode: ReadMode) -> QueryAnswer:
        assert self.consensus is not None
        if mode is not ReadMode.STALE or self.consensus.is_leader:
            return QueryAnswer(index, value)
        has_leader = self.consensus.leader is not None
        return QueryAnswer(index, value, has_leader, self.consensus.last_contact_ms)

    def _now_ms(self) -> int:
        """The wall clock, never going back."""
        self._wall_ms = max(self._wall_ms, time.time_ns() // 1_000_000)
        return self._wall_ms

    # -- methods that other agents call -----------------------------------------------------------

    def begin_writes(self, body: Body, reply: Callable[[Any], None]) -> bool:
        """`store.writes`, without a task: as the leader, for what needs nothing but the log."""
        consensus = self.consensus
        if consensus is None or not consensus.is_leader:
            return False
        if self.keeper is None or not self.keeper.is_settled:
            return False
        match body:
            case [[_, *_] as packed, int()]:
                try:
                    writes = [unpack_write_untrusted(each) for each in packed]
                except DecodeError:
                    return False
            case _:
                return False
        if any(kind is CommandKind.SESSION_CREATE for kind, _ in writes):
            return False
        outcomes = [self._propose_soon(consensus, kind, body) for kind, body in writes]
        left = len(outcomes)

        def count(_: "asyncio.Future[Any]") -> None:
            nonlocal left
            left -= 1
            if not left:
                reply([verdict_of(each.exception() or each.result()) for each in outcomes])

        for outcome in outcomes:
            outcome.add_done_callback(count)
        return True

    async def handle_writes(self, body: Body, _: float) -> object:
        """`store.writes`: [packed writes, hops]; answers their verdicts."""
        match body:
            case [list() as writes, int() as hops]:
                return await for_rpc(self._serve_writes(writes, hops=hops))
            case _:
                raise RpcError(REFUSED, "store.writes: expected [writes, hops]")

    async def handle_query(self, body: Body, _: float) -> object:
        """`store.query`: [name, arguments, mode, index, seconds to wait, hops]."""
        match body:
            case [
                str() as name, list() as arguments, str() as mode, int() as index,
                int() | float() as wait_s, int() as hops,
            ] if mode in MODES:  # fmt: skip
                query = QUERIES.get(name)
                if query is not None and not query.takes_untrusted(arguments):
                    raise RpcError(REFUSED, f"{name}: other arguments than it takes")
                wait_s = seconds_untrusted(wait_s, most_s=QUERY_WAIT_S_MAX)
                answer = await for_rpc(
                    self.serve_query(
                        name, arguments, mode=ReadMode(mode), index=index, wait_s=wait_s, hops=hops
                    )
                )
                return [answer.index, answer.value, answer.has_leader, answer.last_contact_ms]
            case _:
                raise RpcError(REFUSED, "store.query: expected [name, arguments, mode, ...]")

    async def handle_renew(self, body: Body, _: float) -> object:
        """`session.renew`: [session id, hops]."""
        match body:
            case [str() as session_id, int() as hops]:
                return await for_rpc(self.serve_renew(session_id, hops=hops))
            case _:
                raise RpcError(REFUSED, "session.renew: expected [id, hops]")


MODES: Final = frozenset(ReadMode)


def _value(answer: Answer) -> Any:  # noqa: ANN401 -- the command's answer
    verdict, value = answer
    if verdict == "error":
        raise StoreError(value)
    return value


def _wake(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
