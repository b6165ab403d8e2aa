"""A fake agent around a real catalog view, and a client for the API in front of it."""

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import IO, Any

import aiohttp
from yarl import URL

from gossip import (
    Coordinate,
    KeyOperation,
    KeyReport,
    LamportTime,
    TooLargeError,
    UserEventReceived,
)
from gossip.serf.events import Member, MemberStatus
from gossip.types import Address, Incarnation, MemberName
from svcmesh.api import HttpServer
from svcmesh.api.listeners import TcpAddress
from svcmesh.catalog.changes import ExternalNode, NodeBound, Owner, OwnNode, RecordChanged
from svcmesh.catalog.records import (
    Body,
    CheckRecord,
    Kind,
    NodeId,
    NodeRecord,
    QueryRecord,
    ServiceRecord,
)
from svcmesh.catalog.view import CatalogView
from svcmesh.checks.table import CheckConfig
from svcmesh.config import AgentConfig, DefinitionChanges, Reload, load_config
from svcmesh.consensus.group import KnownServer
from svcmesh.consensus.raft import ServerId
from svcmesh.consensus.service import QueryAnswer, ReadMode, SavedSnapshot, StoreError
from svcmesh.consensus.store import Answer, CommandKind, KvEntry, Store, encode_command
from svcmesh.consensus.store.queries import QUERIES
from svcmesh.consistency import PeerReport, Report
from svcmesh.coordinates import NodeCoordinates
from svcmesh.datacenters import NoPathError
from svcmesh.doctor import Examination
from svcmesh.errors import JoinError, NobodyAnsweredError, UnknownMemberError
from svcmesh.explaining import Explainer
from svcmesh.federation import DcPlace, DcServer
from svcmesh.healthlog import HealthLog
from svcmesh.insight import Standing
from svcmesh.metrics import Metrics
from svcmesh.rpc import Callers
from svcmesh.runtime.events import EventRuntime
from svcmesh.runtime.local import LocalState, ScriptPolicy
from svcmesh.runtime.logstream import LogStreams
from svcmesh.runtime.nodes import CatalogNodes
from svcmesh.runtime.queries import PreparedQueries, query_engine
from svcmesh.runtime.writer import GroupCommitter
from svcmesh.storage import DataDir
from svcmesh.summaries import GlobalService

NODE_ID = "11111111-2222-3333-4444-555555555555"


def member(name: str, status: MemberStatus = MemberStatus.ALIVE, **tags: str) -> Member:
    return Member(
        name=MemberName(name),
        address=Address("127.0.0.9", 8301),
        tags=tags,
        status=status,
        incarnation=Incarnation(1),
        vsn=bytes([1, 5, 2, 2, 5, 4]),
    )


def config(**flags: object) -> AgentConfig:
    return load_config(
        {"dev": True, "node": "n1", "datacenter": "dc1", **flags}, [], host_name=lambda: "host"
    )


@dataclass
class FakeInsight:
    """Knows what a test has put there."""

    standings: dict[str, Standing] = field(default_factory=dict)
    report: Examination = field(
        default_factory=lambda: Examination(0.0, 0.0, 0, "plain text", (), ())
    )

    async def examine(self) -> Examination:
        return self.report

    def why(self, name: str) -> Standing | None:
        return self.standings.get(name)


@dataclass
class FakeConsistency:
    """Reports what a test says."""

    agrees: bool | None = True
    lag_s: float = 0.0
    peers: tuple[PeerReport, ...] = ()

    def report(self) -> Report:
        return Report(self.agrees, 60.0, self.lag_s, 0xABC, True, self.peers)


@dataclass
class FakeReloading:
    """Reads nothing; says what it is told to say."""

    found: Reload = field(
        default_factory=lambda: Reload(config(), (), (), services=DefinitionChanges())
    )
    failure: Exception | None = None
    reloads: int = 0

    async def reload(self) -> Reload:
        if self.failure is not None:
            raise self.failure
        self.reloads += 1
        return self.found

    def stats(self) -> Mapping[str, object]:
        return {"reloads": self.reloads, "needs_restart": ""}


