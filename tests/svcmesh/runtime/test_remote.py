"""Calls between data centers over real sockets: who is asked, how often, and what is said of it."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest

from svcmesh.consensus.service import OutcomeUnknownError
from svcmesh.datacenters import Address, NoPathError, UnreachableError
from svcmesh.rpc import Methods, RpcClosedError, RpcError, RpcPool, RpcServer
from svcmesh.runtime import reach, remote, requests
from svcmesh.runtime.remote import Method, NoServersError, RemoteCalls


@dataclass(frozen=True)
class Place:
    address: Address


class Map:
    """Data centers and their servers, the same for everybody."""

    def __init__(self) -> None:
        self.addresses: dict[str, list[Address]] = {}

    def datacenters(self) -> Sequence[str]:
        return list(self.addresses)

    def servers(self, datacenter: str) -> Sequence[Place]:
        return [Place(address) for address in self.addresses[datacenter]]


class Server:
    """A server agent, as far as calls between data centers go."""

    def __init__(self, name: str, datacenter: str, world: Map) -> None:
        self.name, self.pool = name, RpcPool()
        self.asked: list[object] = []
        self.writes: list[object] = []
        self.hold = asyncio.Event()
        self.began = asyncio.Event()
        self.cancelled = 0
        self.pings = 0
        self.is_silent = False
        self.methods: dict[str, Method] = {
            "name": self.say_name,
            "wait": self.wait,
            "write": self.write,
            "refuse": self.refuse,
            "left": self.left,
        }
        self.remote = RemoteCalls(
            self.pool,
            datacenter=datacenter,
            node_name=name,
            own_servers=lambda: (),
            topology=world,
            methods=self.methods,
        )
        offered = self.remote.methods
        self.rpc = RpcServer(Methods({**offered.calls, remote.PING: self.ping}, offered.notes))
        self.address: Address = ("", 0)

    async def start(self) -> None:
        self.address = await self.rpc.start("127.0.0.1", 0)

    async def die(self) -> None:
        await self.rpc.close()

    async def ping(self, _: object, __: float) -> object:
        self.pings += 1
        if self.is_silent:
            await asyncio.Event().wait()
        return None

    async def say_name(self, body: object, _: float) -> object:
        self.asked.append(body)
        return self.name

    async def left(self, _: object, left_s: float) -> object:
        return left_s

    async def refuse(self, _: object, __: float) -> object:
        raise RpcError("refused", "not that")

    async def wait(self, body: object, _: float) -> object:
        self.began.set()
        try:
            await self.hold.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return self.name

    async def write(self, body: object, _: float) -> object:
        self.began.set()
        await self.hold.wait()
        self.writes.append(body)
        return [self.name, body]


class World:
    """dc1 and dc2 of two servers each, and a client of dc1."""

    def __init__(self) -> None:
        self.map = Map()
        self.servers = {
            name: Server(name, datacenter, self.map)
            for name, datacenter in (("a", "dc1"), ("b", "dc1"), ("x", "dc2"), ("y", "dc2"))
        }
        self.pool = RpcPool()
        self.client = RemoteCalls(
            self.pool, datacenter="dc1", node_name="c", own_servers=self.own_servers
        )
        self.is_reachable = True

    def own_servers(self) -> Sequence[Address]:
        return self.map.addresses["dc1"]

    def __getitem__(self, name: str) -> Server:
        return self.servers[name]

    def first_of_own(self) -> Server:
        """The server of its own that the client has asked first."""
        return next(s for s in self.servers.values() if s.remote.counters["forwarded"])

    async def start(self) -> None:
        for server in self.servers.values():
            await server.start()
        self.map.addresses = {
            "dc1": [self["a"].address, self["b"].address],
            "dc2": [self["x"].address, self["y"].address],
        }


def run(scenario: Callable[[World], Coroutine[None, None, None]]) -> None:
    async def main() -> None:
        world = World()
        async with asyncio.timeout(60), AsyncExitStack() as opened:
            for server in world.servers.values():
                opened.push_async_callback(server.pool.close)
                opened.push_async_callback(server.rpc.close)
                opened.push_async_callback(server.remote.close)
            opened.push_async_callback(world.pool.close)
            await world.start()
            await scenario(world)

    asyncio.run(main())


def test_a_server_asks_the_nearest_server_of_the_other_data_center() -> None:
    async def scenario(world: World) -> None:
        assert await world["a"].remote.call("DC2", "name", None, timeout_s=5.0) == "x"

    run(scenario)


def test_a_client_asks_by_way_of_a_server_of_its_own() -> None:
    async def scenario(world: World) -> None:
        assert await world.client.call("dc2", "name", None, timeout_s=5.0) == "x"
        assert world.first_of_own().remote.counters["forwarded"] == 1

    run(scenario)


def test_deadlines_travel_and_shrink() -> None:
    async def scenario(world: World) -> None:
        left_s = await world.client.call("dc2", "left", None, timeout_s=5.0)
        assert 4.0 < left_s < 5.0

    run(scenario)


def test_an_unknown_data_center_is_said_to_have_no_path() -> None:
    async def scenario(world: World) -> None:
        for caller in (world["a"].remote, world.client):
            with pytest.raises(NoPathError, match="No path to datacenter"):
                await caller.call("dc9", "name", None, timeout_s=5.0)

    run(scenario)


def test_a_client_without_servers_says_so() -> None:
    async def scenario(world: World) -> None:
        world.map.addresses["dc1"] = []
        with pytest.raises(NoServersError, match="No known Consul servers"):
            await world.client.call("dc2", "name", None, timeout_s=5.0)

    run(scenario)


def test_a_request_never_goes_on_to_a_third_data_center() -> None:
    async def scenario(world: World) -> None:
        world.map.addresses["dc3"] = world.map.addresses["dc2"]
        with pytest.raises(NoPathError):
            await world["a"].remote.call("dc3", "name", None, timeout_s=5.0)
        assert world["x"].asked == []

    run(scenario)


def test_only_what_is_meant_for_other_data_centers_can_be_called() -> None:
    async def scenario(world: World) -> None:
        with pytest.raises(RpcError, match="not for other datacenters"):
            await world.client.call("dc2", "raft.status", None, timeout_s=5.0)

    run(scenario)


def test_the_errors_of_a_method_come_back() -> None:
    async def scenario(world: World) -> None:
        with pytest.raises(RpcError, match="not that") as refused:
            await world.client.call("dc2", "refuse", None, timeout_s=5.0)
        assert refused.value.code == "refused"

    run(scenario)


def test_a_server_that_knows_too_little_yet_is_passed_by() -> None:
    async def has_just_started(_: object, __: float) -> object:
        raise UnreachableError

    async def scenario(world: World) -> None:
        world["x"].methods["name"] = has_just_started
        assert await world.client.call("dc2", "name", None, timeout_s=5.0) == "y"
        world["y"].methods["name"] = has_just_started
        with pytest.raises(UnreachableError):
            await world.client.call("dc2", "name", None, timeout_s=5.0)

    run(scenario)


@pytest.mark.parametrize("dead", [["a"], ["b"], ["x"], ["a", "x"]])
def test_reads_pass_dead_servers_by(dead: list[str]) -> None:
    async def scenario(world: World) -> None:
        for name in dead:
            await world[name].die()
        answer = await world.client.call("dc2", "name", None, timeout_s=5.0)
        assert answer == ("y" if "x" in dead else "x")

    run(scenario)


def test_nobody_reachable_is_said_within_the_deadline() -> None:
    async def scenario(world: World) -> None:
        await world["x"].die()
        await world["y"].die()
        for _ in range(3):
            with pytest.raises(UnreachableError, match="no server currently reachable"):
                await world.client.call("dc2", "name", None, timeout_s=2.0)
        assert world.first_of_own().remote.counters["servers_skipped"] == 2

    run(scenario)


def test_a_read_whose_server_dies_meanwhile_is_sent_to_another() -> None:
    async def scenario(world: World) -> None:
        for server in (world["x"], world["y"]):
            server.methods["name"] = server.wait
        reading = asyncio.create_task(world.client.call("dc2", "name", None, timeout_s=5.0))
        await world["x"].began.wait()
        await world["x"].die()
        await world["y"].began.wait()
        world["y"].hold.set()
        assert await reading == "y"

    run(scenario)


def test_a_read_that_its_own_server_dies_with_is_sent_to_another() -> None:
    async def scenario(world: World) -> None:
        reading = asyncio.create_task(world.client.call("dc2", "wait", None, timeout_s=5.0))
        await world["x"].began.wait()
        await world.first_of_own().die()
        world["x"].hold.set()
        assert await reading == "x"

    run(scenario)


def test_a_slow_server_is_helped_out_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "SLOW_S", 0.05)

    async def scenario(world: World) -> None:
        world["x"].methods["name"] = world["x"].wait
        assert await world["a"].remote.call("dc2", "name", None, timeout_s=5.0) == "y"
        # What nobody waits for any more does not go on.
        while not world["x"].cancelled:  # noqa: ASYNC110 -- bounded by the scenario's timeout
            await asyncio.sleep(0.01)

    run(scenario)


def test_what_waits_on_purpose_is_not_taken_for_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "SLOW_S", 0.01)

    async def scenario(world: World) -> None:
        reading = asyncio.create_task(
            world["a"].remote.call("dc2", "wait", None, timeout_s=9.0, waits_s=5.0)
        )
        await asyncio.sleep(0.1)
        world["x"].hold.set()
        assert await reading == "x"
        assert not world["y"].began.is_set()

    run(scenario)


def test_a_client_that_gives_up_ends_the_read_there() -> None:
    async def scenario(world: World) -> None:
        reading = asyncio.create_task(world.client.call("dc2", "wait", None, timeout_s=9.0))
        await world["x"].began.wait()
        reading.cancel()
        while not world["x"].cancelled:  # noqa: ASYNC110 -- bounded by the scenario's timeout
            await asyncio.sleep(0.01)

    run(scenario)


def test_a_write_happens_once() -> None:
    async def scenario(world: World) -> None:
        world["x"].hold.set()
        answer = await world.client.call("dc2", "write", 7, timeout_s=5.0, is_write=True)
        assert answer == ["x", 7]
        assert (world["x"].writes, world["y"].writes) == ([7], [])

    run(scenario)


def test_a_write_goes_to_another_server_if_it_was_not_sent() -> None:
    async def scenario(world: World) -> None:
        await world["x"].die()
        world["y"].hold.set()
        answer = await world.client.call("dc2", "write", 7, timeout_s=5.0, is_write=True)
        assert answer == ["y", 7]

    run(scenario)


def test_a_write_whose_server_died_has_an_unknown_outcome() -> None:
    async def scenario(world: World) -> None:
        writing = asyncio.create_task(
            world.client.call("dc2", "write", 7, timeout_s=5.0, is_write=True)
        )
        await world["x"].began.wait()
        await world["x"].die()
        with pytest.raises(OutcomeUnknownError, match="may have happened"):
            await writing
        assert world["y"].writes == []

    run(scenario)


@pytest.fixture
def long_running(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers have been there for as long as anybody asks about."""
    monkeypatch.setattr(requests, "TRANSIT_S", -60.0)


