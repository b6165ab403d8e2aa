"""Clients of the consistent store that note what they asked, when, and what they were told.

Used by `raft_chaos.py`. Each asks whichever server it likes. An answer that says that nothing was
done counts as refused; anything else that is no success leaves the outcome of a write unknown.
"""

import asyncio
import base64
import contextlib
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from random import Random

import aiohttp

from svcmesh.client import AsyncClient, ClientError, LockConfig
from svcmesh.simulate.linearizability import Operation

ANSWER_TIMEOUT_S = 12.0
KEYS = 6
WINDOW_S = 5.0
"""Keys are others after so long, which keeps the history of each short."""
TTL_S = 10.0
HELD_S = 0.3
RAW_LOCK, CLIENT_LOCK = "chaos-lock", "chaos-client-lock"
CLIENT_WAIT_S = 5.0


class RefusedError(Exception):
    """Certainly not done."""


class UnknownError(Exception):
    """Done or not."""


@dataclass
class Hold:
    """A time in which a client was sure to have a lock."""

    lock: str
    client: int
    fence: int
    begins_at: float
    ends_at: float


@dataclass
class Record:
    """What all clients together know."""

    operations: list[Operation] = field(default_factory=list)
    holds: list[Hold] = field(default_factory=list)
    stolen: list[str] = field(default_factory=list)
    """Locks that somebody had no more before the end of the session's time."""
    acknowledged: list[tuple[str, float]] = field(default_factory=list)
    """Keys that are written once and never again, and when they were asked for."""
    written_at: list[tuple[float, float]] = field(default_factory=list)
    """Of every acknowledged write: asked, returned."""
    outcomes: Counter[str] = field(default_factory=Counter)
    longest_s: float = 0.0
    """The longest that anybody waited for any answer."""
    next_value: int = 0