@dataclass
class FakePool:
    """A pool of one member that does what it is told."""

    member: str = "n1"

    report: KeyReport = field(default_factory=lambda: KeyReport(1, answers=1))
    failure: Exception | None = None
    asked: list[tuple[KeyOperation, bytes, int]] = field(default_factory=list)
    left: list[tuple[str, bool]] = field(default_factory=list)

    async def change_keys(
        self, operation: KeyOperation, key: bytes = b"", *, relay_factor: int = 0
    ) -> KeyReport:
        self.asked.append((operation, key, relay_factor))
        if self.failure is not None:
            raise self.failure
        return self.report

    def force_leave(self, name: str, *, prune: bool) -> None:
        if name != self.member:
            raise UnknownMemberError(name)
        self.left.append((name, prune))


@dataclass
class FakeCalls:
    """Who calls, as a test says."""

    found: Callers = field(default_factory=Callers)
    certificate_expires_utc: datetime | None = None

    def callers(self) -> Callers:
        return self.found


@dataclass
class FakeWan:
    """The data centers that a test says there are; a pool if it gives one."""

    pool: FakePool | None = None
    table: list[Member] = field(default_factory=list)
    found: list[DcPlace] = field(default_factory=lambda: [DcPlace("dc1", ())])
    all_services: list[GlobalService] | None = field(default_factory=list)
    known_servers: list[DcServer] = field(default_factory=list)
    joined: list[str] = field(default_factory=list)

    def members(self) -> Sequence[Member]:
        return self.table

    def datacenters(self) -> Sequence[str]:
        return [place.name for place in self.found]

    def servers(self, datacenter: str) -> Sequence[DcServer]:
        return [one for one in self.known_servers if one.datacenter == datacenter]

    async def places(self) -> Sequence[DcPlace]:
        return self.found

    async def services(self) -> Sequence[GlobalService] | None:
        return self.all_services

    def stats(self) -> Mapping[str, object]:
        return {} if self.pool is None else {"health_score": 0, "encrypted": False}

    async def join(self, address: str) -> int:
        if self.pool is None:
            raise JoinError("Must be a server to join WAN cluster")
        self.joined.append(address)
        return 1