@pytest.mark.usefixtures("long_running")
def test_the_outcome_of_a_write_is_asked_for_when_its_connection_is_lost() -> None:
    async def scenario(world: World) -> None:
        writing = asyncio.create_task(
            world["a"].remote.call("dc2", "write", 7, timeout_s=5.0, is_write=True)
        )
        await world["x"].began.wait()
        world["a"].pool.drop(world["x"].address)
        world["x"].hold.set()
        assert await writing == ["x", 7]
        assert (world["x"].writes, world["y"].writes) == ([7], [])

    run(scenario)


@pytest.mark.usefixtures("long_running")
def test_a_write_survives_the_server_of_its_own_that_passed_it_on() -> None:
    async def scenario(world: World) -> None:
        writing = asyncio.create_task(
            world.client.call("dc2", "write", 7, timeout_s=5.0, is_write=True)
        )
        await world["x"].began.wait()
        await world.first_of_own().die()
        world["x"].hold.set()
        assert await writing == ["x", 7]
        assert (world["x"].writes, world["y"].writes) == ([7], [])

    run(scenario)


@pytest.mark.usefixtures("long_running")
def test_a_write_that_was_lost_on_the_way_is_sent_anew_and_its_old_copy_does_nothing() -> None:
    async def scenario(world: World) -> None:
        world["y"].hold.set()
        caller = world["a"]
        lost: list[object] = []
        real = caller.pool.call

        async def lose_the_first(
            to: Address, method: str, body: object, *, timeout_s: float, datacenter: str = ""
        ) -> object:
            if method == remote.CALL and not lost:
                lost.append(body)
                raise RpcClosedError("cut")
            return await real(to, method, body, timeout_s=timeout_s)

        caller.pool.call = lose_the_first  # type: ignore[method-assign] -- a bad network
        answer = await caller.remote.call("dc2", "write", 7, timeout_s=5.0, is_write=True)
        assert answer == ["y", 7]
        with pytest.raises(RpcError) as late:
            await real(world["x"].address, remote.CALL, lost[0], timeout_s=5.0)
        assert late.value.code == requests.VOID
        assert (world["x"].writes, world["y"].writes) == ([], [7])

    run(scenario)


