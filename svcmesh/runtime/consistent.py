"""Puts the consistent store together on one agent: calls, Raft, group, sessions.

A server has all of it; another agent only the way to the servers.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Final

from gossip.serf.events import Member, MemberStatus
from svcmesh.catalog.topics import node_checks_topic, node_topic
from svcmesh.catalog.view import CatalogView
from svcmesh.consensus.disk import MemoryDisk, RaftDisk
from svcmesh.consensus.group import AutopilotSettings, KnownServer, Presence
from svcmesh.consensus.raft import RoleChanged, ServerId
from svcmesh.consensus.store import Store
from svcmesh.errors import StorageError
from svcmesh.membership import is_consul_server, is_server, number_of, server_port
from svcmesh.rpc import AcceptRules, Callers, DialRules, Methods, RpcPool, RpcServer
from svcmesh.runtime import snapshots
from svcmesh.runtime.autopilot import InitialAutopilot
from svcmesh.runtime.consensus import Consensus
from svcmesh.runtime.operating import METHOD as OPERATE
from svcmesh.runtime.operating import GroupOperator
from svcmesh.runtime.passing import Server
from svcmesh.runtime.servers import PeerTransport, ServerGroup, ask_status
from svcmesh.runtime.sessions import SessionKeeper
from svcmesh.runtime.snapshots import SnapshotService
from svcmesh.runtime.store import StoreService
from svcmesh.runtime.tasks import BackgroundTasks
from svcmesh.runtime.wellness import Wellness

logger = logging.getLogger("raft")

PRESENCE: Final = {
    MemberStatus.ALIVE: Presence.ALIVE,
    MemberStatus.LEAVING: Presence.ALIVE,
    MemberStatus.FAILED: Presence.FAILED,
    MemberStatus.LEFT: Presence.LEFT,
}
DEFAULT_AUTOPILOT: Final = AutopilotSettings()
LOOK_S: Final = 0.25
"""After a change of the members, until we look which servers are alive."""
LAST_ANSWERS_S: Final = 0.25
"""What a leader that has a successor gets to answer what it was asked."""


class ConsistentStore:
    """The agent's part in the consistent store, from `start` to `close`."""

    def __init__(
        self,
        node_id: str,
        view: CatalogView,
        members: Callable[[], Iterable[Member]],
        *,
        is_server: bool,
        expects: int,
        data_dir: Path | None,
        autopilot: AutopilotSettings = DEFAULT_AUTOPILOT,
        accept_rules: AcceptRules | None = None,
        dial_rules: DialRules | None = None,
    ) -> None:
        """Load what is on disk; blocking.

        Args:
            node_id: Ours.
            view: The catalog, which decides about sessions.
            members: The member table.
            is_server: Whether we carry the store.
            expects: How many servers found the group; 0: we wait to be taken in.
            data_dir: Where the log is; None: in memory.
            autopilot: What a new group begins with.
            accept_rules: Whom a server lets in.
            dial_rules: How servers are called.

        Raises:
            StorageError: The log or snapshot is damaged, or the disk refuses.
        """
        self._id, self._members = ServerId(node_id), members
        self._tasks = BackgroundTasks()
        self._server: RpcServer | None = None
        self._accept_rules = accept_rules
        self.pool = RpcPool(rules=dial_rules)
        self.group: ServerGroup | None = None
        self.keeper: SessionKeeper | None = None
        self._consensus: Consensus | None = None
        self._addresses: dict[ServerId, tuple[str, int]] = {}
        """Of the servers, as they were at most `LOOK_S` ago."""
        self._addresses_until = 0.0
        self._last_leader: ServerId | None = None
        """The last that we took for the leader; there may be none now."""
        self._alive: dict[ServerId, tuple[str, int]] = {}
        """The servers that were alive when we looked last."""
        self._looking: asyncio.TimerHandle | None = None
        store: Store | None = None
        if is_server:
            store = Store()
            disk = MemoryDisk() if data_dir is None else RaftDisk(data_dir / "raft")
            transport = PeerTransport(self._id, self.pool, self._address_of)
            self._consensus = Consensus(
                self._id,
                store,
                disk,
                transport,
                name_of=self._name_of,
                on_role=self._note_role,
                on_failure=self._note_failure,
            )
            self.group = ServerGroup(
                self._consensus, store, self.pool, self.known_servers, expects=expects
            )
        self.service = StoreService(
            self.pool, self._alive_servers, consensus=self._consensus, store=store, rng=Random()
        )
        self.snapshots = SnapshotService(
            self.service, self.pool, self._alive_servers, self.find_leader,
            consensus=self._consensus, store=store,
        )  # fmt: skip
        self.operator = GroupOperator(self.service, self.group, self.known_servers)
        self._autopilot: InitialAutopilot | None = None
        if self._consensus is not None and store is not None:
            self._autopilot = InitialAutopilot(
                self._consensus, store, self.service.propose, autopilot
            )
            self.keeper = SessionKeeper(
                self._consensus,
                store,
                wellness=Wellness(
                    view.node,
                    lambda name: view.topic_index((node_topic(name), node_checks_topic(name))),
                ),
                catalog_index=lambda: view.index,
                propose=self.service.propose,
            )
            self.service.keeper = self.keeper
            self._consensus.require(self.keeper)

    async def start(self, host: str, port: int, others: Sequence[Methods] = ()) -> None:
        """Listen for other agents' calls, and look after the group.

        `others` is what may be called besides the store's own.

        Raises:
            OSError: The address cannot be bound.
        """
        if self.group is None or self.keeper is None:
            return
        self._server = RpcServer(joint((self.methods, *others)), rules=self._accept_rules)
        await self._server.start(host, port)
        self._tasks.spawn(self.group.run())
        if self._autopilot is not None:
            self._tasks.spawn(self._autopilot.run())
        self._tasks.spawn(self.keeper.run())

    @property
    def methods(self) -> Methods:
        """What other agents may call of a server."""
        group, service = self.group, self.service
        assert group is not None
        return Methods(
            {
                "store.writes": service.handle_writes,
                "store.query": service.handle_query,
                "session.renew": service.handle_renew,
                "raft.snapshot": group.handle_snapshot,
                "raft.status": group.handle_status,
                OPERATE: self.operator.handle,
                snapshots.OPEN: self.snapshots.handle_open,
                snapshots.READ: self.snapshots.handle_read,
                snapshots.CLOSE: self.snapshots.handle_close,
            },
            {"raft": group.handle_raft},
            servers_only=frozenset({"raft", "raft.snapshot"}),
            direct={"store.writes": service.begin_writes},
        )

    def reconfigure(self, accept_rules: AcceptRules, dial_rules: DialRules) -> None:
        """Go by other rules, without ending what is under way."""
        self._accept_rules = accept_rules
        self.pool.reconfigure(dial_rules)
        if self._server is not None:
            self._server.reconfigure(accept_rules)

    async def close(self) -> None:
        """Take no part any more."""
        if self._looking is not None:
            self._looking.cancel()  # and kept: no other is armed
        await self._tasks.end()
        self.snapshots.close()
        if self._consensus is not None:
            await self._consensus.close()
        if self._server is not None:
            await self._server.close()
        await self.pool.close()

    @property
    def is_server(self) -> bool:
        """Whether this agent carries the store."""
        return self._consensus is not None

    @property
    def has_leader(self) -> bool:
        """Whether this server knows a leader; on another agent, whether a server is alive."""
        if self._consensus is not None:
            return self._consensus.leader is not None
        return bool(self._alive_servers())

    @property
    def leader_id(self) -> ServerId | None:
        """Whom this server takes for the leader; None on other agents."""
        return None if self._consensus is None else self._consensus.leader

    async def find_leader(self) -> ServerId | None:
        """Who leads as far as this server knows, or one that this agent asks."""
        if self._consensus is not None:
            return self._consensus.leader
        for server in self._alive_servers():
            status = await ask_status(self.pool, server.address)
            leader = None if status is None else status.get("leader")
            if isinstance(leader, str):
                return ServerId(leader)
        return None

    def server_addresses(self) -> list[tuple[str, int]]:
        """Where the alive servers take calls."""
        return [server.address for server in self._alive_servers()]

    def known_servers(self) -> list[KnownServer]:
        """Every server agent in the member table."""
        return [known for member in self._members() if (known := _known_server(member)) is not None]

    def rpc_counters(self) -> Mapping[str, int]:
        """What calls from and to other agents have come to since the start."""
        own = self.pool.counters
        return own if self._server is None else own + self._server.counters

    def callers(self) -> Callers:
        """Which other agents are connected to this one; none unless it is a server."""
        return Callers() if self._server is None else self._server.callers()

    def counters(self) -> dict[str, int]:
        """Where the log stands."""
        found: dict[str, int] = {}
        if self._consensus is not None:
            raft = self._consensus.raft
            found |= {
                "term": raft.term,
                "last_log_index": raft.log.last_index,
                "commit_index": raft.log.commit,
                "applied_index": self._consensus.applied,
                "last_snapshot_index": raft.log.snapshot.index,
            }
        return found

    def _alive_servers(self) -> Sequence[Server]:
        return [
            Server(known.id, known.address)
            for known in self.known_servers()
            if known.presence is Presence.ALIVE
        ]

    def _address_of(self, server: ServerId) -> tuple[str, int] | None:
        now = asyncio.get_running_loop().time()
        if now >= self._addresses_until or server not in self._addresses:
            # Raft asks for every message; the table changes seldom.
            self._addresses = {known.id: known.address for known in self.known_servers()}
            self._addresses_until = now + LOOK_S
        return self._addresses.get(server)

    def _name_of(self, server: ServerId) -> str:
        return next((known.name for known in self.known_servers() if known.id == server), server)

    def note_members(self) -> None:
        """Members have changed: look soon who of the servers is gone.

        Not at once: a pool that comes together changes many times, and a look goes over all of it.
        """
        if self._looking is None:
            self._looking = asyncio.get_running_loop().call_later(LOOK_S, self._drop_failed)

    def _drop_failed(self) -> None:
        """End the connections to servers that failed: no answer will come."""
        self._looking = None
        before = self._alive
        self._alive = {server.id: server.address for server in self._alive_servers()}
        for server_id in before.keys() - self._alive.keys():
            self.pool.drop(before[server_id])

    def _note_role(self, change: RoleChanged) -> None:
        former, leader = self._last_leader, change.leader
        if leader is None or leader == former:
            return
        self._last_leader = leader
        if former is not None and former != self._id:
            asyncio.get_running_loop().call_later(LAST_ANSWERS_S, self._drop_former, former)

    def _drop_former(self, former: ServerId) -> None:
        """End the connection to a leader that has a successor.

        It may be stopped or cut off, and would answer what we passed on to it much later or never.
        """
        address = self._address_of(former)
        if address is not None and former != self._last_leader:
            self.pool.drop(address)

    def _note_failure(self, error: StorageError) -> None:
        logger.error("keys, sessions and locks are served by the other servers from now on")


def joint(offered: Sequence[Methods]) -> Methods:
    """All that several parts of an agent offer to others."""
    return Methods(
        {name: call for one in offered for name, call in one.calls.items()},
        {name: note for one in offered for name, note in one.notes.items()},
        frozenset[str]().union(*(one.servers_only for one in offered)),
        {name: begin for one in offered for name, begin in one.direct.items()},
    )


def _known_server(member: Member) -> KnownServer | None:
    tags = member.tags
    presence = PRESENCE.get(member.status)
    if presence is None or not is_server(tags) or is_consul_server(tags) or "id" not in tags:
        return None
    return KnownServer(
        id=ServerId(tags["id"]),
        name=member.name,
        address=(member.address.host, server_port(tags)),
        expects=1 if "bootstrap" in tags else number_of(tags, "expect") or 0,
        presence=presence,
        version=tags.get("svcmesh", ""),
    )
