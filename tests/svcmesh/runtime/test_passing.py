"""Whom a question is passed on to, and that nothing is done twice that may have happened once."""

import asyncio
from collections.abc import Callable
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from svcmesh.consensus.raft import ServerId
from svcmesh.consensus.service import NoLeaderError, OutcomeUnknownError, StoreError
from svcmesh.errors import SvcmeshError
from svcmesh.rpc import RpcClosedError, RpcError, RpcPool, RpcRefusedError, RpcTimeoutError
from svcmesh.runtime.consensus import Consensus
from svcmesh.runtime.passing import PassingOn, Server
from svcmesh.runtime.writing import NO_LEADER, UNKNOWN

SERVERS = [Server(ServerId(f"s{n}"), (f"127.0.0.{n}", 8300)) for n in range(3)]
WHERE = {server.address: server.id for server in SERVERS}
LOST = [RpcClosedError("closed"), RpcTimeoutError("late")]
NEVER_SENT = [RpcRefusedError("nobody there"), RpcError(NO_LEADER, "no leader")]


class Pool:
    """Servers that answer, or fail, in the order in which they are asked."""

    def __init__(self, *outcomes: object) -> None:
        self.asked: list[str] = []
        self._outcomes = list(outcomes)

    def _next(self, address: tuple[str, int]) -> object:
        self.asked.append(WHERE[address])
        return self._outcomes.pop(0)

    async def call(self, address: tuple[str, int], *_: object, timeout_s: float) -> object:
        assert 0 < timeout_s <= 10
        outcome = self._next(address)
        if isinstance(outcome, SvcmeshError):
            raise outcome
        return outcome

    def begin_call(
        self,
        address: tuple[str, int],
        method: str,
        body: object,
        ended: Callable[[Any, SvcmeshError | None], None],
        *,
        timeout_s: float,
    ) -> bool:
        assert (method, body) == ("store.writes", [[b"w"], 1])
        outcome = self._next(address)
        is_error = isinstance(outcome, SvcmeshError)
        ended(None if is_error else outcome, cast("SvcmeshError", outcome) if is_error else None)
        return True


def follower(leader: str | None) -> Consensus:
    """The server s0, as far as it is looked at."""
    found = SimpleNamespace(id="s0", is_leader=leader == "s0", leader=leader, is_closed=False)
    return cast("Consensus", found)


def passing(pool: Pool, consensus: Consensus | None = None) -> PassingOn:
    return PassingOn(cast("RpcPool", pool), lambda: SERVERS, consensus, Random(1))


def ask(
    pool: Pool, consensus: Consensus | None = None, *, hops: int = 0, is_write: bool = False
) -> object:
    async def main() -> object:
        on = passing(pool, consensus)
        return await on.call("m", None, hops=hops, timeout_s=10.0, is_write=is_write)

    return asyncio.run(main())


def test_a_server_asks_its_leader_and_nobody_else() -> None:
    pool = Pool("answer")
    assert ask(pool, follower("s2")) == "answer"
    assert pool.asked == ["s2"]
    for leader in (None, "s0"):
        with pytest.raises(NoLeaderError):
            ask(Pool(), follower(leader))


def test_what_has_come_too_far_goes_no_further() -> None:
    with pytest.raises(NoLeaderError):
        ask(Pool(), follower("s2"), hops=2)


@pytest.mark.parametrize("is_write", [False, True])
@pytest.mark.parametrize("failure", NEVER_SENT)
def test_what_was_not_done_is_asked_of_the_next(failure: SvcmeshError, is_write: bool) -> None:
    pool = Pool(failure, failure, "answer")
    assert ask(pool, is_write=is_write) == "answer"
    assert sorted(pool.asked) == ["s0", "s1", "s2"]
    with pytest.raises(NoLeaderError):
        ask(Pool(failure, failure, failure), is_write=is_write)


@pytest.mark.parametrize("failure", LOST)
def test_a_read_that_was_lost_is_asked_again_and_a_write_is_not(failure: SvcmeshError) -> None:
    assert ask(Pool(failure, "answer")) == "answer"
    pool = Pool(failure, "answer")
    with pytest.raises(OutcomeUnknownError, match="which may have happened"):
        ask(pool, is_write=True)
    assert len(pool.asked) == 1


def test_what_a_server_says_of_a_failure_is_kept() -> None:
    for is_write in (False, True):
        with pytest.raises(OutcomeUnknownError, match="unsure"):
            ask(Pool(RpcError(UNKNOWN, "unsure")), is_write=is_write)
        with pytest.raises(StoreError, match="bad key"):
            ask(Pool(RpcError("refused", "bad key")), is_write=is_write)


@pytest.mark.parametrize(
    ("outcome", "done"),
    [
        ([["ok", 1]], list),
        (RpcError(NO_LEADER, ""), NoLeaderError),
        (RpcTimeoutError(""), OutcomeUnknownError),
        ({"of": "another form"}, OutcomeUnknownError),
    ],
)
def test_writes_without_a_task_come_to_the_same(outcome: object, done: type) -> None:
    async def main() -> None:
        told: list[object] = []
        pool = Pool(outcome)
        assert passing(pool, follower("s1")).begin_writes([b"w"], told.append)
        assert pool.asked == ["s1"]
        assert [type(one) for one in told] == [done]

    asyncio.run(main())


@pytest.mark.parametrize("leader", [None, "s0"])
def test_writes_take_the_ordinary_way_where_no_other_leads(leader: str | None) -> None:
    async def main() -> None:
        assert not passing(Pool(), follower(leader)).begin_writes([], lambda _: None)
        assert not passing(Pool()).begin_writes([], lambda _: None)

    asyncio.run(main())


def test_a_server_that_has_stopped_asks_any_other() -> None:
    stopped = cast("Any", follower(None))
    stopped.is_closed = True
    pool = Pool("answer")
    assert ask(pool, stopped) == "answer"
    assert pool.asked[0] != "s0"

    async def main() -> None:
        assert not passing(Pool(), stopped).begin_writes([], lambda _: None)

    asyncio.run(main())


def test_a_new_leader_is_noticed_at_once() -> None:
    async def main() -> None:
        consensus = cast("Any", follower("s1"))
        pool = Pool([], [])
        on = passing(pool, consensus)
        on.begin_writes([b"w"], lambda _: None)
        consensus.leader = "s2"
        on.begin_writes([b"w"], lambda _: None)
        assert pool.asked == ["s1", "s2"]

    asyncio.run(main())