@dataclass
class FakeAgent:
    """Does at once what a real agent does by way of gossip and disk."""

    config: AgentConfig = field(default_factory=config)
    is_ready: bool = True
    node_id: str = NODE_ID
    version: str = "9.9.9"
    leader_address: str = ""
    failure: Exception | None = None
    disk_failure: Exception | None = None
    table: list[Member] = field(default_factory=lambda: [member("n1", role="node")])
    joined: list[str] = field(default_factory=list)
    has_left: bool = False
    event_time: int = 0
    reloading: "FakeReloading" = field(default_factory=lambda: FakeReloading())

    def __post_init__(self) -> None:
        self.view = CatalogView(
            local_node_id=NodeId(self.node_id),
            datacenter=self.config.datacenter,
            index_start=1000,
        )
        self.agent_coordinates: dict[str, Coordinate] = {}
        """Where gossip knows agents to be; `coordinates.refresh` shows it."""
        self.insight = FakeInsight()
        self.calls = FakeCalls()
        self.consistency = FakeConsistency()
        self.health_log = HealthLog(started_utc=1_700_000_000.0)
        self.explainer = Explainer(
            self.view,
            self.health_log,
            own_name="n1",
            own_check=lambda _: None,
            only_passing=False,
        )
        self.coordinates = NodeCoordinates(self.view, agents=lambda: self.agent_coordinates.items())
        self.pool = FakePool()
        self.wan = FakeWan()
        self.logs = LogStreams()
        self.events = EventRuntime(
            node="n1",
            services=lambda: [each.record for each in self.local.services.values()],
            send=self._send_user_event,
        )
        self._local: LocalState | None = None
        self.store = FakeStoreParts()
        self.queries = PreparedQueries(
            query_engine(self.config, self.view, self.coordinates),
            FakeRecords(self.view),
            sessions=self.store,
            check_identity=self._check_identity,
            saved=self.external_saved,
        )
        self.remote = FakeRemote()
        self.metrics = Metrics(self.counters, now_utc=0.0)
        self.change(
            OwnNode(NodeId(self.node_id)),
            NodeRecord(
                name="n1",
                address="127.0.0.9",
                datacenter=self.config.datacenter,
                tagged_addresses={"lan": "127.0.0.9"},
                meta={"consul-network-segment": ""},
            ),
        )
        self.view.apply(NodeBound(NodeId(self.node_id), "n1", is_alive=True))

    def change(self, owner: Owner, body: Body) -> None:
        match body:
            case NodeRecord():
                key = (Kind.NODE, "")
            case ServiceRecord():
                key = (Kind.SERVICE, body.id)
            case CheckRecord():
                key = (Kind.CHECK, body.id)
            case QueryRecord():
                key = (Kind.QUERY, body.id)
        self.view.apply(RecordChanged(owner, *key, None, body))

    def _send_user_event(self, name: str, payload: bytes) -> int:
        self.event_time += 1
        if len(payload) > 512:
            raise TooLargeError("user event exceeds the limit of 512 bytes")
        self.events.receive(UserEventReceived(name, payload, LamportTime(self.event_time)))
        return self.event_time

    def members(self) -> Sequence[Member]:
        return self.table

    def local_member(self) -> Member:
        return self.table[0]

    def gossip_stats(self) -> Mapping[str, int]:
        return {"health_score": 0, "event_queue": 0}

    def is_encrypted(self) -> bool:
        return False

    def counters(self) -> Mapping[str, Mapping[str, int]]:
        return {
            "catalog": {"applied": 7},
            "dns": {"udp_queries": 8},
            "gossip": {"dropped.checksum": 9},
            "rpc": {"refused.expired": 1},
        }

    @property
    def local(self) -> LocalState:
        """The real thing, with nothing on disk."""
        if self._local is None:
            data_dir = DataDir(None)
            self._local = LocalState(
                data_dir,
                GroupCommitter(data_dir),
                publish=lambda body: self.change(OwnNode(NodeId(self.node_id)), body),
                withdraw=self._withdraw,
                check_identity=self._check_identity,
                config=CheckConfig(update_interval_s=0.0),
                scripts=ScriptPolicy(),
                rng=Random(1),
                node_checks=CatalogNodes(self.view, own_name="n1"),
            )
        return self._local

    def _withdraw(self, kind: Kind, record_id: str) -> None:
        self.view.apply(RecordChanged(OwnNode(NodeId(self.node_id)), kind, record_id, None, None))

    def _check_identity(self) -> None:
        if self.failure is not None:
            raise self.failure

    async def close(self) -> None:
        if self._local is not None:
            await self._local.close()

    async def external_saved(self) -> None:
        if self.disk_failure is not None:
            raise self.disk_failure

    def register_external(self, node_name: str, bodies: Sequence[Body]) -> None:
        if self.failure is not None:
            raise self.failure
        for body in bodies:
            self.change(ExternalNode(node_name.lower()), body)

    def deregister_external(self, node_name: str, keys: Sequence[tuple[Kind, str]]) -> None:
        for kind, record_id in keys:
            owner = ExternalNode(node_name.lower())
            self.view.apply(RecordChanged(owner, kind, record_id, None, None))

    async def join(self, address: str) -> int:
        if address == "down":
            raise NobodyAnsweredError([("down", "refused")])
        self.joined.append(address)
        return 1

    async def leave(self) -> None:
        self.has_left = True

    def leader(self) -> str:
        return self.leader_address

    def peers(self) -> list[str]:
        return [self.leader_address] if self.leader_address else []


