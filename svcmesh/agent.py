"""The agent: puts gossip, catalog, DNS and HTTP together. The only module that knows all of them.

What each part does is in `svcmesh/runtime/`, one module per area; the process around it all
(banner, signals, exit code) is in `process.py`.
"""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from random import Random
from typing import Final

from gossip import Gossip
from gossip.serf.events import Member
from svcmesh import __version__
from svcmesh.api import HttpServer, elsewhere
from svcmesh.api.facade import Wan
from svcmesh.api.listeners import TcpAddress, http_listeners
from svcmesh.catalog import CatalogView
from svcmesh.catalog.records import Body, Kind, NodeId
from svcmesh.config import SETTINGS, AgentConfig
from svcmesh.coordinates import PICTURE_S, NodeCoordinates
from svcmesh.errors import JoinError
from svcmesh.insight import PoolInsight
from svcmesh.membership import alive_servers, server_address
from svcmesh.metrics import Metrics
from svcmesh.rpc import Methods
from svcmesh.runtime.autopilot import configured_settings
from svcmesh.runtime.boundqueries import BoundQueries
from svcmesh.runtime.consistent import ConsistentStore
from svcmesh.runtime.discovery import Discovery
from svcmesh.runtime.dns import DnsRuntime
from svcmesh.runtime.doctor import Doctor
from svcmesh.runtime.events import EventRuntime
from svcmesh.runtime.failover import QueryFailover, QueryMethods
from svcmesh.runtime.kept import load_kept
from svcmesh.runtime.keyring import KeyringFile, load_keyring
from svcmesh.runtime.lan import LanPool, gossip_config
from svcmesh.runtime.logstream import LogStreams
from svcmesh.runtime.membership import Membership
from svcmesh.runtime.metrics import MetricsRuntime
from svcmesh.runtime.offerednames import OfferedNames
from svcmesh.runtime.ownstate import OwnState
from svcmesh.runtime.pool import PoolOperations
from svcmesh.runtime.queries import PreparedQueries, query_engine
from svcmesh.runtime.reloading import Reloading, applied_with_files, read_at_use
from svcmesh.runtime.remote import RemoteCalls
from svcmesh.runtime.tasks import BackgroundTasks
from svcmesh.runtime.tls import TLS_SETTINGS, CallInsight, TlsMaterial
from svcmesh.runtime.wan import WanPool
from svcmesh.runtime.wan_asking import WanByAsking, WanTurnedOff
from svcmesh.runtime.writer import GroupCommitter
from svcmesh.storage import LAN_FILES, DataDir

logger = logging.getLogger("agent")

DNS_SETTINGS: Final = (
    "recursors",
    *(one.path for one in SETTINGS if one.path.startswith("dns_config.")),
)
"""Settings whose change the DNS server is told of."""

RETRY_JOIN: Final = (
    *("retry_join", "retry_interval", "retry_max"),
    *("retry_join_wan", "retry_interval_wan", "retry_max_wan"),
)
"""Settings whose change starts joining anew."""

READ_AT_USE: Final = (
    *("default_query_time", "max_query_time", "discovery_max_stale", "session_ttl_min"),
    *("limits.http_max_conns_per_client", "leave_on_terminate", "skip_leave_on_interrupt"),
)
"""Settings that are looked up whenever they are needed."""


