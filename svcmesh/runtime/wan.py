"""A server's member of the WAN pool, where the servers of all data centers gossip.

Agents that are not in it ask one that is: `wan_asking.py`.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from math import inf
from typing import Any, Final

from gossip import Gossip, Keyring
from gossip.config import GossipConfig
from gossip.errors import StateError
from gossip.serf import distance_s
from gossip.serf.events import (
    Event,
    Member,
    MemberEvent,
    MemberFailed,
    MemberJoined,
    MemberLeft,
    MemberReaped,
    MemberUpdated,
    PeerFound,
    UserPayloadReceived,
)
from gossip.swim.effects import NameConflict
from gossip.types import Address, MemberName
from gossip.wire.messages import Coordinate
from svcmesh.catalog.view import CatalogView
from svcmesh.config import AgentConfig
from svcmesh.errors import JoinError
from svcmesh.federation import (
    DcPlace,
    DcServer,
    datacenters_by_distance,
    nearest_first,
    pack_places,
    places,
    wan_servers,
)
from svcmesh.flooding import Flooding
from svcmesh.insight import verdict
from svcmesh.membership import WanAdmission, wan_name, wan_tags
from svcmesh.rpc import Methods
from svcmesh.runtime.conflicts import ConflictLog
from svcmesh.runtime.joining import Joiner
from svcmesh.runtime.keyring import KeyringFile, load_keyring
from svcmesh.runtime.lan import DEAD_NODE_RECLAIM_S, LanPool, gossip_config
from svcmesh.runtime.ownstate import OwnState
from svcmesh.runtime.pool import PoolOperations
from svcmesh.runtime.summaries import SummaryRuntime
from svcmesh.runtime.tasks import BackgroundTasks
from svcmesh.runtime.wan_asking import PLACES, SERVICES
from svcmesh.runtime.writer import GroupCommitter
from svcmesh.storage import WAN_FILES, DataDir
from svcmesh.summaries import GlobalService, Peer, pack_services

logger = logging.getLogger("agent.wan")

LOOK_S: Final = 5.0
"""How often it is looked for servers of the LAN that are missing in the WAN, besides at changes."""
LOOK_PAUSE_S: Final = 0.2
"""Between two looks, however fast members change: one goes over all of them."""

PICTURE_S: Final = 1.0
"""How long distances are taken for as they were; members that change show at once."""


class WanPool:
    """A server's member of the WAN pool, from `start` on."""

    def __init__(
        self,
        config: AgentConfig,
        state: OwnState,
        lan: LanPool,
        tasks: BackgroundTasks,
        view: CatalogView,
        *,
        is_ready: Callable[[], bool],
    ) -> None:
        """`is_ready`: whether `view` is in sync with our data center."""
        self._config, self._state, self._lan, self._tasks = config, state, lan, tasks
        self.keyring: Keyring | None = None
        self.name: Final = wan_name(config.node_name, config.datacenter)
        self._gossip: Gossip | None = None
        self._changed = asyncio.Event()
        self._picture: tuple[float, list[DcServer]] = (-inf, [])
        """Every server, and until when that holds."""
        self._summaries = SummaryRuntime(
            Peer(self.name, config.datacenter, state.node_id),
            view,
            is_ready=is_ready,
            send=lambda to, payload: self.gossip.send_payload(MemberName(to), payload),
        )
        self._flooding = Flooding(node_name=config.node_name, datacenter=config.datacenter)
        self._conflicts = ConflictLog(self.name)
        self.pool = PoolOperations(lambda: self.gossip)
        self.joiner = Joiner(lambda: self.gossip, tasks, replays=False, what="the WAN pool")

    async def start(self, data_dir: DataDir, committer: GroupCommitter) -> None:
        """Become a member, of a pool of one as yet, and bring in the servers of our LAN.

        Raises:
            GossipError, OSError: The address cannot be bound.
            StorageError: The data directory refuses.
        """
        config, state = self._config, self._state
        self.keyring = _load_keyring(config, data_dir, self._lan.keyring)
        port = config.ports.serf_wan
        address = Address(config.advertise_addr_wan, port)
        self._gossip = await Gossip.create(
            _gossip_config(config),
            name=MemberName(self.name),
            bind=Address(config.serf_wan_addr, port),
            advertise=address,
            tags=wan_tags(self._lan.gossip.local.tags),
            incarnation=state.incarnation,
            keyring=self.keyring,
            save_keys=KeyringFile(data_dir, WAN_FILES, committer).save,
            clocks=state.wan.clocks,
            known_peers=state.wan.known_peers,
            on_event=self._on_event,
            admit=WanAdmission(name=self.name, node_id=state.node_id, address=address),
        )
        state.watch(state.wan, self._gossip)
        self._summaries.set_members(self.members())
        self._lan.listen(self._changed.set)
        self._tasks.spawn(self._keep_flooding())

    async def close(self) -> None:
        """Be gone, without having left."""
        self._summaries.close()
        await self.gossip.close()

    async def _keep_flooding(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            targets = self._flooding.targets(self._lan.members(), self.members(), now=loop.time())
            if targets:
                await self._flood(targets)
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._changed.wait()
            await asyncio.sleep(LOOK_PAUSE_S)
            self._changed.clear()

    async def _flood(self, targets: Sequence[str]) -> None:
        try:
            await self.joiner.join(targets)
        except JoinError as error:
            # Tried again later; its own gossip may be up a moment after its tags are known.
            logger.debug("%s", error)
        except StateError:
            logger.debug("nobody is brought into the WAN pool any more: we are leaving")

    # -- what is known --------------------------------------------------------------------------

    @property
    def gossip(self) -> Gossip:
        """The running member."""
        assert self._gossip is not None
        return self._gossip

    @property
    def methods(self) -> Methods:
        """What other agents of our data center may call."""
        return Methods({PLACES: self._handle_places, SERVICES: self._handle_services}, {})

    def members(self) -> Sequence[Member]:
        """The member table, ourselves included."""
        return self._gossip.members() if self._gossip is not None else ()

    def datacenters(self) -> list[str]:
        """Every data center known: our own, then by distance, those that are lost at the end."""
        return datacenters_by_distance(self._servers(), self._config.datacenter)

    def servers(self, datacenter: str) -> list[DcServer]:
        """The servers of one that take our calls: alive ones first, nearest first."""
        wanted = datacenter.lower()
        return nearest_first(
            one for one in self._servers() if one.datacenter == wanted and one.is_svcmesh
        )

    async def places(self) -> list[DcPlace]:
        """Where the servers of every data center are; in the order of `datacenters`."""
        servers = self._servers()
        return places(servers, datacenters_by_distance(servers, self._config.datacenter))

    async def services(self) -> list[GlobalService]:
        """Every service of every data center, by name; its nearest data centers first."""
        return await self._summaries.services(self.datacenters())

    def counters(self) -> Mapping[str, int]:
        """Totals since the start, of the pool's gossip and of the summaries."""
        said = self._summaries.summaries.metrics
        return {**self.gossip.counters, **{f"summaries.{key}": said[key] for key in said}}

    def stats(self) -> dict[str, object]:
        """The `serf_wan` group of `info`."""
        return {**self.gossip.stats(), "encrypted": self.keyring is not None}

    async def join(self, address: str) -> int:
        """Join by the address of a server; the number of members reached.

        Raises:
            JoinError: None was reached.
        """
        return await self.joiner.join([address])

    def _servers(self) -> list[DcServer]:
        now = asyncio.get_running_loop().time()
        if now >= self._picture[0]:
            self._picture = (now + PICTURE_S, self._look())
        return self._picture[1]

    def _look(self) -> list[DcServer]:
        if self._gossip is None:
            return []
        gossip, here = self._gossip, self._gossip.coordinate()

        def distance(where: Coordinate | None) -> float:
            return inf if where is None else distance_s(here, where)

        return wan_servers(
            gossip.members(), lambda member: gossip.cached_coordinate(member.name), distance
        )

    async def _handle_places(self, _: Any, __: float) -> Any:  # noqa: ANN401 -- msgpack
        return pack_places(await self.places())

    async def _handle_services(self, _: Any, __: float) -> Any:  # noqa: ANN401 -- likewise
        return await asyncio.to_thread(pack_services, await self.services())

    # -- events ---------------------------------------------------------------------------------

    def _on_event(self, event: Event) -> None:
        match event:
            case MemberJoined() | MemberUpdated() | MemberFailed() | MemberLeft() | MemberReaped():
                self._state.note_change()
                self._changed.set()
                self._picture = (-inf, [])
                self._summaries.set_members(self.members())
                self._log(event)
            case UserPayloadReceived():
                self._summaries.receive(event.payload)
            case PeerFound(peer, lost_s):
                logger.info(
                    "found a lost server again: %s %s after %.0f s", peer.name, peer.address, lost_s
                )
            case NameConflict():
                self._conflicts.note(event)
            case _:
                # No events or queries of ours are in this pool; the rest is the gossip library's.
                return

    def _log(self, event: MemberEvent) -> None:
        member = event.member
        where = f"{member.name} {member.address.host}"
        match event:
            case MemberJoined():
                logger.info("server joined: %s", where)
            case MemberFailed():
                logger.info("server failed: %s, %s", where, verdict(self.gossip, member.name))
            case MemberLeft():
                logger.info("server left: %s", where)
            case MemberReaped():
                logger.info("server reaped: %s", where)
            case MemberUpdated():
                return


def _gossip_config(config: AgentConfig) -> GossipConfig:
    lan = gossip_config(config)
    return replace(
        lan,
        swim=replace(config.swim_config_wan(), dead_node_reclaim_s=DEAD_NODE_RECLAIM_S),
        serf=replace(lan.serf, reconnect_timeout_s=config.reconnect_timeout_wan_s),
    )


def _load_keyring(config: AgentConfig, data_dir: DataDir, lan: Keyring | None) -> Keyring | None:
    # Those on disk, else those of `encrypt_wan`, else the LAN's, as in Consul.
    if config.encrypt_wan is not None:
        return load_keyring(data_dir, WAN_FILES, [config.encrypt_wan], setting="encrypt_wan")
    return load_keyring(data_dir, WAN_FILES, lan.keys if lan is not None else ())
