"""Calls passed on: by a server to its leader, by any other agent to one server or another.

Nothing is tried twice that may have happened once.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from svcmesh.consensus.raft import ServerId
from svcmesh.consensus.service import NoLeaderError, OutcomeUnknownError, StoreError
from svcmesh.errors import DecodeError, SvcmeshError
from svcmesh.rpc import Body, RpcClosedError, RpcError, RpcPool, RpcRefusedError, RpcTimeoutError
from svcmesh.runtime.consensus import Consensus
from svcmesh.runtime.writing import NO_LEADER, UNKNOWN

WRITE_TIMEOUT_S: Final = 10.0
LEADER_S: Final = 0.25
"""Between two looks at where the leader is."""
HOPS_MAX: Final = 2
"""From an agent to a server, and from that to the leader."""

REFUSED: Final = "refused"

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Server:
    """A server agent that is alive, and where its calls go."""

    id: ServerId
    address: Address


class PassingOn:
    """Finds whom to ask, and asks.

    `consensus` is a server's, which asks its leader. An agent without, and a server that has
    stopped, ask any server.
    """

    def __init__(
        self,
        pool: RpcPool,
        servers: Callable[[], Sequence[Server]],
        consensus: Consensus | None,
        rng: Random,
    ) -> None:
        self._pool, self._servers, self._consensus, self._rng = pool, servers, consensus, rng
        self._loop = asyncio.get_running_loop()
        self._leader, self._leader_until = Server(ServerId(""), ("", 0)), 0.0
        """Where the leader was found, and how long that counts."""

    async def call(
        self, method: str, body: object, *, hops: int, timeout_s: float, is_write: bool
    ) -> Any:  # noqa: ANN401 -- the method's answer
        """Ask one server after the other, as long as nothing has happened.

        `hops` is how many agents the question has passed.

        Raises:
            NoLeaderError, StoreError: Nothing was done.
            OutcomeUnknownError: Of a write: it may have happened or not.
        """
        ends_at = self._loop.time() + timeout_s
        for server in self._targets(hops):
            left_s = ends_at - self._loop.time()
            if left_s <= 0:
                break
            try:
                return await self._pool.call(server.address, method, body, timeout_s=left_s)
            except RpcRefusedError:
                # It was not sent: another may be asked.
                continue
            except (RpcClosedError, RpcTimeoutError, RpcError) as error:
                failure = _failure(error, server)
                if isinstance(failure, NoLeaderError):
                    continue
                if is_write or isinstance(error, RpcError):
                    raise failure from error
        raise NoLeaderError

    def begin_writes(
        self, writes: list[Any], done: Callable[[list[Any] | SvcmeshError], None]
    ) -> bool:
        """As a follower with a connection to its leader: pass `store.writes` on without a task.

        `done` gets the verdicts, or why there are none. False: it is not called.
        """
        consensus = self._consensus
        if consensus is None or consensus.is_closed or consensus.is_leader:
            return False
        now = self._loop.time()
        if self._leader.id != consensus.leader or now >= self._leader_until:
            try:
                self._leader = self._targets(0)[0]
            except NoLeaderError:
                return False
            self._leader_until = now + LEADER_S
        leader = self._leader

        def ended(verdicts: Body, error: SvcmeshError | None) -> None:
            if error is not None:
                done(_failure(error, leader))
            elif isinstance(verdicts, list):
                done(verdicts)
            else:
                done(formless())

        return self._pool.begin_call(
            leader.address, "store.writes", [writes, 1], ended, timeout_s=WRITE_TIMEOUT_S
        )

    def _targets(self, hops: int) -> list[Server]:
        """Whom to ask, in order, about what has come `hops` agents far.

        Raises:
            NoLeaderError: There is nobody.
        """
        consensus = self._consensus
        others = [
            server for server in self._servers() if consensus is None or server.id != consensus.id
        ]
        if consensus is not None and not consensus.is_closed:
            others = [server for server in others if server.id == consensus.leader]
        else:
            self._rng.shuffle(others)
        if not others or hops >= HOPS_MAX:
            raise NoLeaderError
        return others


def formless() -> OutcomeUnknownError:
    """What is known of a write that a server has answered with something else."""
    return OutcomeUnknownError("the answer to a write has no form")


async def for_rpc(work: Any) -> Any:  # noqa: ANN401 -- an awaitable, and what it gives
    """Wait for the store; its failures as a caller is told them."""
    try:
        return await work
    except NoLeaderError as error:
        raise RpcError(NO_LEADER, str(error)) from error
    except OutcomeUnknownError as error:
        raise RpcError(UNKNOWN, str(error)) from error
    except (StoreError, DecodeError) as error:
        raise RpcError(REFUSED, str(error)) from error


def _failure(error: SvcmeshError, server: Server) -> SvcmeshError:
    """What a call of a server has come to, for who wanted something of the store."""
    if not isinstance(error, RpcError):
        return OutcomeUnknownError(
            f"server {server.id} did not confirm the write, which may have happened: {error}"
        )
    if error.code == NO_LEADER:
        return NoLeaderError()
    return OutcomeUnknownError(error.text) if error.code == UNKNOWN else StoreError(error.text)
