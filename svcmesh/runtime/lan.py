"""This agent's member of its data center's gossip pool: settings, tags, and what its events do."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from gossip import Gossip, Keyring
from gossip.config import GossipConfig, PoolConfig, SerfConfig
from gossip.serf.events import (
    Event,
    KeyQueryReceived,
    LeaveFinished,
    Member,
    MemberEvent,
    MemberFailed,
    MemberJoined,
    MemberLeft,
    MemberReaped,
    MemberStatus,
    MemberUpdated,
    NameVoteFinished,
    PeerFound,
    QueryAcked,
    QueryAnswered,
    QueryFinished,
    QueryReceived,
    UserEventReceived,
    UserPayloadReceived,
)
from gossip.swim.effects import MessageDropped, NameConflict, PushPullFinished, StallNoticed
from gossip.types import Address, MemberName
from gossip.wire.messages import Coordinate
from svcmesh import __version__
from svcmesh.catalog.records import NodeId
from svcmesh.config import AgentConfig
from svcmesh.insight import verdict
from svcmesh.membership import LanAdmission, local_tags
from svcmesh.runtime.catalog import CatalogRuntime
from svcmesh.runtime.conflicts import ConflictLog
from svcmesh.runtime.events import EventRuntime
from svcmesh.runtime.keyring import KeyringFile
from svcmesh.runtime.ownstate import OwnState
from svcmesh.runtime.stalls import StallLog

logger = logging.getLogger("agent.serf")

WILDCARDS: Final = ("0.0.0.0", "::")  # noqa: S104 -- compared with, not bound

DEAD_NODE_RECLAIM_S: Final = 30.0
"""After this long a failed member's name may return from another address (as in Consul)."""