class Client:
    """One client with connections of its own."""

    def __init__(self, number: int, addresses: list[str], record: Record, seed: int) -> None:
        self.number, self.record = number, record
        self._addresses, self._rng = addresses, Random(seed * 1000 + number)
        self._began_at = time.monotonic()
        self._http = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S, connect=1.0)
        )
        # It would send a PUT again whose connection has ended, and tell us of the second only.
        self._http._retry_connection = False

    async def close(self) -> None:
        await self._http.close()

    async def run(self, ends_at: float, pause_s: float) -> None:
        """Read and write until then."""
        while time.monotonic() < ends_at:
            chosen = self._rng.random()
            window = int((time.monotonic() - self._began_at) / WINDOW_S)
            key = f"chaos/{window}/{self._rng.randrange(KEYS)}"
            if chosen < 0.35:
                await self.put(key)
            elif chosen < 0.55:
                await self.compare(key)
            elif chosen < 0.75:
                await self.get(key, "consistent")
            elif chosen < 0.9:
                await self.get(key, "")
            else:
                await self.add()
            await asyncio.sleep(pause_s * self._rng.random() * 2)

    async def run_probe(self, ends_at: float) -> None:
        """Write again and again, to notice when that is possible; the server is always the same.

        The other clients all end up waiting for a server that is stopped, one after the other.
        """
        while time.monotonic() < ends_at:
            await self.add()
            await asyncio.sleep(0.05)

    async def run_lock(self, ends_at: float) -> None:
        """Take and give back one lock until then."""
        while time.monotonic() < ends_at:
            await asyncio.sleep(0.05)
            session = ""
            try:
                began_at = time.monotonic()
                session = await self._make_session()
                await self._lock_with(session, began_at, ends_at)
            except (RefusedError, UnknownError):
                # A release that is still on its way would undo a later acquisition with the same
                # session: that is over, and the next one is another.
                await self._destroy_session(session)

    async def run_client_lock(self, ends_at: float) -> None:
        """The same by the client library, which decides itself for how long it has the lock."""
        config = LockConfig(ttl_s=TTL_S, lock_delay_s=0.0)
        while time.monotonic() < ends_at:
            await asyncio.sleep(0.05 * self._rng.random())
            async with AsyncClient(f"{self._rng.choice(self._addresses)}:8500") as client:
                with contextlib.suppress(ClientError):
                    async with client.lock(
                        CLIENT_LOCK, config=config, wait_s=CLIENT_WAIT_S
                    ) as lock:
                        begins_at = held_at = time.monotonic()
                        hold = Hold(CLIENT_LOCK, self.number, lock.token, begins_at, begins_at)
                        self.record.holds.append(hold)
                        leaves_at = begins_at + HELD_S * self._rng.random()
                        while lock.is_held and held_at < leaves_at:
                            hold.ends_at = held_at
                            await asyncio.sleep(0.01)
                            held_at = time.monotonic()

    async def _lock_with(self, session: str, renewed_at: float, ends_at: float) -> None:
        while time.monotonic() < ends_at:
            await asyncio.sleep(0.05 * self._rng.random())
            now = time.monotonic()
            if now - renewed_at > TTL_S / 3:
                if await self._ask("PUT", f"/v1/session/renew/{session}") is None:
                    raise RefusedError("the session is over")
                renewed_at = now
            is_ours = await self._ask("PUT", f"/v1/kv/{RAW_LOCK}?acquire={session}", b"x")
            if is_ours is not True:
                continue
            acquired_at = time.monotonic()
            entry = await self._read(RAW_LOCK, "consistent")
            if time.monotonic() >= renewed_at + TTL_S:
                raise UnknownError("too late to have anything for certain")
            if entry.get("Session") != session:
                self.record.stolen.append(f"client {self.number}, session {session}: {entry}")
                raise RefusedError("the lock is somebody else's")
            await asyncio.sleep(HELD_S * self._rng.random())
            ends = min(time.monotonic(), renewed_at + TTL_S)
            fence = int(str(entry["LockIndex"]))
            self.record.holds.append(Hold(RAW_LOCK, self.number, fence, acquired_at, ends))
            await self._ask("PUT", f"/v1/kv/{RAW_LOCK}?release={session}", b"x")

    # -- operations -----------------------------------------------------------------------------

    async def put(self, key: str) -> None:
        """Write a new value."""
        value = self._new_value()
        await self._note("put", key, (value,), f"/v1/kv/{key}", value)

    async def compare(self, key: str) -> None:
        """Write a new value if nobody has since we looked."""
        try:
            seen = await self._read(key, "consistent")
        except (RefusedError, UnknownError):
            return
        value = self._new_value()
        index = seen.get("ModifyIndex", 0)
        await self._note("cas", key, (_value(seen), value), f"/v1/kv/{key}?cas={index}", value)

    async def add(self) -> None:
        """Write a key of its own."""
        key = f"chaos-once/{self._new_value()}"
        asked_at = time.monotonic()
        try:
            await self._ask("PUT", f"/v1/kv/{key}", b"1")
        except (RefusedError, UnknownError):
            return
        self.record.acknowledged.append((key, asked_at))
        self.record.written_at.append((asked_at, time.monotonic()))

    async def get(self, key: str, mode: str) -> None:
        """Read a key."""
        operation = Operation(self.number, key, "get", (), time.monotonic())
        try:
            operation.result = _value(await self._read(key, mode))
        except (RefusedError, UnknownError):
            return
        operation.returned_at = time.monotonic()
        self.record.operations.append(operation)

    async def _note(
        self, kind: str, key: str, argument: tuple[int, ...], path: str, value: int
    ) -> None:
        operation = Operation(self.number, key, kind, argument, time.monotonic())
        self.record.operations.append(operation)
        try:
            operation.result = await self._ask("PUT", path, b"%d" % value)
        except RefusedError:
            operation.is_refused = True
        except UnknownError:
            pass
        else:
            operation.returned_at = time.monotonic()
            if operation.result is True:
                self.record.written_at.append((operation.asked_at, operation.returned_at))

    def _new_value(self) -> int:
        self.record.next_value += 1
        return self.record.next_value

    async def _make_session(self) -> str:
        # No checks: what is looked at here is the time that the session has.
        wanted = {"TTL": f"{TTL_S:.0f}s", "LockDelay": "0s", "Checks": [], "Behavior": "release"}
        made = await self._ask("PUT", "/v1/session/create", json.dumps(wanted).encode())
        return str(made["ID"])  # type: ignore[index]  # Consul's form

    async def _destroy_session(self, session: str) -> None:
        """End a session for certain, or leave it to its time."""
        ends_at = time.monotonic() + 2 * TTL_S
        while session and time.monotonic() < ends_at:
            with contextlib.suppress(RefusedError, UnknownError):
                await self._ask("PUT", f"/v1/session/destroy/{session}")
                return
            await asyncio.sleep(0.1)

    async def _read(self, key: str, mode: str) -> dict[str, object]:
        found = await self._ask("GET", f"/v1/kv/{key}?{mode}")
        return found[0] if found else {}  # type: ignore[index,no-any-return]  # Consul's form

    async def _ask(self, method: str, path: str, body: bytes | None = None) -> object:
        address = self._rng.choice(self._addresses)
        began_at = time.monotonic()
        outcome = "unknown"
        try:
            async with self._http.request(method, f"http://{address}:8500{path}", data=body) as got:
                content = await got.read()
                if got.status == 404:
                    outcome = "answered"
                    return None
                if got.status == 200:
                    outcome = "answered"
                    return json.loads(content) if content.strip() else None
                text = content.decode()
                if "No cluster leader" in text or "invalid session" in text:
                    outcome = "refused"
                    raise RefusedError(text)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            outcome = "refused"
            raise RefusedError(str(error)) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise UnknownError(str(error)) from error
        finally:
            self.record.outcomes[f"{method} {outcome}"] += 1
            waited_s = time.monotonic() - began_at
            self.record.longest_s = max(self.record.longest_s, waited_s)
        raise UnknownError(text)


def _value(entry: dict[str, object]) -> int:
    return int(base64.b64decode(str(entry["Value"]))) if entry else 0
