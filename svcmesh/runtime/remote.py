"""Calls to other data centers: from any agent to a server of its own, from that to one of theirs.

| call | body | who answers it |
| --- | --- | --- |
| `dc.forward` | a request | a server, for an agent of its own: it calls a server of the target |
| `dc.call` | a request | a server, for one of another data center: it does what is asked, itself |
| `dc.settle` | [data center, request id, age in s] | either: what became of a write |
| `dc.ping` | nothing | a server: it is there |

A request is [data center, method, body, id, whether it writes, seconds that it may wait]. Who
answers `dc.call` does so itself, so a request never goes on to a third data center.

A read is sent to at most two servers, the second when the first fails or is slow. A write is sent
to one; if its connection is lost, that server is asked what became of it (`requests.py`), and it is
sent again only if it was not done. Whom nothing was sent to does not count. Who did not answer is
asked last for a while.
"""

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from zlib import crc32

from svcmesh.consensus.service import OutcomeUnknownError
from svcmesh.datacenters import Address, NoPathError, Topology, UnreachableError
from svcmesh.errors import SvcmeshError
from svcmesh.rpc import (
    Body,
    Methods,
    RpcClosedError,
    RpcError,
    RpcPool,
    RpcRefusedError,
    RpcTimeoutError,
    seconds_untrusted,
)
from svcmesh.runtime.reach import PING, Place, Reach
from svcmesh.runtime.requests import FORGOTTEN, VOID, RequestMemory

logger = logging.getLogger("wan.calls")

FORWARD, CALL, SETTLE = "dc.forward", "dc.call", "dc.settle"
CANCEL: Final = "dc.cancel"
"""A note: nobody waits any more for the answer of the read of this id."""

ASKED_MAX: Final = 2
"""Servers that one read is sent to."""
WRITES_MAX: Final = 2
"""How often a write is sent, if it is known not to have been done before."""
SLOW_S: Final = 1.0
"""What a server of another data center gets before another one is asked as well ..."""
SLOW_FORWARD_S: Final = 1.5
"""... and one of our own, which may have to do just that."""
WARM_SERVERS: Final = 2
"""Of each other data center: connected to before they are needed."""
PASSED_ON: Final = 0.95
"""Of the time that is left: the answer has to come back in it."""
SETTLE_S_MIN: Final = 1.0
"""For finding out what became of a write, also when its time is over."""

NO_PATH: Final = "no-path"
UNREACHABLE: Final = "unreachable"
UNKNOWN: Final = "outcome-unknown"
OVERLOADED: Final = "overloaded"
REFUSED: Final = "refused"
NOT_DONE: Final = frozenset({NO_PATH, UNREACHABLE, OVERLOADED})
"""Codes of errors that say that nothing was done, and that another server may do it."""

SECONDS_MAX: Final = 86_400.0
ID_BYTES_MAX: Final = 64
"""Of a request: thousands of them are remembered."""

Method = Callable[[Body, float], Awaitable[Body]]


@dataclass(frozen=True, slots=True)
class _Request:
    datacenter: str
    method: str
    body: Body
    id: bytes
    is_write: bool
    waits_s: float
    began_at: float

    def pack(self) -> list[Body]:
        return [self.datacenter, self.method, self.body, self.id, self.is_write, self.waits_s]


@dataclass(frozen=True, slots=True)
class _Hop:
    """The next step of a request: whom to send it to, and as what."""

    method: str
    targets: Sequence[Place]
    slow_s: float