@pytest.mark.usefixtures("long_running")
def test_only_who_made_a_write_sends_it_under_another_id() -> None:
    async def scenario(world: World) -> None:
        for name in ("x", "y"):
            world[name].hold.set()
        ids: list[object] = []
        for name in ("a", "b"):
            pool = world[name].pool
            real = pool.call

            async def lose_the_first(
                to: Address, method: str, body: object, *, timeout_s: float, datacenter: str = "",
                real: Callable[..., Coroutine[None, None, object]] = real,
            ) -> object:  # fmt: skip
                if method == remote.CALL:
                    assert isinstance(body, list)
                    ids.append(body[3])
                    if len(ids) == 1:
                        raise RpcClosedError("cut")
                return await real(to, method, body, timeout_s=timeout_s, datacenter=datacenter)

            pool.call = lose_the_first  # type: ignore[method-assign] -- a bad network
        await world.client.call("dc2", "write", 7, timeout_s=5.0, is_write=True)
        assert world["x"].writes + world["y"].writes == [7]
        assert sum(world[name].remote.counters["forwarded"] for name in ("a", "b")) == 2
        assert len(set(map(str, ids))) == 2

    run(scenario)


@pytest.mark.parametrize(
    "body",
    [
        *(None, 1, [], ["dc2", "name"], {"dc": 1}, ["dc2"] * 6, [b"dc2"] * 6),
        ["dc2", "name", None, b"i" * 65, True, 0.0],
        ["dc2", b"i" * 65, 0.0],
    ],
)
def test_bodies_that_are_no_requests_are_refused(body: object) -> None:
    async def scenario(world: World) -> None:
        for method in (remote.FORWARD, remote.CALL, remote.SETTLE):
            with pytest.raises(RpcError) as refused:
                await world.pool.call(world["x"].address, method, body, timeout_s=5.0)
            assert refused.value.code == "refused"
        world.pool.note(world["x"].address, remote.CANCEL, body)

    run(scenario)


def test_connections_are_made_before_they_are_needed_and_dead_ones_are_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reach, "PING_S", 0.01)
    monkeypatch.setattr(reach, "PING_TIMEOUT_S", 0.1)

    async def scenario(world: World) -> None:
        looking = asyncio.create_task(world["a"].remote.run())
        while not (world["x"].pings and world["y"].pings):  # noqa: ASYNC110 -- as above
            await asyncio.sleep(0.01)
        assert not world["b"].pings
        world["x"].is_silent = True
        world["x"].methods["name"] = world["x"].wait
        # It waits at a server that says nothing any more, and is asked of another one.
        assert await world["a"].remote.call("dc2", "name", None, timeout_s=0.9) == "y"
        looking.cancel()

    run(scenario)
