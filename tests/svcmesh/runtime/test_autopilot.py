"""What a new group begins with is the first leader's, once, and the operator's from then on."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, cast

import pytest

from svcmesh.config.setting import build, settings_of
from svcmesh.config.settings import AutopilotConfig
from svcmesh.consensus.group import AutopilotSettings
from svcmesh.consensus.service import NoLeaderError
from svcmesh.consensus.store import AUTOPILOT_UNSET, CommandKind, Store, encode_command
from svcmesh.consensus.store.state import AUTOPILOT_DEFAULTS
from svcmesh.runtime import autopilot
from svcmesh.runtime.autopilot import (
    InitialAutopilot,
    configured_settings,
    pack_settings,
    unpack_settings,
)
from svcmesh.runtime.consensus import Consensus

OWN = AutopilotSettings(
    cleanup_dead_servers=False,
    max_trailing_logs=7,
    min_quorum=3,
    server_stabilization_s=0.25,
    last_contact_threshold_s=90.0,
)
LATER = AutopilotSettings(max_trailing_logs=9)


class Leader:
    """A server with a store, and what was proposed to it."""

    def __init__(self) -> None:
        self.has_lease, self.refusals = False, 0
        self.store = Store()

    async def propose(self, kind: CommandKind, body: Sequence[object]) -> object:
        if self.refusals:
            self.refusals -= 1
            raise NoLeaderError
        index = self.store.index + 1 if self.store.index else 10
        return self.store.apply(index, encode_command(kind, list(body), wall_ms=0))

    def initial(self, settings: AutopilotSettings) -> InitialAutopilot:
        return InitialAutopilot(cast("Consensus", self), self.store, self.propose, settings)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autopilot, "LOOK_S", 0.001)


def run(scenario: Callable[[Leader], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(20):
            await scenario(Leader())

    asyncio.run(main())


@pytest.mark.parametrize("settings", [OWN, AutopilotSettings()])
def test_settings_are_the_same_when_the_store_has_had_them(settings: AutopilotSettings) -> None:
    assert unpack_settings({**AUTOPILOT_DEFAULTS, **pack_settings(settings)}) == settings


def test_without_a_configuration_they_are_those_of_a_new_store() -> None:
    defaults = {one.path: one.default for one in settings_of(AutopilotConfig)}
    config = build(AutopilotConfig, defaults, {})
    assert configured_settings(config) == unpack_settings(AUTOPILOT_DEFAULTS)


@pytest.mark.parametrize("refusals", [0, 2])
def test_the_leader_writes_its_own_when_it_is_one(refusals: int) -> None:
    async def scenario(leader: Leader) -> None:
        leader.refusals = refusals
        running = asyncio.create_task(leader.initial(OWN).run())
        await asyncio.sleep(0.01)
        assert leader.store.autopilot_index == AUTOPILOT_UNSET
        leader.has_lease = True
        await running
        assert unpack_settings(leader.store.autopilot) == OWN
        assert leader.store.autopilot_index == 10

    run(scenario)


def test_a_later_leader_changes_nothing() -> None:
    async def scenario(leader: Leader) -> None:
        leader.has_lease = True
        await leader.initial(OWN).run()
        await leader.initial(LATER).run()
        assert unpack_settings(leader.store.autopilot) == OWN

    run(scenario)


def test_what_an_operator_writes_at_the_same_time_stays() -> None:
    async def scenario(leader: Leader) -> None:
        propose, leader.has_lease = leader.propose, True

        async def propose_late(kind: CommandKind, body: Sequence[object]) -> object:
            await propose(CommandKind.AUTOPILOT_SET, [pack_settings(LATER), None])
            return await propose(kind, body)

        initial = InitialAutopilot(cast("Consensus", leader), leader.store, propose_late, OWN)
        await initial.run()
        assert unpack_settings(leader.store.autopilot) == LATER

    run(scenario)


def test_defaults_need_not_be_written() -> None:
    async def scenario(leader: Leader) -> None:
        await leader.initial(AutopilotSettings()).run()
        assert leader.store.index == 0

    run(scenario)
