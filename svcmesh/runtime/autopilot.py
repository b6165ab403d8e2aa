"""The settings of autopilot: as the store has them, and what a new group of servers begins with."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from svcmesh.config.settings import AutopilotConfig
from svcmesh.consensus.group import AutopilotSettings
from svcmesh.consensus.store import AUTOPILOT_UNSET, CommandKind, Store
from svcmesh.errors import SvcmeshError
from svcmesh.goformats import format_duration, parse_duration
from svcmesh.runtime.consensus import Consensus

logger = logging.getLogger("raft")

LOOK_S: Final = 1.0
"""Between two looks whether we lead, and nobody has written settings."""

Packed = dict[str, Any]


def configured_settings(config: AutopilotConfig) -> AutopilotSettings:
    """As the agent's configuration has them."""
    return AutopilotSettings(
        cleanup_dead_servers=config.cleanup_dead_servers,
        max_trailing_logs=config.max_trailing_logs,
        min_quorum=config.min_quorum,
        server_stabilization_s=config.server_stabilization_time_s,
        last_contact_threshold_s=config.last_contact_threshold_s,
    )


def pack_settings(settings: AutopilotSettings) -> Packed:
    """As the store has them."""
    return {
        "cleanup_dead_servers": settings.cleanup_dead_servers,
        "last_contact_threshold": format_duration(settings.last_contact_threshold_s),
        "max_trailing_logs": settings.max_trailing_logs,
        "min_quorum": settings.min_quorum,
        "server_stabilization_time": format_duration(settings.server_stabilization_s),
    }


def unpack_settings(packed: Mapping[str, Any]) -> AutopilotSettings:
    """As the rules of the group take them."""
    return AutopilotSettings(
        cleanup_dead_servers=packed["cleanup_dead_servers"],
        max_trailing_logs=packed["max_trailing_logs"],
        min_quorum=packed["min_quorum"],
        server_stabilization_s=parse_duration(packed["server_stabilization_time"]),
        last_contact_threshold_s=parse_duration(packed["last_contact_threshold"]),
    )


class InitialAutopilot:
    """Has the leader write its own configuration's settings into a store that has none."""

    def __init__(
        self,
        consensus: Consensus,
        store: Store,
        propose: Callable[[CommandKind, Sequence[object]], Awaitable[object]],
        settings: AutopilotSettings,
    ) -> None:
        self._consensus, self._store, self._propose = consensus, store, propose
        self._settings = settings

    async def run(self) -> None:
        """Wait until settings are written, by us or by another; then end."""
        if self._settings == AutopilotSettings():
            # A store without any has these.
            return
        while self._store.autopilot_index == AUTOPILOT_UNSET:
            # With a lease all that earlier leaders have written is applied here.
            if self._consensus.has_lease:
                await self._write()
            else:
                await asyncio.sleep(LOOK_S)

    async def _write(self) -> None:
        body = [pack_settings(self._settings), AUTOPILOT_UNSET]
        try:
            await self._propose(CommandKind.AUTOPILOT_SET, body)
        except SvcmeshError as error:
            logger.warning("the settings of autopilot were not written: %s", error)
            await asyncio.sleep(LOOK_S)