class LanPool:
    """Starts gossip, and tells catalog and events what comes of it.

    Until `start` there are no members, and what is sent is lost.
    """

    def __init__(
        self,
        config: AgentConfig,
        state: OwnState,
        keyring: Keyring | None,
        events: EventRuntime,
    ) -> None:
        self._config, self._state, self._events = config, state, events
        self.keyring = keyring
        self._gossip: Gossip | None = None
        self._catalog: CatalogRuntime | None = None
        self._conflicts = ConflictLog(config.node_name)
        self._stalls = StallLog()
        self._listeners: list[Callable[[], None]] = [state.note_change]

    async def start(self, catalog: CatalogRuntime, keyring_file: KeyringFile) -> Gossip:
        """Become a member, of a pool of one as yet, and tell `catalog` of the others.

        Raises:
            GossipError, OSError: The address cannot be bound.
        """
        config, state = self._config, self._state
        self._catalog = catalog
        self._gossip = await Gossip.create(
            gossip_config(config),
            name=MemberName(config.node_name),
            bind=Address(config.bind_addr, config.ports.serf_lan),
            advertise=Address(config.advertise_addr, config.ports.serf_lan),
            tags=_tags(config, state.node_id),
            incarnation=state.incarnation,
            keyring=self.keyring,
            save_keys=keyring_file.save,
            clocks=state.lan.clocks,
            known_peers=state.lan.known_peers,
            on_event=self._on_event,
            admit=LanAdmission(
                name=config.node_name,
                node_id=state.node_id,
                datacenter=config.datacenter,
                is_server=config.server,
            ),
        )
        state.watch(state.lan, self._gossip)
        return self._gossip

    def listen(self, on_members: Callable[[], None]) -> None:
        """Call `on_members` whenever a member has joined, changed, failed or gone."""
        self._listeners.append(on_members)

    @property
    def gossip(self) -> Gossip:
        """The running member."""
        assert self._gossip is not None
        return self._gossip

    def members(self) -> Sequence[Member]:
        """The member table, ourselves included."""
        return self._gossip.members() if self._gossip is not None else ()

    def coordinates(self) -> Iterator[tuple[str, Coordinate]]:
        """Where members are that have said so, by name; nobody if we do not say so either."""
        if self._config.disable_coordinates:
            return
        for member in self.members():
            where = self.gossip.cached_coordinate(member.name)
            if where is not None and member.status is not MemberStatus.LEFT:
                yield member.name, where

    def send_payload(self, to: MemberName | Address, payload: bytes) -> None:
        """Send a direct message, or lose it."""
        if self._gossip is not None:
            self._gossip.send_payload(to, payload)

    def send_user_event(self, name: str, payload: bytes) -> int:
        """Send a user event to every member; its Lamport time.

        Raises:
            TooLargeError: It exceeds what gossip carries.
        """
        return self.gossip.user_event(name, payload)

    def _on_event(self, event: Event) -> None:
        assert self._catalog is not None
        match event:
            case UserPayloadReceived():
                self._catalog.receive(event.payload, event.source)
            case UserEventReceived():
                self._events.receive(event)
            case MemberJoined() | MemberUpdated() | MemberFailed() | MemberLeft() | MemberReaped():
                self._on_member_event(event, self._catalog)
            case PeerFound(peer, lost_s):
                logger.info(
                    "found a lost peer again: %s %s after %.0f s", peer.name, peer.address, lost_s
                )
            case NameConflict():
                self._conflicts.note(event)
            case QueryReceived() | NameVoteFinished():
                # As in Consul, an agent has no answers of its own, and votes on names are off.
                return
            case QueryAcked() | QueryAnswered() | QueryFinished() | KeyQueryReceived():
                # The gossip library does what belongs to them.
                return
            case StallNoticed(stalled_s):
                self._stalls.note(
                    stalled_s,
                    health_score=self.gossip.stats()["health_score"],
                    now=asyncio.get_running_loop().time(),
                )
            case PushPullFinished() | MessageDropped() | LeaveFinished():
                # Answered or counted by the gossip library itself.
                return

    def _on_member_event(self, event: MemberEvent, catalog: CatalogRuntime) -> None:
        member = event.member
        tags = member.tags
        node_id = tags.get("id")
        in_catalog = node_id is not None and tags.get("dc") == self._config.datacenter
        where = f"{member.name} {member.address.host}"
        for on_members in self._listeners:
            on_members()
        match event:
            case MemberJoined() | MemberUpdated():
                if isinstance(event, MemberJoined):
                    logger.info("member joined: %s", where)
                if in_catalog:
                    catalog.member_alive(
                        member.name, NodeId(str(node_id)), is_peer="svcmesh" in tags
                    )
            case MemberFailed():
                logger.info("member failed: %s, %s", where, verdict(self.gossip, member.name))
                catalog.member_failed(member.name)
            case MemberLeft():
                logger.info("member left: %s", where)
                catalog.member_gone(member.name)
            case MemberReaped():
                logger.info("member reaped: %s", where)
                catalog.member_gone(member.name)


def gossip_config(config: AgentConfig) -> GossipConfig:
    """The gossip library's settings in the LAN pool."""
    return GossipConfig(
        pool=PoolConfig(
            verify_incoming=config.encrypt_verify_incoming,
            verify_outgoing=config.encrypt_verify_outgoing,
        ),
        swim=replace(config.swim_config(), dead_node_reclaim_s=DEAD_NODE_RECLAIM_S),
        serf=SerfConfig(
            reconnect_timeout_s=config.reconnect_timeout_s,
            coordinates=not config.disable_coordinates,
            # As in Consul: the name's first holder keeps it, and the catalog shows no other.
            resolve_name_conflicts=False,
            # What Consul's agents speak.
            delegate_version=4,
        ),
    )


def _tags(config: AgentConfig, node_id: str) -> dict[str, str]:
    # Our servers look for us in the WAN pool where we are in the LAN, unless told otherwise.
    is_elsewhere = config.serf_wan_addr not in (config.bind_addr, *WILDCARDS)
    return local_tags(
        version=__version__,
        node_id=node_id,
        datacenter=config.datacenter,
        is_server=config.server,
        server_port=config.ports.server,
        bootstrap=config.bootstrap,
        bootstrap_expect=config.bootstrap_expect,
        wan_join_port=config.ports.serf_wan,
        wan_join_addr=config.serf_wan_addr if is_elsewhere else "",
    )