class RemoteCalls:
    """Calls to and from other data centers, on one agent (`datacenters.RemoteAccess`).

    `run` keeps connections open and notices those that are dead.
    """

    def __init__(
        self,
        pool: RpcPool,
        *,
        datacenter: str,
        node_name: str,
        own_servers: Callable[[], Sequence[Address]],
        topology: Topology | None = None,
        methods: Mapping[str, Method] | None = None,
    ) -> None:
        """Take part in calls between data centers.

        Args:
            pool: The connections of this agent.
            datacenter: Ours.
            node_name: Ours; it spreads agents over the servers.
            own_servers: Where alive servers of our data center take calls. Not used by a server.
            topology: A server's.
            methods: What other data centers may call, on a server.
        """
        self.counters: Counter[str] = Counter()
        self._pool, self._topology = pool, topology
        self._datacenter, self._node_name = datacenter.lower(), node_name
        self._own_servers = own_servers
        self._methods = methods or {}
        self._loop = asyncio.get_running_loop()
        self._memory = RequestMemory()
        self._reach = Reach(pool, self._nearest, self.counters)
        self._reads: dict[bytes, asyncio.Task[Body]] = {}
        """Reads of others that are under way, by id."""

    @property
    def methods(self) -> Methods:
        """What other agents may call on a server."""
        return Methods(
            {
                FORWARD: self._handle_forward,
                CALL: self._handle_call,
                SETTLE: self._handle_settle,
                PING: _handle_ping,
            },
            {CANCEL: self._handle_cancel},
        )

    async def call(
        self,
        datacenter: str,
        method: str,
        body: Body,
        *,
        timeout_s: float,
        is_write: bool = False,
        waits_s: float = 0.0,
    ) -> Body:
        """Call a method at a server of another data center; see `RemoteAccess.call`."""
        request = _Request(
            datacenter, method, body, _new_id(), is_write, waits_s, self._loop.time()
        )
        self.counters["calls"] += 1
        ends_at = self._loop.time() + timeout_s
        for _ in range(WRITES_MAX):
            try:
                return await self._send(request, ends_at)
            except _NotDoneError:
                # Only whoever made the request may send it under another id: a server that passed
                # it on might die, and nobody would know to ask for that one.
                request = replace(request, id=_new_id())
        raise UnreachableError

    async def run(self) -> None:
        """Look after connections until cancelled."""
        await self._reach.run()

    async def close(self) -> None:
        """Give up what is being done for other data centers."""
        await self._memory.close()

    # -- sending --------------------------------------------------------------------------------

    async def _send(self, request: _Request, ends_at: float) -> Body:
        """Have a request answered.

        Raises:
            _NotDoneError: It is a write that was sent, and has had no effect.
        """
        hop = self._hop(request)
        if request.is_write:
            return await self._write(request, hop, ends_at)
        return await self._read(request, hop, ends_at)

    def _hop(self, request: _Request) -> _Hop:
        """Who is next.

        Raises:
            NoPathError, UnreachableError: Nobody.
        """
        if self._topology is None:
            addresses = sorted(self._own_servers(), key=self._preference)
            if not addresses:
                raise NoServersError
            targets = [Place(address, "") for address in addresses]
            return _Hop(FORWARD, self._reach.in_order(targets), SLOW_FORWARD_S)
        return _Hop(CALL, self._reach.in_order(self._servers(request.datacenter)), SLOW_S)

    def _servers(self, datacenter: str) -> Sequence[Place]:
        """The servers of another data center.

        Raises:
            NoPathError: There is none of this name.
        """
        wanted = datacenter.lower()
        known = () if self._topology is None else self._topology.datacenters()
        name = next((each for each in known if each.lower() == wanted), None)
        if self._topology is None or name is None or wanted == self._datacenter:
            raise NoPathError
        return [Place(server.address, name) for server in self._topology.servers(name)]

    def _nearest(self) -> Sequence[Place]:
        """The nearest servers of every other data center, which may soon be asked."""
        if self._topology is None:
            return ()
        others = [dc for dc in self._topology.datacenters() if dc.lower() != self._datacenter]
        return [place for dc in others for place in self._servers(dc)[:WARM_SERVERS]]

    def _preference(self, address: Address) -> int:
        """Another order of the servers on each agent, and always the same."""
        return crc32(f"{self._node_name} {address[0]}:{address[1]}".encode())

    async def _read(self, request: _Request, hop: _Hop, ends_at: float) -> Body:
        """The first answer that comes."""
        targets = iter(hop.targets)
        asked: dict[asyncio.Task[Body], Place] = {}
        sent = 0
        failure: SvcmeshError = UnreachableError()
        try:
            while True:
                if sent < ASKED_MAX and (to := next(targets, None)) is not None:
                    asked[self._loop.create_task(self._ask(to, request, hop, ends_at))] = to
                    sent += 1
                elif not asked:
                    raise failure
                may_ask_more = sent < ASKED_MAX and len(asked) == 1
                patience_s = hop.slow_s + request.waits_s if may_ask_more else None
                done, _ = await asyncio.wait(
                    asked, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    to = asked.pop(task)
                    error = task.exception()
                    if error is None:
                        return task.result()
                    failure, was_sent = self._judge(to, error)
                    sent -= not was_sent
        finally:
            for task, to in asked.items():
                task.cancel()
                self._pool.note(to.address, CANCEL, request.id, datacenter=to.datacenter)

    def _judge(self, to: Place, error: BaseException) -> tuple[SvcmeshError, bool]:
        """What a failed read means if nobody else answers; and whether it had been sent.

        Raises:
            SvcmeshError: It is an answer.
        """
        match error:
            case RpcError(code=code) if code in NOT_DONE:
                return _from_rpc(error), True
            case RpcRefusedError():
                self._reach.note_down(to)
                return UnreachableError(), False
            case RpcClosedError():
                self._reach.note_down(to)
                return UnreachableError(), True
            case RpcTimeoutError():
                # It may be busy with just this: whether it is there is found out by pings.
                return UnreachableError(), True
            case RpcError():
                raise _from_rpc(error)
            case _:
                raise error

    async def _write(self, request: _Request, hop: _Hop, ends_at: float) -> Body:
        """The answer of the first server that takes the request.

        Raises:
            _NotDoneError: It was sent, and has had no effect.
        """
        failure: SvcmeshError = UnreachableError()
        for to in hop.targets:
            if self._loop.time() >= ends_at:
                break
            try:
                return await self._ask(to, request, hop, ends_at)
            except RpcRefusedError:
                self._reach.note_down(to)
            except (RpcClosedError, RpcTimeoutError) as error:
                if isinstance(error, RpcClosedError):
                    self._reach.note_down(to)
                return await self._settle(request, hop, to, error, ends_at)
            except RpcError as error:
                if error.code == VOID:
                    raise _NotDoneError from error
                failure = _from_rpc(error)
                if error.code not in NOT_DONE:
                    raise failure from error
        raise failure

    async def _settle(
        self, request: _Request, hop: _Hop, lost: Place, error: SvcmeshError, ends_at: float
    ) -> Body:
        """The answer of a write whose connection was lost.

        Raises:
            _NotDoneError: It has had no effect.
            OutcomeUnknownError: Nobody can say.
        """
        self.counters["settled"] += 1
        # A server of ours may have sent it to any of theirs; another one of ours asks them all.
        others = [to for to in hop.targets if to != lost] or [lost]
        to = lost if hop.method == CALL else others[0]
        age_s = self._loop.time() - request.began_at
        left_s = max(SETTLE_S_MIN, ends_at - self._loop.time())
        try:
            body = [request.datacenter, request.id, age_s]
            return await self._reach.call(to, SETTLE, body, timeout_s=left_s)
        except RpcError as answer:
            if answer.code == VOID:
                raise _NotDoneError from answer
            if answer.code not in (FORGOTTEN, UNKNOWN, NO_PATH, UNREACHABLE, "unknown-method"):
                # It was done, and refused.
                raise _from_rpc(answer) from answer
        except (RpcRefusedError, RpcClosedError, RpcTimeoutError):
            self.counters["not_settled"] += 1
        raise OutcomeUnknownError(
            f"server {lost} did not confirm the write, which may have happened: {error}"
        ) from error

    async def _ask(self, to: Place, request: _Request, hop: _Hop, ends_at: float) -> Body:
        left_s = max(0.001, ends_at - self._loop.time())
        return await self._reach.use(to, hop.method, request.pack(), timeout_s=left_s)

    # -- methods that other agents call -----------------------------------------------------------

    async def _handle_forward(self, body: Body, timeout_s: float) -> Body:
        """`dc.forward`: pass a request of our own data center on."""
        request = self._request_untrusted(body)
        self.counters["forwarded"] += 1
        work = self._send(request, request.began_at + timeout_s * PASSED_ON)
        return await _for_rpc(self._cancellable(request, work))

    async def _handle_call(self, body: Body, timeout_s: float) -> Body:
        """`dc.call`: do what another data center asks for."""
        request = self._request_untrusted(body)
        if request.datacenter.lower() != self._datacenter:
            raise RpcError(NO_PATH, str(NoPathError()))
        method = self._methods.get(request.method)
        if method is None:
            raise RpcError("unknown-method", f"{request.method[:100]} is not for other datacenters")
        self.counters["served"] += 1
        if request.is_write:
            return await self._memory.run(request.id, lambda: method(request.body, timeout_s))
        return await _for_rpc(self._cancellable(request, method(request.body, timeout_s)))

    async def _handle_settle(self, body: Body, timeout_s: float) -> Body:
        """`dc.settle`: what became of a write of another data center, or of one that we sent."""
        match body:
            case [str() as datacenter, bytes() as request_id, int() | float() as age_s] if (
                len(request_id) <= ID_BYTES_MAX
            ):
                age_s = seconds_untrusted(age_s, most_s=SECONDS_MAX)
            case _:
                raise RpcError(REFUSED, f"{SETTLE}: expected [data center, request id, age]")
        if datacenter.lower() == self._datacenter:
            return await self._memory.settle(request_id, age_s=age_s)
        return await self._settle_everywhere(datacenter, request_id, age_s, timeout_s)

    async def _settle_everywhere(
        self, datacenter: str, request_id: bytes, age_s: float, timeout_s: float
    ) -> Body:
        """Ask every server of a data center; void only if it is void at all of them."""
        try:
            targets = self._servers(datacenter)
        except NoPathError as error:
            raise RpcError(NO_PATH, str(error)) from error
        body = [datacenter, request_id, age_s]
        answers = await asyncio.gather(
            *(self._reach.call(to, SETTLE, body, timeout_s=timeout_s) for to in targets),
            return_exceptions=True,
        )
        for answer in answers:
            if not isinstance(answer, BaseException):
                return answer
        problems = [error for error in answers if isinstance(error, BaseException)]
        for problem in problems:
            if isinstance(problem, RpcError) and problem.code not in (VOID, FORGOTTEN):
                raise problem
        if problems and all(isinstance(e, RpcError) and e.code == VOID for e in problems):
            raise RpcError(VOID, "the write has not arrived anywhere and will not be done")
        raise RpcError(UNKNOWN, "not every server can say what became of the write")

    async def _cancellable(self, request: _Request, work: Awaitable[Body]) -> Body:
        """Do it, unless a note says that nobody waits for it any more."""
        task = asyncio.ensure_future(work)
        if not request.is_write:
            self._reads[request.id] = task
        try:
            return await task
        finally:
            self._reads.pop(request.id, None)

    def _handle_cancel(self, body: Body) -> None:
        task = self._reads.get(body) if isinstance(body, bytes) else None
        if task is not None:
            self.counters["cancelled"] += 1
            task.cancel()

    def _request_untrusted(self, body: Body) -> _Request:
        match body:
            case [
                str() as datacenter, str() as method, inner, bytes() as request_id,
                bool() as is_write, int() | float() as waits_s,
            ] if len(request_id) <= ID_BYTES_MAX:  # fmt: skip
                waits_s = seconds_untrusted(waits_s, most_s=SECONDS_MAX)
                return _Request(
                    datacenter, method, inner, request_id, is_write, waits_s, self._loop.time()
                )
            case _:
                raise RpcError(REFUSED, "expected [data center, method, body, id, ...]")


class NoServersError(UnreachableError):
    """No server of our own data center is known, which could ask another one."""

    def __init__(self) -> None:
        SvcmeshError.__init__(self, "No known Consul servers")


class _NotDoneError(SvcmeshError):
    """A write that was sent has had no effect, and will have none."""


async def _handle_ping(_: Body, __: float) -> Body:
    return None


def _new_id() -> bytes:
    return secrets.token_bytes(12)


def _from_rpc(error: RpcError) -> SvcmeshError:
    match error.code:
        case "no-path":
            return NoPathError()
        case "unreachable":
            return UnreachableError()
        case "outcome-unknown":
            return OutcomeUnknownError(error.text)
        case _:
            return error


async def _for_rpc(work: Awaitable[Body]) -> Body:
    try:
        return await work
    except NoPathError as error:
        raise RpcError(NO_PATH, str(error)) from error
    except UnreachableError as error:
        raise RpcError(UNREACHABLE, str(error)) from error
    except OutcomeUnknownError as error:
        raise RpcError(UNKNOWN, str(error)) from error
    except _NotDoneError as error:
        raise RpcError(VOID, "the write was not done") from error