class Agent:
    """One running agent; the HTTP API's facade.

    `start` binds everything and returns when the agent serves; `stopped` is set when it should end,
    by itself (`/v1/agent/leave`, joining given up) or by whoever runs it.
    """

    def __init__(self, config: AgentConfig, data_dir: DataDir) -> None:
        """Take up the identity of earlier runs and reserve what this run may use.

        Raises:
            ConfigError: Certificates cannot be used.
            StorageError: The data directory refuses.
        """
        self.tls = TlsMaterial(config)
        self.calls = CallInsight(self.tls, lambda: self.store.callers())
        self.reloading = Reloading(
            config,
            appliers={
                "node_meta": lambda new: self._discovery.publish_node(new),
                **dict.fromkeys(RETRY_JOIN, lambda new: self._membership.retry_join(new)),
                "log_level": lambda new: self.logs.set_own_level(new.log_level),
                **dict.fromkeys(DNS_SETTINGS, self._reconfigure_dns),
                **dict.fromkeys(READ_AT_USE, read_at_use),
                **dict.fromkeys(TLS_SETTINGS, applied_with_files),
            },
            apply_files=self._apply_files,
        )
        self.version = __version__
        self.stopped = asyncio.Event()
        self.failure: str | None = None
        """Why the agent stopped by itself, when that was no leave."""
        self._data_dir = data_dir
        self._committer = GroupCommitter(data_dir)
        self._state = OwnState(config, data_dir, self._committer)
        self.node_id = self._state.node_id
        keys = () if config.encrypt is None else (config.encrypt,)
        self.keyring = load_keyring(data_dir, LAN_FILES, keys, setting="encrypt")
        self.view = CatalogView(
            local_node_id=NodeId(self.node_id),
            datacenter=config.datacenter,
            index_start=self._state.index_start,
        )
        self.events = EventRuntime(
            node=config.node_name,
            services=lambda: [each.record for each in self.local.services.values()],
            send=lambda name, payload: self._lan.send_user_event(name, payload),
        )
        self._lan = LanPool(config, self._state, self.keyring, self.events)
        self._tasks = BackgroundTasks()
        self._membership: Membership = Membership(
            self._lan, self._tasks, replays=self._state.lan.replays, give_up=self._stop
        )
        self.coordinates = NodeCoordinates(self.view, agents=self._lan.coordinates)
        self.pool = PoolOperations(self._gossip)
        self.logs = LogStreams()
        self.metrics = Metrics(self.counters, now_utc=time.time())
        self.wan: Wan
        self.remote: RemoteCalls
        self._leaving: asyncio.Task[None] | None = None
        self._dns: DnsRuntime | None = None
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
        self._make_discovery()
        await self._start_gossip()
        self._discovery.publish(self.config, kept)
        self.coordinates.refresh()
        self._make_store()
        wan_methods = await self._start_wan()
        self._make_remote()
        offered = [wan_methods, self.remote.methods]
        await self.store.start(self.config.bind_addr, self.config.ports.server, offered)
        if self.config.server:
            bound = BoundQueries(self.view, self._discovery.catalog, self.store.service)
            self._tasks.spawn(bound.run())
        await self._start_dns()
        await self._start_http()
        self._start_metrics()
        try:
            await self._membership.join_at_start(self.config)
        except JoinError as error:
            self._stop(f"joining failed: {error}")
        self._membership.retry_join(self.config)
        self._tasks.spawn(self._state.run(lambda: self.view.index))
        self._tasks.spawn(self._keep_coordinates())
        self._opened.push_async_callback(self._tasks.end)

    async def leave(self) -> None:
        """Leave the cluster gracefully; `stopped` is set when the others have been told."""
        if self._leaving is None:
            self._leaving = asyncio.create_task(self._leave())
        await asyncio.shield(self._leaving)

    async def close(self) -> None:
        """Stop serving and release sockets and data directory; a leave under way is given up."""
        if self._leaving is not None:
            self._leaving.cancel()
        await self._opened.aclose()

    def _make_discovery(self) -> None:
        self._discovery = Discovery(
            self.config,
            self._state,
            self._data_dir,
            self._committer,
            self.view,
            send=self._lan.send_payload,
        )
        self.local = self._discovery.local
        self.consistency = self._discovery.consistency
        self.explainer = self._discovery.explainer
        self._opened.push_async_callback(self._discovery.close)

    async def _start_gossip(self) -> None:
        config = self.config
        keyring_file = KeyringFile(self._data_dir, LAN_FILES, self._committer)
        gossip = await self._lan.start(self._discovery.catalog, keyring_file)
        doctor = Doctor(
            gossip,
            keyring=self.keyring,
            sends_encrypted=config.encrypt_verify_outgoing,
            datagram_bytes=gossip_config(config).swim.udp_buffer_bytes,
            clock_drift_s=lambda: self._discovery.replica.clock_drift_s,
        )
        self._opened.callback(doctor.close)
        self.insight = PoolInsight(gossip, doctor.examine)
        self._opened.push_async_callback(self._save_state)
        self._opened.push_async_callback(gossip.close)

    async def _start_wan(self) -> Methods:
        """Become a member of the WAN pool, or not; what other agents may ask about it."""
        config, gossip = self.config, self._gossip()
        if not config.server:
            self.wan = WanByAsking(config.datacenter, gossip, self.store.pool)
            return self.wan.methods
        if config.ports.serf_wan < 0:
            self.wan = WanTurnedOff(config.datacenter, gossip, self.view)
            return self.wan.methods
        self.wan = self._membership.wan = wan = WanPool(
            config, self._state, self._lan, self._tasks, self.view, is_ready=lambda: self.is_ready
        )
        await wan.start(self._data_dir, self._committer)
        self._opened.push_async_callback(wan.close)
        return wan.methods

    def _make_store(self) -> None:
        config = self.config
        expects = config.bootstrap_expect or int(config.bootstrap or config.dev)
        self.store = ConsistentStore(
            self.node_id,
            self.view,
            self.members,
            is_server=config.server,
            expects=expects,
            data_dir=config.data_dir,
            autopilot=configured_settings(config.autopilot),
            accept_rules=self.tls.accept_rules(),
            dial_rules=self.tls.dial_rules(),
        )
        self._lan.listen(self.store.note_members)
        self._opened.push_async_callback(self.store.close)

    def _make_remote(self) -> None:
        config = self.config
        self._http = HttpServer(self, tls=self.tls.https)
        failover = QueryFailover(lambda: self.remote, self._datacenters)
        self._opened.push_async_callback(failover.close)
        self.queries = PreparedQueries(
            query_engine(config, self.view, self.coordinates),
            self._discovery.catalog,
            sessions=self.store.service,
            check_identity=self._discovery.check_identity,
            saved=self._discovery.external_saved,
            elsewhere=failover,
        )
        names = OfferedNames(self.view, is_ready=lambda: self.is_ready, rng=Random())
        self.remote = RemoteCalls(
            self.store.pool,
            datacenter=config.datacenter,
            node_name=config.node_name,
            own_servers=self.store.server_addresses,
            topology=self.wan if config.server else None,
            methods={
                elsewhere.METHOD: self._http.serve_datacenter,
                **QueryMethods(self.queries).methods,
                **names.methods,
            },
        )
        self._opened.push_async_callback(self.remote.close)
        self._tasks.spawn(self.remote.run())

    async def _datacenters(self) -> list[str]:
        """Those that are known, our own first, then by distance."""
        return [place.name for place in await self.wan.places()]

    async def _start_dns(self) -> None:
        if self.config.ports.dns <= 0:
            return
        self._dns = DnsRuntime(
            self.config,
            self.view,
            is_ready=lambda: self.is_ready,
            queries=self.queries,
            remote=self.remote,
        )
        self._opened.push_async_callback(self._dns.close)
        await self._dns.start()

    async def _start_http(self) -> None:
        addresses = http_listeners(self.config)
        if not addresses:
            return
        assert self._http is not None
        self._opened.push_async_callback(self._http.close)
        await self._http.start(addresses)
        for address in addresses:
            kind = "HTTPS" if isinstance(address, TcpAddress) and address.is_tls else "HTTP"
            logger.info("Started %s server: address=%s", kind, address)

    def _start_metrics(self) -> None:
        runtime = MetricsRuntime(self.metrics)
        runtime.start()
        self._opened.callback(runtime.close)

    async def _leave(self) -> None:
        logger.info("leaving the cluster")
        await self._membership.leave()
        self._state.has_left = True
        await self._save_state()
        logger.info("Graceful leave complete")
        self._stop(None)

    def _stop(self, failure: str | None) -> None:
        self.failure = self.failure or failure
        self.stopped.set()

    # -- configuration ----------------------------------------------------------------------

    @property
    def config(self) -> AgentConfig:
        """What is in force; a reload replaces it."""
        return self.reloading.config

    def _apply_files(self, config: AgentConfig) -> None:
        """Take up what is in files and may be new there without a changed setting."""
        certificates = self.tls.prepare(config)
        self.local.reconfigure(config.services, config.checks)
        if self.tls.take_up(config, certificates):
            self.store.reconfigure(self.tls.accept_rules(), self.tls.dial_rules())

    def _reconfigure_dns(self, config: AgentConfig) -> None:
        if self._dns is not None:
            self._dns.reconfigure(config)

    # -- what goes on while running ---------------------------------------------------------

    def _gossip(self) -> Gossip:
        return self._lan.gossip

    async def _save_state(self) -> None:
        await self._state.save(self.view.index)

    async def _keep_coordinates(self) -> None:
        while True:
            await asyncio.sleep(PICTURE_S)
            self.coordinates.refresh()

    # -- the API's facade -------------------------------------------------------------------

    @property
    def is_ready(self) -> bool:
        """Whether the catalog is in sync; what it does not know is an error till then."""
        return self._discovery.replica.is_ready

    def members(self) -> Sequence[Member]:
        """The member table, ourselves included."""
        return self._lan.members()

    def local_member(self) -> Member:
        """Ourselves."""
        return self._gossip().local

    def gossip_stats(self) -> Mapping[str, int]:
        """Queue lengths, Lamport times, health score."""
        return self._gossip().stats()

    def is_encrypted(self) -> bool:
        """Whether gossip is encrypted."""
        return self.keyring is not None

    def counters(self) -> Mapping[str, Mapping[str, int]]:
        """What catalog, DNS, gossip and calls have done and dropped since the start."""
        return {
            "catalog": self._discovery.replica.metrics,
            "dns": {} if self._dns is None else self._dns.counters(),
            "gossip": self._gossip().counters,
            "gossip_wan": {} if self._membership.wan is None else self._membership.wan.counters(),
            "http": {} if self._http is None else self._http.counters(),
            "rpc": self.store.rpc_counters(),
            "wan_calls": self.remote.counters,
        }

    async def join(self, address: str) -> int:
        """Join by one address; the number of members reached.

        Raises:
            JoinError: None was reached.
        """
        return await self._membership.joiner.join([address])

    def register_external(self, node_name: str, bodies: Sequence[Body]) -> None:
        """Publish records of a node without an agent."""
        self._discovery.register_external(node_name, bodies)

    def deregister_external(self, node_name: str, keys: Sequence[tuple[Kind, str]]) -> None:
        """Withdraw records of a node without an agent."""
        self._discovery.deregister_external(node_name, keys)

    async def external_saved(self) -> None:
        """Return when such writes would survive a crash of this agent, if it keeps them at all."""
        await self._discovery.external_saved()

    def leader(self) -> str:
        """Address of the server that leads, as this one knows; elsewhere of the lowest id."""
        servers = alive_servers(self.members())
        if self.config.server:
            servers = [each for each in servers if each[0] == self.store.leader_id]
        return next((server_address(member) for _, member in servers), "")

    def peers(self) -> list[str]:
        """Addresses of every alive server, by id."""
        return [server_address(member) for _, member in alive_servers(self.members())]
