"""The consistent store as an agent sees it: here if it is a server that may answer, else passed on.

A write goes to the leader. A read goes there as well, unless it may be stale. An agent that is no
server asks any of them. Nothing is tried twice that may have happened once.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from svcmesh.consensus.raft import ServerId
from svcmesh.consensus.service import (
    NoLeaderError,
    OutcomeUnknownError,
    QueryAnswer,
    ReadMode,
    StoreError,
)
from svcmesh.consensus.store import Answer, CommandError, CommandKind, Store, encode_command
from svcmesh.consensus.store.queries import QUERIES, Query
from svcmesh.rpc import (
    RpcClosedError,
    RpcError,
    RpcPool,
    RpcRefusedError,
    RpcTimeoutError,
)
from svcmesh.runtime.consensus import Consensus
from svcmesh.runtime.sessions import SessionKeeper

WRITE_TIMEOUT_S: Final = 10.0
READ_TIMEOUT_S: Final = 10.0
HOPS_MAX: Final = 2
"""From an agent to a server, and from that to the leader."""

NO_LEADER: Final = "no-leader"
REFUSED: Final = "refused"
UNKNOWN: Final = "outcome-unknown"

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Server:
    """A server agent that is alive, and where its calls go."""

    id: ServerId
    address: Address


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
        self._pool, self._servers, self._rng = pool, servers, rng
        self._loop = asyncio.get_running_loop()
        self._wall_ms = 0

    # -- for the API ----------------------------------------------------------------------------

    async def write(
        self, kind: CommandKind, body: Sequence[object], *, timeout_s: float = WRITE_TIMEOUT_S
    ) -> Any:  # noqa: ANN401 -- the command's answer
        """Have a command applied; its answer.

        Raises:
            NoLeaderError: Nobody leads. Nothing was done.
            StoreError: It was refused. Nothing was done.
            OutcomeUnknownError: It may have happened or not.
        """
        return _value(await self.serve_write(kind, body, timeout_s=timeout_s, hops=0))

    async def query(
        self,
        name: str,
        *arguments: object,
        mode: ReadMode = ReadMode.DEFAULT,
        index: int = 0,
        wait_s: float = 0.0,
    ) -> QueryAnswer:
        """Ask; with `index` not before that has changed, or `wait_s` is over.

        Raises:
            NoLeaderError: Nobody can answer with the freshness that is asked for.
            StoreError: It was refused.
        """
        return await self.serve_query(name, arguments, mode=mode, index=index, wait_s=wait_s)

    async def renew(self, session_id: str) -> list[Any] | None:
        """Give a session its whole time again; the packed session, None when there is none.

        Raises:
            NoLeaderError: Nobody leads.
        """
        return await self.serve_renew(session_id, hops=0)

    # -- for the API and for other agents ---------------------------------------------------------

    async def serve_write(
        self, kind: CommandKind, body: Sequence[object], *, timeout_s: float, hops: int
    ) -> Answer:
        """Propose, or pass on.

        Raises:
            NoLeaderError, OutcomeUnknownError: As `write`.
        """
        consensus = self.consensus
        if consensus is not None and consensus.is_leader:
            await self._settle()
            answer = await self.propose(kind, body, timeout_s=timeout_s)
            if kind is CommandKind.SESSION_CREATE and self.keeper is not None:
                self.keeper.note_created(answer[1])
            return answer
        answer = await self._pass_on(
            "store.write",
            [kind.value, list(body), hops + 1],
            targets=self._targets(ReadMode.DEFAULT, hops),
            timeout_s=timeout_s,
            is_write=True,
        )
        return list(answer)

    async def propose(
        self, kind: CommandKind, body: Sequence[object], *, timeout_s: float = WRITE_TIMEOUT_S
    ) -> Answer:
        """Have a command applied as the leader; it is never passed on.

        Raises:
            NoLeaderError: We do not lead. Nothing was done.
            OutcomeUnknownError: It may have happened or not.
        """
        if self.consensus is None:
            raise NoLeaderError
        command = encode_command(kind, body, wall_ms=self._now_ms())
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self.consensus.propose(command)
        except TimeoutError:
            raise OutcomeUnknownError(
                "no majority of the servers has confirmed the write yet; it may still happen"
            ) from None
        assert isinstance(answer, list)
        return answer

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
        if consensus is not None and (mode is ReadMode.STALE or consensus.is_leader):
            return await self._answer(query, arguments, mode=mode, index=index, wait_s=wait_s)
        packed = await self._pass_on(
            "store.query",
            [name, list(arguments), mode.value, index, wait_s, hops + 1],
            targets=self._targets(mode, hops),
            timeout_s=READ_TIMEOUT_S + wait_s,
            is_write=False,
        )
        return QueryAnswer(*packed)

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
        packed: list[Any] | None = await self._pass_on(
            "session.renew",
            [session_id, hops + 1],
            targets=self._targets(ReadMode.DEFAULT, hops),
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
                return self._described(max(1, found.index), found.value)
            changed: asyncio.Future[None] = self._loop.create_future()
            watch = store.watch(query.topics(*arguments), lambda: _wake(changed))  # noqa: B023
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
        if mode is ReadMode.CONSISTENT or not consensus.has_lease:
            try:
                async with asyncio.timeout(READ_TIMEOUT_S):
                    await consensus.barrier()
            except TimeoutError:
                raise NoLeaderError from None

    async def _settle(self) -> None:
        if self.keeper is not None and self.consensus is not None and self.consensus.is_leader:
            await self.keeper.settle()

    def _described(self, index: int, value: object) -> QueryAnswer:
        assert self.consensus is not None
        last_contact_ms = 0 if self.consensus.is_leader else self.consensus.last_contact_ms
        return QueryAnswer(index, value, self.consensus.leader is not None, last_contact_ms)

    # -- passing on -----------------------------------------------------------------------------

    def _targets(self, mode: ReadMode, hops: int) -> list[Server]:
        """Whom to ask, in order.

        Raises:
            NoLeaderError: There is nobody.
        """
        others = [
            server
            for server in self._servers()
            if self.consensus is None or server.id != self.consensus.id
        ]
        if self.consensus is not None:
            leader = self.consensus.leader
            others = [server for server in others if server.id == leader]
        else:
            self._rng.shuffle(others)
        if not others or hops >= HOPS_MAX:
            raise NoLeaderError
        return others

    async def _pass_on(
        self, method: str, body: object, *, targets: Sequence[Server], timeout_s: float,
        is_write: bool,
    ) -> Any:  # noqa: ANN401 -- the method's answer  # fmt: skip
        ends_at = self._loop.time() + timeout_s
        for server in targets:
            left_s = ends_at - self._loop.time()
            if left_s <= 0:
                break
            try:
                return await self._pool.call(server.address, method, body, timeout_s=left_s)
            except RpcRefusedError:
                # It was not sent: another may be asked.
                continue
            except (RpcClosedError, RpcTimeoutError) as error:
                if is_write:
                    raise OutcomeUnknownError(
                        f"server {server.id} did not confirm the write, which may have happened: "
                        f"{error}"
                    ) from error
            except RpcError as error:
                if error.code == NO_LEADER:
                    continue
                if error.code == UNKNOWN:
                    raise OutcomeUnknownError(error.text) from error
                raise StoreError(error.text) from error
        raise NoLeaderError

    def _now_ms(self) -> int:
        """The wall clock, never going back."""
        self._wall_ms = max(self._wall_ms, time.time_ns() // 1_000_000)
        return self._wall_ms

    # -- methods that other agents call -----------------------------------------------------------

    async def handle_write(self, body: Any, timeout_s: float) -> object:  # noqa: ANN401
        """`store.write`: [kind, body, hops]."""
        match body:
            case [str() as kind, list() as arguments, int() as hops] if kind in KINDS:
                return await _for_rpc(
                    self.serve_write(CommandKind(kind), arguments, timeout_s=timeout_s, hops=hops)
                )
            case _:
                raise RpcError(REFUSED, "store.write: expected [kind, body, hops]")

    async def handle_query(self, body: Any, _: float) -> object:  # noqa: ANN401
        """`store.query`: [name, arguments, mode, index, seconds to wait, hops]."""
        match body:
            case [
                str() as name, list() as arguments, str() as mode, int() as index,
                int() | float() as wait_s, int() as hops,
            ] if mode in MODES:  # fmt: skip
                answer = await _for_rpc(
                    self.serve_query(
                        name, arguments, mode=ReadMode(mode), index=index, wait_s=wait_s, hops=hops
                    )
                )
                return [answer.index, answer.value, answer.has_leader, answer.last_contact_ms]
            case _:
                raise RpcError(REFUSED, "store.query: expected [name, arguments, mode, ...]")

    async def handle_renew(self, body: Any, _: float) -> object:  # noqa: ANN401
        """`session.renew`: [session id, hops]."""
        match body:
            case [str() as session_id, int() as hops]:
                return await _for_rpc(self.serve_renew(session_id, hops=hops))
            case _:
                raise RpcError(REFUSED, "session.renew: expected [id, hops]")


KINDS: Final = frozenset(CommandKind)
MODES: Final = frozenset(ReadMode)


async def _for_rpc(work: Any) -> Any:  # noqa: ANN401 -- an awaitable, and what it gives
    try:
        return await work
    except NoLeaderError as error:
        raise RpcError(NO_LEADER, str(error)) from error
    except OutcomeUnknownError as error:
        raise RpcError(UNKNOWN, str(error)) from error
    except (StoreError, TypeError, ValueError) as error:
        raise RpcError(REFUSED, str(error)) from error


def _value(answer: Answer) -> Any:  # noqa: ANN401 -- the command's answer
    verdict, value = answer
    if verdict == "error":
        raise StoreError(value)
    return value


def _wake(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
