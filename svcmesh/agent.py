"""The agent: puts gossip, catalog, DNS and HTTP together. The only module that knows all of them.

The process around it (banner, signals, exit code) is in `process.py`.
"""

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from random import Random
from typing import Any, Final
from uuid import uuid4

from dnsserver import DnsServer
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
from gossip.types import Address, Incarnation, MemberName
from gossip.wire.messages import Coordinate
from svcmesh import __version__
from svcmesh.api import HttpServer
from svcmesh.api.facade import JoinError, NameReservedError
from svcmesh.api.listeners import TcpAddress, http_listeners
from svcmesh.catalog import CatalogView, Replica, ReplicaConfig
from svcmesh.catalog.changes import (
    BecameReady,
    CatalogDropped,
    CatalogEffect,
    ClockDrift,
    EpochRaised,
    IdentityContested,
    IdentityRestored,
)
from svcmesh.catalog.records import Body, CheckRecord, Kind, NodeId, NodeRecord, ServiceRecord
from svcmesh.checks.runner import most_probes
from svcmesh.checks.table import CheckConfig
from svcmesh.config import SETTINGS, AgentConfig
from svcmesh.consistency import CatalogConsistency
from svcmesh.coordinates import PICTURE_S, NodeCoordinates
from svcmesh.directory import CatalogDirectory
from svcmesh.errors import ConfigError, StorageError
from svcmesh.explaining import Explainer
from svcmesh.healthlog import HealthLog
from svcmesh.insight import PoolInsight, sentence
from svcmesh.membership import LanAdmission, alive_servers, local_tags, server_address
from svcmesh.metrics import Metrics
from svcmesh.runtime.catalog import CatalogRuntime
from svcmesh.runtime.consistent import ConsistentStore
from svcmesh.runtime.doctor import Doctor
from svcmesh.runtime.events import EventRuntime
from svcmesh.runtime.joining import RetriesExhaustedError, retry_join
from svcmesh.runtime.keeping import StateKeeper
from svcmesh.runtime.kept import KeptState, load_kept
from svcmesh.runtime.local import LocalState, ScriptPolicy
from svcmesh.runtime.logstream import LogStreams
from svcmesh.runtime.metrics import MetricsRuntime
from svcmesh.runtime.nodes import CatalogNodes
from svcmesh.runtime.pool import PoolOperations
from svcmesh.runtime.reloading import Reloading, read_at_use
from svcmesh.runtime.writer import GroupCommitter
from svcmesh.storage import INDEX_BLOCK, DataDir

logger = logging.getLogger("agent")
serf_logger = logging.getLogger("agent.serf")
catalog_logger = logging.getLogger("agent.catalog")

HOUSEKEEPING_S: Final = 1.0
"""How often a changed incarnation and the index are looked after; changed peers are at once."""

SAVE_PAUSE_S: Final = 0.1
"""Between two writes of the peers, however fast they change."""

DEAD_NODE_RECLAIM_S: Final = 30.0
"""After this long a failed member's name may return from another address (as in Consul)."""

CONFLICT_LOG_S: Final = 60.0
"""A name conflict is logged once in this time; gossip repeats it every few seconds."""

DNS_SETTINGS: Final = (
    "recursors",
    *(one.path for one in SETTINGS if one.path.startswith("dns_config.")),
)
"""Settings whose change the DNS server is told of."""

RETRY_JOIN: Final = ("retry_join", "retry_interval", "retry_max")
"""Settings whose change starts joining anew."""

READ_AT_USE: Final = ("leave_on_terminate", "skip_leave_on_interrupt")
"""Settings that are looked up whenever they are needed."""