class FakeRecords:
    """External records that go straight to the view."""

    def __init__(self, view: CatalogView) -> None:
        self.view = view
        self.clock = 0

    def put_external(self, node_name: str, body: Body) -> None:
        assert isinstance(body, QueryRecord)
        owner = ExternalNode(node_name)
        self.view.apply(RecordChanged(owner, Kind.QUERY, body.id, None, body))

    def delete_external(self, node_name: str, kind: Kind, record_id: str) -> None:
        self.view.apply(RecordChanged(ExternalNode(node_name), kind, record_id, None, None))

    def read_clock(self) -> int:
        self.clock += 1
        return self.clock


@dataclass
class FakeRemote:
    """Other data centers: what a test has put there, by name."""

    others: dict[str, Callable[[object, float], Awaitable[object]]] = field(default_factory=dict)
    failure: Exception | None = None
    asked: list[tuple[str, bool, float, float]] = field(default_factory=list)
    """Data center, whether it is a write, how long is waited and how much of that on purpose."""

    async def call(
        self,
        datacenter: str,
        method: str,
        body: object,
        *,
        timeout_s: float,
        is_write: bool = False,
        waits_s: float = 0.0,
    ) -> Any:  # noqa: ANN401  # the method's answer
        self.asked.append((datacenter, is_write, timeout_s, waits_s))
        if self.failure is not None:
            raise self.failure
        if datacenter.lower() not in self.others:
            raise NoPathError
        return await self.others[datacenter.lower()](body, timeout_s)


