"""Which sessions the leader ends, and when."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from svcmesh.catalog.view_rows import NodeRow
from svcmesh.consensus.service import NoLeaderError
from svcmesh.consensus.store import CommandKind, Session, Store, encode_command
from svcmesh.runtime import sessions as sessions_module
from svcmesh.runtime.consensus import Consensus
from svcmesh.runtime.sessions import SessionKeeper
from svcmesh.runtime.wellness import Wellness


@dataclass
class Checked:
    """A node of the catalog as far as `Wellness` looks: check ids and statuses."""

    statuses: dict[str, str] = field(default_factory=dict)

    def all_checks(self) -> list[Any]:
        return [
            SimpleNamespace(record=SimpleNamespace(id=id_, status=status))
            for id_, status in self.statuses.items()
        ]


class Leader:
    """A leader of a group of its own, whose clock goes when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_leader, self.raft = True, SimpleNamespace(term=1)
        self.store = Store()
        self.nodes: dict[str, Checked] = {}
        self.catalog_index = 1
        self.meanwhile: Callable[[], Awaitable[None]] | None = None
        """Done between the decision to end a session and what the log makes of it."""
        self.now = 1000.0
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "time", lambda: self.now)
        self.keeper = SessionKeeper(
            cast("Consensus", self),
            self.store,
            wellness=Wellness(
                lambda name: cast("NodeRow | None", self.nodes.get(name)), self._stamp
            ),
            catalog_index=lambda: self.catalog_index,
            propose=self._propose,
        )

    def _stamp(self, _: str) -> int:
        return self.catalog_index

    async def _propose(self, kind: CommandKind, body: list[Any]) -> object:
        if self.meanwhile is not None:
            await self.meanwhile()
        if not self.is_leader:
            raise NoLeaderError
        return self._apply(kind, body)

    def _apply(self, kind: CommandKind, body: list[Any]) -> object:
        return self.store.apply(self.store.index + 1, encode_command(kind, body, wall_ms=0))

    def create(self, id_: str, *, ttl: str = "", checks: tuple[str, ...] = ()) -> None:
        session = Session(id_, "", "n1", checks, (), 0, "release", ttl)
        self._apply(CommandKind.SESSION_CREATE, session.pack())
        self.keeper.note_created(id_)

    async def look(self) -> None:
        """One round of the keeper's care."""
        running = asyncio.create_task(self.keeper.run())
        for _ in range(20):
            await asyncio.sleep(0)
        running.cancel()

    @property
    def ids(self) -> set[str]:
        return {session.id for session in self.store.sessions.all()}


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)


def test_a_session_ends_after_twice_its_ttl_and_a_renewal_gives_it_all_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        leader = Leader(monkeypatch)
        leader.nodes["n1"] = Checked()
        leader.create("s", ttl="10s")
        await leader.look()
        leader.now += 19.9
        assert leader.keeper.renew("s") is not None
        leader.now += 19.9
        await leader.look()
        assert leader.ids == {"s"}
        leader.now += 0.2
        await leader.look()
        assert leader.ids == set()
        assert leader.keeper.renew("s") is None

    run(scenario())


def test_nobody_renews_what_is_about_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        leader = Leader(monkeypatch)
        leader.nodes["n1"] = Checked()
        leader.create("s", ttl="10s")
        await leader.look()
        leader.now += 20.1
        answers: list[object] = []

        async def renew() -> None:
            # The end is in the log, and not applied yet.
            assert leader.ids == {"s"}
            answers.append(leader.keeper.renew("s"))

        leader.meanwhile = renew
        await leader.look()
        assert answers == [None]
        assert leader.ids == set()

    run(scenario())


def test_what_an_earlier_leadership_counted_does_not_end_a_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        leader = Leader(monkeypatch)
        leader.nodes["n1"] = Checked()
        leader.create("s", ttl="10s")
        await leader.look()
        # Another led meanwhile, and heard of the session.
        leader.now += 25.0
        leader.raft.term = 3
        await leader.look()
        assert leader.ids == {"s"}

    run(scenario())


def test_a_leader_that_is_replaced_meanwhile_asks_nobody_else_to_end_sessions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        leader = Leader(monkeypatch)
        leader.nodes["n1"] = Checked()
        leader.create("s", ttl="10s")
        await leader.look()
        leader.now += 25.0

        async def lose() -> None:
            leader.is_leader = False

        leader.meanwhile = lose
        await leader.look()
        assert not leader.is_leader
        assert leader.ids == {"s"}
        # It is the next leader's, and may be renewed there and here.
        assert leader.keeper.renew("s") is not None

    run(scenario())


@pytest.mark.parametrize("ttl", ["", "10s"])
def test_a_node_that_has_not_been_seen_yet_ends_no_session(
    monkeypatch: pytest.MonkeyPatch, ttl: str
) -> None:
    async def scenario() -> None:
        leader = Leader(monkeypatch)
        leader.create("s", ttl=ttl, checks=("serfHealth",))
        await leader.keeper.settle()
        assert leader.ids == {"s"}
        leader.nodes["n1"] = Checked()
        leader.catalog_index += 1
        await leader.keeper.settle()
        assert leader.ids == {"s"}
        leader.nodes["n1"].statuses["serfHealth"] = "passing"
        leader.catalog_index += 1
        await leader.keeper.settle()
        assert leader.ids == {"s"}
        del leader.nodes["n1"]
        leader.catalog_index += 1
        await leader.keeper.settle()
        assert leader.ids == set()

    run(scenario())


def test_a_node_that_is_there_when_a_session_is_made_is_missed_at_once_when_it_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        leader = Leader(monkeypatch)
        leader.nodes["n1"] = Checked({"c": "warning"})
        await leader.keeper.settle()
        leader.create("s", checks=("c",))
        del leader.nodes["n1"].statuses["c"]
        leader.catalog_index += 1
        await leader.keeper.settle()
        assert leader.ids == set()

    run(scenario())


def test_a_critical_check_ends_the_sessions_that_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        leader = Leader(monkeypatch)
        leader.nodes["n1"] = Checked({"c": "passing"})
        leader.create("with", checks=("c",))
        leader.create("without")
        leader.nodes["n1"].statuses["c"] = "critical"
        leader.catalog_index += 1
        await leader.keeper.settle()
        assert leader.ids == {"without"}

    run(scenario())


def test_without_a_ttl_a_node_that_never_shows_ends_a_session_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        leader = Leader(monkeypatch)
        leader.create("without")
        leader.create("with", ttl="60s")
        await leader.look()
        leader.now += sessions_module.UNSEEN_S + 1
        await leader.look()
        assert leader.ids == {"with"}

    run(scenario())


def test_sessions_that_are_restored_are_judged_though_the_catalog_is_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        leader = Leader(monkeypatch)
        leader.nodes["n1"] = Checked({"c": "critical"})
        leader.create("s")
        await leader.keeper.settle()
        session = Session("other", "", "n1", ("c",), (), 0, "release", "", 1, 1)
        leader.store.sessions.restore([session], {}, index=9)
        await leader.keeper.settle()
        assert leader.ids == set()

    run(scenario())
