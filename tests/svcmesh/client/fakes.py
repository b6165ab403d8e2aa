"""A stand-in for an agent that can be stopped, restarted, and made to forget."""

import asyncio
import base64
import contextlib
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

from aiohttp import web

from svcmesh.api.listeners import stop_accepting
from svcmesh.client import AsyncClient, ClientConfig, PickerConfig, WatchConfig

EAGER = ClientConfig(
    timeout_s=2.0,
    watch=WatchConfig(wait_s=20.0, pace_s=0.0, poll_s=0.01, retry_s_min=0.01, retry_s_max=0.02),
    picker=PickerConfig(aside_s_min=0.1),
    seed=1,
)
"""Pauses so short that a test does not notice them."""


DEADLINE_S = 60.0


class FakeAgent:
    """Services of one node, blocking queries, checks that are fed."""

    def __init__(self) -> None:
        self.services: dict[str, dict[str, Any]] = {}
        self.statuses: dict[str, str] = {}
        """By check id."""
        self.index = 100
        self.requests: list[str] = []
        self.tokens: list[str] = []
        self.refusals: dict[str, int] = {}
        """Status to answer with, by a part of the path."""
        self.coordinates: list[dict[str, Any]] = []
        self.keys: dict[str, dict[str, Any]] = {}
        self.sessions: dict[str, dict[str, Any]] = {}
        self.delayed: set[str] = set()
        """Keys on which a lock delay is."""
        self.port = 0
        self._changed = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._listener: asyncio.Server

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self, *, tls: ssl.SSLContext | None = None, path: Path | None = None) -> None:
        """Listen, on the same port as before, or on a Unix socket."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.01)
        await self._runner.setup()
        server, loop = self._runner.server, asyncio.get_running_loop()
        assert server is not None
        if path is not None:
            self._listener = await loop.create_unix_server(server, path)
            return
        self._listener = await loop.create_server(
            server, "127.0.0.1", self.port, reuse_address=True, ssl=tls
        )
        self.port = self._listener.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Drop every connection."""
        assert self._runner is not None
        await stop_accepting([self._listener])
        await self._runner.cleanup()
        self._runner = None

    def forget(self) -> None:
        """What a restart without a data directory does."""
        self.services.clear()
        self.statuses.clear()
        self.index = 3
        self._wake()

    def put(self, service_id: str, name: str = "web", port: int = 80, **more: Any) -> None:  # noqa: ANN401  # JSON
        self.services[service_id] = {"ID": service_id, "Name": name, "Port": port, **more}
        self.touch()

    def remove(self, service_id: str) -> None:
        del self.services[service_id]
        self.touch()

    def touch(self) -> None:
        """A change of something else: another index, the same instances."""
        self.index += 1
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _answer(self, request: web.Request) -> web.Response:
        path = request.path
        self.requests.append(f"{request.method} {request.path_qs}")
        if token := request.headers.get("X-Consul-Token"):
            self.tokens.append(token)
        for part, status in self.refusals.items():
            if part in path:
                return web.Response(status=status, text="refused")
        name = path.rpartition("/")[2]
        if path.startswith("/v1/health/service/"):
            return await self._instances(name, request)
        if path.startswith("/v1/query/"):
            return self._execute(path.split("/")[3], request)
        if path == "/v1/catalog/services":
            return web.json_response({s["Name"]: s.get("Tags", []) for s in self.services.values()})
        if path.startswith("/v1/kv/"):
            return await self._key(path.removeprefix("/v1/kv/"), request)
        if path.startswith("/v1/session/"):
            return await self._session(path.split("/")[3], name, request)
        if path == "/v1/agent/self":
            return web.json_response({"Config": {"NodeName": "n1"}})
        if path == "/v1/coordinate/nodes":
            return web.json_response(self.coordinates)
        if path == "/v1/agent/service/register":
            body = await request.json()
            for check in body.get("Checks", []):
                if "CheckID" in check:
                    self.statuses[check["CheckID"]] = check["Status"]
            self.put(body["ID"], body["Name"], body["Port"], **body)
        elif path.startswith("/v1/agent/service/deregister/"):
            if name not in self.services:
                return web.Response(status=404, text=f"Unknown service {name}")
            self.statuses.pop(f"service:{name}", None)
            self.remove(name)
        elif path.startswith("/v1/agent/check/update/"):
            if name not in self.statuses:
                return web.Response(status=500, text="no such check")
            status = (await request.json())["Status"]
            if self.statuses[name] != status:
                self.statuses[name] = status
                self.touch()
        elif path.startswith("/v1/agent/service/"):
            if name not in self.services:
                return web.Response(status=404)
            return web.json_response(self.services[name])
        else:
            return web.Response(status=404)
        return web.Response()

    def write(self, key: str, value: bytes = b"", *, flags: int = 0, session: str = "") -> None:
        """Put a key as it is."""
        self.touch()
        encoded = base64.b64encode(value).decode() or None
        self.keys[key] = {"Key": key, "Flags": flags, "Value": encoded, "Session": session or None,
                          "ModifyIndex": self.index}  # fmt: skip

    def end_session(self, session: str) -> None:
        """What the servers do when its TTL is over."""
        ended = self.sessions.pop(session)
        for key, entry in list(self.keys.items()):
            if entry["Session"] == session:
                if ended["Behavior"] == "delete":
                    del self.keys[key]
                else:
                    entry["Session"] = None
        self.touch()

    async def _session(self, verb: str, name: str, request: web.Request) -> web.Response:
        if verb == "create":
            session = f"s{len(self.requests)}"
            self.sessions[session] = await request.json()
            return web.json_response({"ID": session})
        if verb == "destroy":
            if name in self.sessions:
                self.end_session(name)
            return web.json_response(True)
        if name not in self.sessions:
            return web.Response(status=404, text="not found")
        return web.json_response([{"ID": name}])

    async def _key(self, key: str, request: web.Request) -> web.Response:
        query = request.query
        entry = self.keys.get(key)
        if request.method == "GET":
            if int(query.get("index", 0)) == self.index:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(float(query["wait"].removesuffix("s"))):
                        await self._changed.wait()
            found = [each for name, each in sorted(self.keys.items())
                     if (name.startswith(key) if "recurse" in query else name == key)]  # fmt: skip
            if not found:
                return web.Response(status=404)
            return web.json_response(found, headers={"X-Consul-Index": str(self.index)})
        modified = entry["ModifyIndex"] if entry else 0
        holder = entry["Session"] if entry else None
        done = int(query.get("cas", modified)) == modified
        if "acquire" in query:
            done = holder in (None, query["acquire"]) and key not in self.delayed
            if query["acquire"] not in self.sessions:
                return web.Response(status=500, text="invalid session")
        if "release" in query:
            done = holder == query["release"]
        if done and request.method == "DELETE":
            self.keys.pop(key, None)
            self.touch()
        elif done:
            session = query.get("acquire") or ("" if "release" in query else holder or "")
            flags = int(query.get("flags", 0))
            self.write(key, await request.read(), flags=flags, session=session)
        return web.json_response(done)

    def _execute(self, name: str, request: web.Request) -> web.Response:
        """A query of this name on the service of this name; `elsewhere` has failed over."""
        if name != "elsewhere" and not self._entries(name):
            return web.Response(status=404, text="Query not found")
        limit = int(request.query.get("limit", 0)) or None
        is_here = name != "elsewhere"
        return web.json_response(
            {
                "Service": name,
                "Nodes": self._entries(name if is_here else "web")[:limit],
                "Datacenter": "dc1" if is_here else "dc2",
                "Failovers": 0 if is_here else 2,
            }
        )

    async def _instances(self, name: str, request: web.Request) -> web.Response:
        if int(request.query.get("index", 0)) == self.index:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(float(request.query["wait"].removesuffix("s"))):
                    await self._changed.wait()
        headers = {"X-Consul-Index": str(self.index)}
        return web.json_response(self._entries(name), headers=headers)

    def _entries(self, name: str) -> list[dict[str, Any]]:
        return [
            {
                "Node": {"Node": service.get("Node", "n1"), "Address": "127.0.0.9"},
                "Service": {**service, "Service": name},
                "Checks": [
                    {"CheckID": check_id, "Status": status}
                    for check_id, status in self.statuses.items()
                    if check_id == f"service:{service['ID']}"
                ],
            }
            for service in self.services.values()
            if service["Name"] == name
        ]


