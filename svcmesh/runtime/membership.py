"""The agent's places in its pools, LAN and perhaps WAN: joining at the start and later, leaving."""

import asyncio
from collections.abc import Callable

from svcmesh.config import AgentConfig
from svcmesh.runtime.joining import Joiner
from svcmesh.runtime.lan import LanPool
from svcmesh.runtime.tasks import BackgroundTasks
from svcmesh.runtime.wan import WanPool


class Membership:
    """Both pools together. `give_up` is told why the agent must end: it was to join, and cannot."""

    def __init__(
        self,
        lan: LanPool,
        tasks: BackgroundTasks,
        *,
        replays: bool,
        give_up: Callable[[str], None],
    ) -> None:
        self.joiner = Joiner(lambda: lan.gossip, tasks, replays=replays)
        self.wan: WanPool | None = None
        """Our member of the WAN pool, if we are in it."""
        self._lan, self._give_up = lan, give_up

    async def join_at_start(self, config: AgentConfig) -> None:
        """Join as `start_join` and `start_join_wan` say.

        Raises:
            JoinError: Nobody answers in one of the pools.
        """
        if config.start_join:
            await self.joiner.join(config.start_join, is_start=True)
        if config.start_join_wan and self.wan is not None:
            await self.wan.joiner.join(config.start_join_wan)

    def retry_join(self, config: AgentConfig) -> None:
        """Join in the background as the configuration says, in place of what was tried so far."""
        self.joiner.keep_trying(
            config.retry_join,
            interval_s=config.retry_interval_s,
            attempts_max=config.retry_max,
            on_exhausted=lambda: self._give_up("max join retry exhausted, exiting"),
        )
        if self.wan is not None:
            self.wan.joiner.keep_trying(
                config.retry_join_wan,
                interval_s=config.retry_interval_wan_s,
                attempts_max=config.retry_max_wan,
                on_exhausted=lambda: self._give_up("max join -wan retry exhausted, exiting"),
            )

    async def leave(self) -> None:
        """Leave both pools; returns when the others have been told."""
        members = [self._lan.gossip] if self.wan is None else [self._lan.gossip, self.wan.gossip]
        await asyncio.gather(*(gossip.leave() for gossip in members))