class Agent:
    """One running agent; the HTTP API's facade.

    `start` binds everything and returns when the agent serves; `stopped` is set when it should end,
    by itself (`/v1/agent/leave`, joining given up) or by whoever runs it.
    """

    def __init__(self, config: AgentConfig, data_dir: DataDir) -> None:
        """Take up the identity of earlier runs and reserve what this run may use.

        Raises:
            StorageError: The data directory refuses.
        """
        self.reloading = Reloading(
            config,
            appliers={
                "node_meta": lambda _: self._publish_own_node(),
                **dict.fromkeys(RETRY_JOIN, lambda _: self._restart_retry_join()),
                "log_level": lambda new: self.logs.set_own_level(new.log_level),
                **dict.fromkeys(DNS_SETTINGS, lambda _: self._reconfigure_dns()),
                **dict.fromkeys(READ_AT_USE, read_at_use),
            },
            apply_files=self._apply_files,
        )
        self.version = __version__
        self.stopped = asyncio.Event()
        self.failure: str | None = None
        """Why the agent stopped by itself, when that was no leave."""
        self.has_left = False
        self._data_dir = data_dir
        self.node_id = config.node_id or data_dir.node_id() or str(uuid4())
        data_dir.save_node_id(self.node_id)
        wall_ms = time.time_ns() // 1_000_000
        self._epoch = data_dir.next_epoch(wall_ms=wall_ms)
        self._saved_incarnation = data_dir.next_incarnation(wall_s=wall_ms // 1000)
        self._index_reserved = data_dir.next_index_block(wall_ms=wall_ms) + INDEX_BLOCK
        self._saved_peers, left_before = data_dir.peers()
        self._saved_clocks = data_dir.clocks()
        stays = not left_before or config.rejoin_after_leave
        self._replays = self._saved_clocks is not None and stays
        """Whether events that were missed while we were down are wanted."""
        self._rejoins = bool(self._saved_peers) and stays
        self.keyring = self._load_keyring()
        self._committer = GroupCommitter(data_dir)
        self._keeper = StateKeeper(self._committer)
        self._peers_file: dict[str, bytes | None] = {}
        self.view = CatalogView(
            local_node_id=NodeId(self.node_id),
            datacenter=config.datacenter,
            index_start=self._index_reserved - INDEX_BLOCK,
        )
        self.coordinates = NodeCoordinates(self.view, agents=self._agent_coordinates)
        self.pool = PoolOperations(self._running_gossip)
        self.logs = LogStreams()
        self.events = EventRuntime(
            node=config.node_name,
            services=lambda: [each.record for each in self.local.services.values()],
            send=self._send_user_event,
        )
        self.metrics = Metrics(self.counters, now_utc=time.time())
        self._reserved_by: str | None = None
        self._conflict_logged_at: dict[str, float] = {}
        self._members_changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._leaving: asyncio.Task[None] | None = None
        self._retrying: asyncio.Task[None] | None = None
        self._gossip: Gossip | None = None
        self._dns: DnsServer | None = None
        self._directory: CatalogDirectory | None = None
        self._http: HttpServer | None = None
        self._opened = AsyncExitStack()
        """What `close` has to undo, in reverse."""
        self._opened.callback(data_dir.close)

    # -- starting and stopping --------------------------------------------------------------

    async def start(self) -> None:
        """Bind, publish our own records, serve, and join in the background.

        Raises:
            GossipError, DnsServerError, OSError: An address cannot be bound.
            StorageError: The data directory refuses.
        """
        # Before gossip starts: reading thousands of definitions takes its time.
        kept = load_kept(self._data_dir)
        self._start_catalog()
        await self._start_gossip()
        self._catalog.member_alive(self.config.node_name, NodeId(self.node_id), is_peer=True)
        self._publish_own_records(kept)
        self.coordinates.refresh()
        await self._start_store()
        await self._start_dns()
        await self._start_http()
        self._start_metrics()
        if self.config.start_join:
            try:
                await self._join(self.config.start_join, replay=self._replays)
            except JoinError as error:
                self._stop(f"join: {_on_one_line(error)}")
        self._restart_retry_join()
        self._spawn(self._keep_house())
        self._spawn(self._keep_coordinates())
        self._opened.push_async_callback(self._end_tasks)

    @property
    def config(self) -> AgentConfig:
        """What is in force; a reload replaces it."""
        return self.reloading.config

    def _apply_files(self, config: AgentConfig) -> None:
        """Take up what is in files and may be new there without a changed setting."""
        self.local.reconfigure(config.services, config.checks)
        if self._http is not None:
            try:
                self._http.renew_certificate()
            except ConfigError as error:
                logger.error("reload: %s; the certificate in use stays", error)

    def _start_catalog(self) -> None:
        config = self.config
        self._replica = Replica(
            ReplicaConfig(),
            name=config.node_name,
            node_id=NodeId(self.node_id),
            epoch=self._epoch,
            expects_peers=bool(config.start_join or config.retry_join) or self._rejoins,
            now=asyncio.get_running_loop().time(),
            rng=Random(),
        )
        health_log = HealthLog(started_utc=time.time())
        self._catalog = CatalogRuntime(
            self._replica,
            self.view,
            send=self._send_payload,
            on_fact=self._on_catalog_fact,
            health_log=health_log,
        )
        self.consistency = CatalogConsistency(
            self._replica, self.view, clock=asyncio.get_running_loop().time
        )
        self.explainer = Explainer(
            self.view,
            health_log,
            own_name=config.node_name,
            own_check=self._own_check,
            only_passing=config.dns.only_passing,
        )
        self._opened.callback(self._catalog.close)
        self.local = LocalState(
            self._data_dir,
            self._committer,
            publish=self._catalog.put_own,
            withdraw=self._catalog.delete_own,
            check_identity=self._check_identity,
            config=CheckConfig(
                output_bytes_max=config.check_output_max_size,
                discards_output=config.discard_check_output,
                update_interval_s=config.check_update_interval_s,
                probes_max=most_probes(),
            ),
            scripts=ScriptPolicy(
                configured=config.enable_script_checks or config.enable_local_script_checks,
                registered=config.enable_script_checks,
            ),
            rng=Random(),
            node_checks=CatalogNodes(self.view, own_name=config.node_name),
        )
        self._opened.push_async_callback(self.local.close)

    async def _start_gossip(self) -> None:
        config = self.config
        self._gossip = await Gossip.create(
            self._gossip_config(),
            name=MemberName(config.node_name),
            bind=Address(config.bind_addr, config.ports.serf_lan),
            advertise=Address(config.advertise_addr, config.ports.serf_lan),
            tags=self._tags(),
            incarnation=Incarnation(self._saved_incarnation),
            keyring=self.keyring,
            save_keys=self._save_keys,
            clocks=self._saved_clocks,
            known_peers=self._saved_peers if self._rejoins else (),
            on_event=self._on_gossip_event,
            admit=LanAdmission(
                name=config.node_name,
                node_id=self.node_id,
                datacenter=config.datacenter,
                is_server=config.server,
            ),
        )
        doctor = Doctor(
            self._gossip,
            keyring=self.keyring,
            sends_encrypted=config.encrypt_verify_outgoing,
            datagram_bytes=self._gossip_config().swim.udp_buffer_bytes,
            clock_drift_s=lambda: self._replica.clock_drift_s,
        )
        self._opened.callback(doctor.close)
        self.insight = PoolInsight(self._gossip, doctor.examine)
        self._opened.push_async_callback(self._save_changed_state)
        self._opened.push_async_callback(self._gossip.close)

    async def _start_dns(self) -> None:
        config = self.config
        if config.ports.dns <= 0:
            return
        self._directory = CatalogDirectory(
            self.view,
            is_ready=lambda: self.is_ready,
            rng=Random(),
            only_passing=config.dns.only_passing,
        )
        self._dns = DnsServer(
            self._directory,
            config.dns_server_config(),
            rng=Random(),
            limits=config.dns_server_limits(),
        )
        self._opened.push_async_callback(self._dns.close)
        await self._dns.start([(host, config.ports.dns) for host in config.dns_addrs])
        for host in config.dns_addrs:
            address = Address(host, config.ports.dns)
            logger.info("Started DNS server: address=%s network=udp,tcp", address)

    async def _start_store(self) -> None:
        config = self.config
        expects = config.bootstrap_expect or int(config.bootstrap or config.dev)
        self.store = ConsistentStore(
            self.node_id,
            self.view,
            self.members,
            is_server=config.server,
            expects=expects,
            data_dir=config.data_dir,
        )
        self._opened.push_async_callback(self.store.close)
        await self.store.start(config.bind_addr, config.ports.server)

    def _reconfigure_dns(self) -> None:
        if self._dns is not None and self._directory is not None:
            config = self.config
            self._directory.reconfigure(only_passing=config.dns.only_passing)
            self._dns.reconfigure(config.dns_server_config(), config.dns_server_limits())

    async def _start_http(self) -> None:
        addresses = http_listeners(self.config)
        if not addresses:
            return
        self._http = HttpServer(self)
        self._opened.push_async_callback(self._http.close)
        await self._http.start(addresses)
        for address in addresses:
            kind = "HTTPS" if isinstance(address, TcpAddress) and address.is_tls else "HTTP"
            logger.info("Started %s server: address=%s", kind, address)

    def _start_metrics(self) -> None:
        runtime = MetricsRuntime(self.metrics)
        runtime.start()
        self._opened.callback(runtime.close)

    async def leave(self) -> None:
        """Leave the cluster gracefully; `stopped` is set when the others have been told."""
        if self._leaving is None:
            self._leaving = asyncio.create_task(self._leave())
        await asyncio.shield(self._leaving)

    async def close(self) -> None:
        """Stop serving and release sockets and data directory, without leaving."""
        await self._opened.aclose()

    def _end_task(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a background task has failed", exc_info=error)

    async def _end_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _leave(self) -> None:
        logger.info("leaving the cluster")
        assert self._gossip is not None
        await self._gossip.leave()
        self.has_left = True
        await self._save_changed_state()
        logger.info("Graceful leave complete")
        self._stop(None)

    def _stop(self, failure: str | None) -> None:
        self.failure = self.failure or failure
        self.stopped.set()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._end_task)
        return task

    # -- configuration ----------------------------------------------------------------------

    def _load_keyring(self) -> Keyring | None:
        """The keys on disk; `encrypt` starts the keyring, and a kept one wins over it."""
        keys = self._data_dir.keyring()
        if not keys and self.config.encrypt is not None:
            keys = [self.config.encrypt]
            self._data_dir.commit(self._data_dir.keyring_file(keys))
        elif keys and self.config.encrypt is not None and self.config.encrypt not in keys:
            logger.warning("encrypt: ignored, the keyring in data_dir has other keys")
        return Keyring(keys) if keys else None

    def _gossip_config(self) -> GossipConfig:
        config = self.config
        return GossipConfig(
            pool=PoolConfig(
                verify_incoming=config.encrypt_verify_incoming,
                verify_outgoing=config.encrypt_verify_outgoing,
            ),
            swim=replace(config.swim_config(), dead_node_reclaim_s=DEAD_NODE_RECLAIM_S),
            serf=SerfConfig(
                reconnect_timeout_s=config.reconnect_timeout_s,
                # As in Consul: the name's first holder keeps it, and the catalog shows no other.
                resolve_name_conflicts=False,
                # What Consul's agents speak.
                delegate_version=4,
            ),
        )

    def _tags(self) -> dict[str, str]:
        config = self.config
        return local_tags(
            version=__version__,
            node_id=self.node_id,
            datacenter=config.datacenter,
            is_server=config.server,
            server_port=config.ports.server,
            bootstrap=config.bootstrap,
            bootstrap_expect=config.bootstrap_expect,
        )

    # -- our own records --------------------------------------------------------------------

    def _publish_own_node(self) -> None:
        config = self.config
        family = "ipv6" if ":" in config.advertise_addr else "ipv4"
        addresses = dict.fromkeys(
            ("lan", f"lan_{family}", "wan", f"wan_{family}"), config.advertise_addr
        )
        self._catalog.put_own(
            NodeRecord(
                name=config.node_name,
                address=config.advertise_addr,
                datacenter=config.datacenter,
                tagged_addresses=addresses,
                meta={**config.node_meta, "consul-network-segment": ""},
            )
        )

    def _publish_own_records(self, kept: KeptState) -> None:
        config = self.config
        self._publish_own_node()
        if config.server:
            self._catalog.put_own(
                ServiceRecord(
                    id="consul",
                    name="consul",
                    port=config.ports.server,
                    meta={"version": __version__},
                )
            )
        for warning in self._data_dir.warnings:
            logger.error("data_dir: %s", warning)
        self.local.load(kept, config.services, config.checks)

    # -- gossip -----------------------------------------------------------------------------

    def _send_payload(self, to: MemberName | Address, payload: bytes) -> None:
        if self._gossip is not None:
            self._gossip.send_payload(to, payload)

    def _running_gossip(self) -> Gossip:
        assert self._gossip is not None
        return self._gossip

    def _send_user_event(self, name: str, payload: bytes) -> int:
        return self._running_gossip().user_event(name, payload)

    def _on_gossip_event(self, event: Event) -> None:
        match event:
            case UserPayloadReceived():
                self._catalog.receive(event.payload, event.source)
            case UserEventReceived():
                self.events.receive(event)
            case MemberJoined() | MemberUpdated() | MemberFailed() | MemberLeft() | MemberReaped():
                self._on_member_event(event)
            case PeerFound(peer, lost_s):
                serf_logger.info(
                    "found a lost peer again: %s %s after %.0f s", peer.name, peer.address, lost_s
                )
            case NameConflict():
                self._on_name_conflict(event)
            case QueryReceived() | NameVoteFinished():
                # As in Consul, an agent has no answers of its own, and votes on names are off.
                return
            case QueryAcked() | QueryAnswered() | QueryFinished() | KeyQueryReceived():
                # The gossip library does what belongs to them.
                return
            case PushPullFinished() | MessageDropped() | StallNoticed() | LeaveFinished():
                # Answered or counted by the gossip library itself.
                return

    def _on_member_event(self, event: MemberEvent) -> None:
        member = event.member
        tags = member.tags
        node_id = tags.get("id")
        in_catalog = node_id is not None and tags.get("dc") == self.config.datacenter
        where = f"{member.name} {member.address.host}"
        self._members_changed.set()
        match event:
            case MemberJoined() | MemberUpdated():
                if isinstance(event, MemberJoined):
                    serf_logger.info("member joined: %s", where)
                if in_catalog:
                    self._catalog.member_alive(
                        member.name, NodeId(str(node_id)), is_peer="svcmesh" in tags
                    )
            case MemberFailed():
                serf_logger.info("member failed: %s, %s", where, self._verdict(member.name))
                self._catalog.member_failed(member.name)
            case MemberLeft():
                serf_logger.info("member left: %s", where)
                self._catalog.member_gone(member.name)
            case MemberReaped():
                serf_logger.info("member reaped: %s", where)
                self._catalog.member_gone(member.name)

    def _verdict(self, name: MemberName) -> str:
        """By whom and why a member was declared failed."""
        assert self._gossip is not None
        steps = self._gossip.accusations(name)
        return sentence(steps[-1][1]) if steps else "with too many others to remember why"

    def _on_name_conflict(self, conflict: NameConflict) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._conflict_logged_at.get(conflict.name, -CONFLICT_LOG_S) < CONFLICT_LOG_S:
            return
        self._conflict_logged_at[conflict.name] = now
        claimant = Address.from_packed(conflict.claimant.addr, conflict.claimant.port)
        if conflict.name == self.config.node_name:
            serf_logger.error("another agent at %s uses our node name %s", claimant, conflict.name)
        else:
            serf_logger.warning(
                "name conflict: %s is at %s, also claimed from %s",
                conflict.name,
                conflict.holder,
                claimant,
            )

    # -- catalog ----------------------------------------------------------------------------

    def _on_catalog_fact(self, fact: CatalogEffect) -> None:
        match fact:
            case BecameReady():
                catalog_logger.info("synced: %d nodes", len(self.view.nodes()))
            case IdentityContested():
                self._reserved_by = fact.holder
                catalog_logger.error(
                    "our node %s is held by %s: this agent's services are hidden until that ends",
                    fact.what,
                    fact.holder,
                )
            case IdentityRestored():
                self._reserved_by = None
                catalog_logger.info("our node name and id are ours again: publishing")
            case EpochRaised():
                catalog_logger.warning("a peer knew a later epoch of this node: raised ours")
                self._epoch = fact.epoch
                self._members_changed.set()
            case ClockDrift():
                catalog_logger.warning("our clock is %+.1f s from our peers' median", fact.drift_s)
            case CatalogDropped():
                # Counted by the replica.
                return
            case _:
                raise AssertionError(f"not a fact: {fact}")

    # -- joining ----------------------------------------------------------------------------

    async def join(self, address: str) -> int:
        """Join by one address; the number of members reached.

        Raises:
            JoinError: None was reached.
        """
        return await self._join([address])

    async def _join(self, addresses: Sequence[str], *, replay: bool = False) -> int:
        assert self._gossip is not None
        result = await self._gossip.join(addresses, replay=replay)
        if not result.contacted:
            # The form that Go's multierror gives them, and Consul's clients know.
            count = len(result.errors)
            lines = [f"{count} error{'s' if count > 1 else ''} occurred:"]
            lines += [f"\t* Failed to join {target}: {why}" for target, why in result.errors]
            raise JoinError("\n".join([*lines, "", ""]))
        logger.info("joined the cluster: contacted=%d", result.contacted)
        return result.contacted

    async def _try_join(self, addresses: Sequence[str]) -> int:
        try:
            return await self._join(addresses, replay=self._replays)
        except JoinError as error:
            logger.warning("%s", _on_one_line(error))
            return 0

    def _restart_retry_join(self) -> None:
        """Join by the addresses of `retry_join`, in place of what was tried so far."""
        if self._retrying is not None:
            self._retrying.cancel()
        self._retrying = self._spawn(self._retry_join()) if self.config.retry_join else None

    async def _retry_join(self) -> None:
        try:
            await retry_join(
                self._try_join,
                self.config.retry_join,
                interval_s=self.config.retry_interval_s,
                attempts_max=self.config.retry_max,
            )
        except RetriesExhaustedError:
            self._stop("max join retry exhausted, exiting")

    # -- what is kept while running ---------------------------------------------------------

    async def _keep_house(self) -> None:
        while True:
            # Not wait_for: it can swallow a cancellation (Python 3.11).
            with suppress(TimeoutError):
                async with asyncio.timeout(HOUSEKEEPING_S):
                    await self._members_changed.wait()
            self._members_changed.clear()
            await self._save_changed_state()
            await asyncio.sleep(SAVE_PAUSE_S)

    async def _keep_coordinates(self) -> None:
        while True:
            await asyncio.sleep(PICTURE_S)
            self.coordinates.refresh()

    def _agent_coordinates(self) -> Iterator[tuple[str, Coordinate]]:
        for member in self.members():
            where = self._gossip.cached_coordinate(member.name) if self._gossip else None
            if where is not None and member.status is not MemberStatus.LEFT:
                yield member.name, where

    async def _save_changed_state(self) -> None:
        """Bring what is on disk up to date; what it refuses is tried again the next time."""
        if self._gossip is None:
            return
        peers = self._gossip.peers()
        if self.has_left or peers != self._saved_peers:
            self._saved_peers = peers
            self._peers_file = self._data_dir.peers_file(peers, left=self.has_left)
        reserved = self._index_reserved
        if self.view.index > reserved - INDEX_BLOCK // 2:
            reserved += INDEX_BLOCK
        is_kept = await self._keeper.keep(
            {
                **self._data_dir.epoch_file(self._epoch),
                **self._data_dir.incarnation_file(int(self._gossip.incarnation)),
                **self._data_dir.clocks_file(self._gossip.clocks),
                **self._data_dir.index_file(reserved),
                **self._peers_file,
            }
        )
        if is_kept:
            self._index_reserved = reserved

    async def _save_keys(self, keys: Sequence[bytes]) -> None:
        try:
            await self._committer.commit(self._data_dir.keyring_file(keys))
        except StorageError as error:
            raise OSError(str(error)) from error

    # -- the API's facade -------------------------------------------------------------------

    @property
    def is_ready(self) -> bool:
        """Whether the catalog is in sync; what it does not know is an error till then."""
        return self._replica.is_ready

    def members(self) -> Sequence[Member]:
        """The member table, ourselves included."""
        return self._gossip.members() if self._gossip is not None else ()

    def local_member(self) -> Member:
        """Ourselves."""
        assert self._gossip is not None
        return self._gossip.local

    def gossip_stats(self) -> Mapping[str, int]:
        """Queue lengths, Lamport times, health score."""
        assert self._gossip is not None
        return self._gossip.stats()

    def is_encrypted(self) -> bool:
        """Whether gossip is encrypted."""
        return self.keyring is not None

    def counters(self) -> Mapping[str, Mapping[str, int]]:
        """What catalog, DNS and gossip have done and dropped since the start."""
        assert self._gossip is not None
        return {
            "catalog": self._replica.metrics,
            "dns": {} if self._dns is None else self._dns.counters.totals(),
            "gossip": self._gossip.counters,
            "http": {} if self._http is None else {"hot_answers": self._http.hot_hits},
        }

    async def register_external(self, node_name: str, bodies: Sequence[Body]) -> None:
        """Publish records of a node without an agent."""
        self._check_identity()
        for body in bodies:
            self._catalog.put_external(node_name, body)

    async def deregister_external(self, node_name: str, keys: Sequence[tuple[Kind, str]]) -> None:
        """Withdraw records of a node without an agent."""
        self._check_identity()
        for kind, record_id in keys:
            self._catalog.delete_external(node_name, kind, record_id)

    def leader(self) -> str:
        """Address of the server that leads, as this one knows; elsewhere of the lowest id."""
        servers = alive_servers(self.members())
        if self.config.server:
            servers = [each for each in servers if each[0] == self.store.leader_id]
        return next((server_address(member) for _, member in servers), "")

    def peers(self) -> list[str]:
        """Addresses of every alive server, by id."""
        return [server_address(member) for _, member in alive_servers(self.members())]

    def _own_check(self, check_id: str) -> CheckRecord | None:
        return self.local.check_record(check_id) if check_id in self.local.table else None

    def _check_identity(self) -> None:
        if self._reserved_by is not None:
            raise NameReservedError(self.config.node_name, self._reserved_by)


def _on_one_line(error: Exception) -> str:
    return " ".join(str(error).split())