class FakeOperator:
    """A group of two servers, of which the second is ill."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.failure: Exception | None = None

    async def configuration(self, mode: ReadMode) -> dict[str, Any]:
        self._note("configuration", mode.value)
        return {"servers": [_server("a"), _server("b")], "index": 7}

    async def health(self) -> dict[str, Any]:
        self._note("health")
        servers = [_server("a"), _server("b")]
        return {"is_healthy": False, "tolerance": 0, "leader": "a", "servers": servers}

    async def remove(self, kind: str, value: str) -> None:
        self._note("remove", kind, value)

    async def transfer(self, to: str) -> bool:
        self._note("transfer", to)
        return to != "b"

    def _note(self, *call: str) -> None:
        self.asked.append(call)
        if self.failure is not None:
            raise self.failure


class FakeSnapshots:
    """Gives a file of two pieces, and keeps what it is to restore."""

    def __init__(self) -> None:
        self.modes: list[ReadMode] = []
        self.restored: list[bytes] = []
        self.failure: Exception | None = None

    async def save(self, mode: ReadMode) -> SavedSnapshot:
        self.modes.append(mode)
        if self.failure is not None:
            raise self.failure

        async def pieces() -> AsyncGenerator[bytes, None]:
            yield b"one"
            yield b"two"

        return SavedSnapshot(7, True, 3, 6, pieces())

    async def restore(self, file: IO[bytes]) -> None:
        if self.failure is not None:
            raise self.failure
        self.restored.append(file.read())


def _server(server_id: str) -> dict[str, Any]:
    is_leader = server_id == "a"
    return {
        "id": server_id, "name": f"n-{server_id}", "address": "127.0.0.9:8300",
        "presence": "alive", "version": "1", "is_leader": is_leader, "is_voter": is_leader,
        "last_contact_s": 0.0 if is_leader else 1.5, "last_term": 2, "last_index": 9,
        "is_healthy": is_leader, "stable_since": "2026-01-01T00:00:00Z",
    }  # fmt: skip


class FakeStoreParts:
    """The real state machine, with neither log nor other servers."""

    def __init__(self) -> None:
        self.state = Store()
        self.service = self
        self.operator = FakeOperator()
        self.snapshots = FakeSnapshots()
        self.is_server = False
        self.servers: list[KnownServer] = []
        self.leader: ServerId | None = None
        self.failure: Exception | None = None
        self.renewed: list[str] = []
        self.modes: list[ReadMode] = []
        self.is_direct = True
        """Whether it can answer without a task for each."""
        self.held: list[Callable[[], None]] | None = None
        """What was begun so, if it is to wait until a test calls it."""

    def known_servers(self) -> list[KnownServer]:
        return self.servers

    async def find_leader(self) -> ServerId | None:
        return self.leader

    async def write(self, kind: CommandKind, body: Sequence[object]) -> Any:  # noqa: ANN401  # the answer
        if self.failure is not None:
            raise self.failure
        index = self.state.index + 1
        verdict, value = self.state.apply(index, encode_command(kind, list(body), wall_ms=index))
        if verdict == "error":
            raise StoreError(value)
        return value

    async def write_key(self, key: str, value: bytes) -> None:
        """Somebody else writes."""
        await self.write(CommandKind.SET, [key, value, 0])

    async def query(
        self,
        name: str,
        *arguments: object,
        mode: ReadMode = ReadMode.DEFAULT,
        index: int = 0,
        wait_s: float = 0.0,
    ) -> QueryAnswer:
        if self.failure is not None:
            raise self.failure
        self.modes.append(mode)
        found = QUERIES[name].find(self.state, *arguments)
        return QueryAnswer(max(1, found.index), found.value)

    def begin_read(self, done: Callable[[bool], None]) -> bool:
        if not self.is_direct:
            return False
        self._soon(lambda: done(self.failure is None))
        return True

    def find_key(self, key: str) -> KvEntry | None:
        return self.state.keys.get(key)

    def begin_set(self, key: str, value: bytes, done: Callable[[Answer | Exception], None]) -> bool:
        if not self.is_direct:
            return False

        def apply() -> None:
            if self.failure is not None:
                done(self.failure)
                return
            index = self.state.index + 1
            command = encode_command(CommandKind.SET, [key, value, 0], wall_ms=index)
            done(self.state.apply(index, command))

        self._soon(apply)
        return True

    def _soon(self, call: Callable[[], None]) -> None:
        if self.held is None:
            asyncio.get_running_loop().call_soon(call)
        else:
            self.held.append(call)

    async def renew(self, session_id: str) -> list[Any] | None:
        session = self.state.sessions.get(session_id)
        self.renewed.append(session_id)
        return None if session is None else session.pack()


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes
    json: Any = None  # whatever the body says

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def index(self) -> int:
        return int(self.headers["X-Consul-Index"])


class Client:
    """Talks to the API of one agent."""

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self._session, self.base = session, base

    async def call(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        async with self._session.request(
            method,
            URL(self.base + path, encoded=True),
            json=json,
            data=data,
            headers={"Accept-Encoding": "identity", **(headers or {})},
            allow_redirects=False,
            auto_decompress=False,
        ) as response:
            body = await response.read()
            is_json = response.headers.get("Content-Type") == "application/json"
            is_plain = "Content-Encoding" not in response.headers
            value = await response.json() if is_json and is_plain else None
            return Answer(response.status, response.headers, body, value)

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.call("GET", path, headers=headers)

    async def put(self, path: str, json: object = None, data: bytes | None = None) -> Answer:
        return await self.call("PUT", path, json=json, data=data)


@asynccontextmanager
async def serving(agent: FakeAgent) -> AsyncIterator[Client]:
    server = HttpServer(agent)
    ((host, port),) = await server.start([TcpAddress("127.0.0.1", 0)])
    try:
        async with aiohttp.ClientSession() as session:
            yield Client(session, f"http://{host}:{port}")
    finally:
        await server.close()
        await agent.close()


def run(
    scenario: Callable[[Client, FakeAgent], Coroutine[None, None, None]],
    agent: FakeAgent | None = None,
) -> None:
    """Run a scenario against the API of `agent`."""

    async def main() -> None:
        subject = agent or FakeAgent()
        async with asyncio.timeout(60), serving(subject) as client:
            await scenario(client, subject)

    asyncio.run(main())