@contextlib.asynccontextmanager
async def agent_and_client(
    config: ClientConfig = EAGER,
) -> AsyncIterator[tuple[FakeAgent, AsyncClient]]:
    agent = FakeAgent()
    await agent.start()
    try:
        async with AsyncClient(agent.address, config=config) as client:
            yield agent, client
    finally:
        if agent._runner is not None:  # our own
            await agent.stop()


def run(scenario: Coroutine[Any, Any, None]) -> None:
    """Run a scenario with a deadline, and see that no task outlives it."""

    async def main() -> None:
        async with asyncio.timeout(15):
            await scenario
        # The server's side of closed connections ends with the next turns of the loop.
        for _ in range(5):
            await asyncio.sleep(0)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, left

    asyncio.run(main())


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds; the scenario's deadline is the bound."""
    while not condition():  # noqa: ASYNC110  # the client has no event for a test to wait on
        await asyncio.sleep(0.005)


class AgentThread:
    """A `FakeAgent` that is told what to do from other threads."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake agent")
        self._thread.start()
        self.fake = self.do(self._make)
        self.start()

    async def _make(self) -> FakeAgent:
        return FakeAgent()

    def do(self, work: Callable[[], Any]) -> Any:  # noqa: ANN401  # whatever the work gives
        return asyncio.run_coroutine_threadsafe(work(), self._loop).result(DEADLINE_S)

    def start(self) -> None:
        self.do(self.fake.start)

    def stop(self) -> None:
        self.do(self.fake.stop)

    def put(self, service_id: str) -> None:
        async def put() -> None:
            self.fake.put(service_id)

        self.do(put)

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        # Connections that were closed last are let go of in the next turns.
        self._loop.run_until_complete(self._let_go())
        self._loop.close()

    async def _let_go(self) -> None:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        for _ in range(5):
            await asyncio.sleep(0)
