"""Which keys a lock is made of, as Consul's own clients lay them out, so that both can be mixed.

A mutex is one key that a session acquires. A semaphore is a folder: every contender acquires a key
of its own in it, and `.lock` lists those that hold, changed by compare-and-set.
"""

import json
from base64 import b64decode
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import quote

from svcmesh.client.errors import BadAnswerError, LockConflictError, RequestRefusedError
from svcmesh.client.transport import Transport

MUTEX_FLAGS: Final = 0x2DDCCBC058A50C18
SEMAPHORE_FLAGS: Final = 0xE0F69A2BAA414DE0

Query = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Entry:
    """A key as the agent answered it."""

    key: str
    flags: int
    session: str
    modify_index: int
    value: bytes


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of trying to get the lock."""

    token: int | None
    """The fencing token of whoever has it now; None: somebody else has it."""
    index: int
    """To wait from; 0: nothing to wait for, try again after a pause (the lock delay)."""


class LockKeys(Protocol):
    """How one kind of lock is taken."""

    @property
    def path(self) -> str:
        """For messages."""

    @property
    def behavior(self) -> str:
        """What becomes of a session's keys when it ends: `release` or `delete`."""

    async def attempt(self, session: str) -> Attempt:
        """Try once. Trying again with the lock in hand is fine.

        Raises:
            ClientError: Nobody knows.
        """

    async def wait(self, index: int, *, wait_s: float) -> None:
        """Wait until something has changed since, or the time is over."""

    async def holds(self, session: str, index: int, *, wait_s: float) -> tuple[bool, int]:
        """Whether the session has it, as soon as the index has changed; and the next index."""

    async def release(self, session: str, *, removes: bool) -> bool:
        """Let go of it; whether the key was removed, because nobody else has it."""


class Kv:
    """The key/value calls that locks need."""

    def __init__(self, transport: Transport, *, timeout_s: float) -> None:
        self._transport, self._timeout_s = transport, timeout_s

    async def read(
        self, key: str, *, recurse: bool = False, index: int = 0, wait_s: float = 0.0
    ) -> tuple[list[Entry], int]:
        """The entries there, none when there are none, and the index."""
        query: Query = [("consistent", "")]
        if recurse:
            query.append(("recurse", ""))
        timeout_s = self._timeout_s
        if index:
            query += [("index", str(index)), ("wait", f"{wait_s:.3f}s")]
            # An agent holds a question back for up to a sixteenth longer than it was asked to.
            timeout_s += wait_s * 17 / 16
        try:
            answer = await self._transport.get(_path(key), query, timeout_s=timeout_s)
        except RequestRefusedError as error:
            if error.status == 404:
                return [], 0
            raise
        try:
            return [_entry(each) for each in answer.value], answer.index
        except (TypeError, KeyError, ValueError) as error:
            raise BadAnswerError(f"{key}: not a list of entries: {error!r}") from error

    async def put(self, key: str, value: bytes, *query: tuple[str, str]) -> bool:
        """Write; whether it was done."""
        return bool(
            await self._transport.send("PUT", _path(key), query, value, timeout_s=self._timeout_s)
        )

    async def delete(self, key: str, *query: tuple[str, str]) -> bool:
        """Delete; whether it was done."""
        return bool(
            await self._transport.send("DELETE", _path(key), query, timeout_s=self._timeout_s)
        )


class MutexKey:
    """One key, one holder."""

    behavior = "release"

    def __init__(self, kv: Kv, key: str, value: bytes = b"") -> None:
        self.path = key
        self._kv, self._value = kv, value

    async def attempt(self, session: str) -> Attempt:
        """Acquire the key; see `LockKeys`.

        Raises:
            LockConflictError: The key is something else.
        """
        entries, index = await self._kv.read(self.path)
        held_by = _session(entries)
        if entries and entries[0].flags != MUTEX_FLAGS:
            raise LockConflictError(f"{self.path}: the key does not belong to a lock")
        if held_by and held_by != session:
            return Attempt(None, index)
        acquire = ("acquire", session), ("flags", str(MUTEX_FLAGS))
        if held_by != session and not await self._kv.put(self.path, self._value, *acquire):
            # Somebody was faster, or the lock delay is on: the next attempt shows which.
            return Attempt(None, 0)
        entries, index = await self._kv.read(self.path)
        if _session(entries) != session:
            return Attempt(None, 0)
        # Of the whole store, and it never goes back, also when the key is deleted in between.
        return Attempt(entries[0].modify_index, index)

    async def wait(self, index: int, *, wait_s: float) -> None:
        """Wait for a change of the key."""
        await self._kv.read(self.path, index=index, wait_s=wait_s)

    async def holds(self, session: str, index: int, *, wait_s: float) -> tuple[bool, int]:
        """Whether the key is the session's."""
        entries, index = await self._kv.read(self.path, index=index, wait_s=wait_s)
        return _session(entries) == session, index

    async def release(self, session: str, *, removes: bool) -> bool:
        """Release the key, and delete it if nobody has taken it since."""
        await self._kv.put(
            self.path, self._value, ("release", session), ("flags", str(MUTEX_FLAGS))
        )
        if not removes:
            return False
        entries, _ = await self._kv.read(self.path)
        if not entries or _session(entries):
            return False
        return await self._kv.delete(self.path, ("cas", str(entries[0].modify_index)))


class SemaphoreKeys:
    """A folder, and at most `limit` holders."""

    behavior = "delete"

    def __init__(self, kv: Kv, prefix: str, limit: int, value: bytes = b"") -> None:
        self.path = f"{prefix.rstrip('/')}/.lock"
        self._folder = f"{prefix.rstrip('/')}/"
        self._kv, self._limit, self._value = kv, limit, value

    async def attempt(self, session: str) -> Attempt:
        """Enter the folder and then the list of holders, when there is room; see `LockKeys`.

        Raises:
            LockConflictError: The folder is something else, or has another limit.
        """
        own = f"{self._folder}{session}"
        entries, index = await self._kv.read(self._folder, recurse=True)
        by_key = {entry.key: entry for entry in entries}
        if own not in by_key:
            acquire = ("acquire", session), ("flags", str(SEMAPHORE_FLAGS))
            if not await self._kv.put(own, self._value, *acquire):
                return Attempt(None, 0)
            entries, index = await self._kv.read(self._folder, recurse=True)
            by_key = {entry.key: entry for entry in entries}
        holders, modified = self._holders(by_key)
        if session in holders:
            return Attempt(modified, index)
        if len(holders) >= self._limit:
            return Attempt(None, index)
        if not await self._write(sorted([*holders, session]), modified):
            return Attempt(None, 0)
        entries, index = await self._kv.read(self._folder, recurse=True)
        holders, modified = self._holders({entry.key: entry for entry in entries})
        return Attempt(modified if session in holders else None, index)

    async def wait(self, index: int, *, wait_s: float) -> None:
        """Wait for a change in the folder."""
        await self._kv.read(self._folder, recurse=True, index=index, wait_s=wait_s)

    async def holds(self, session: str, index: int, *, wait_s: float) -> tuple[bool, int]:
        """Whether the session is in the list, and its own key is there."""
        entries, index = await self._kv.read(self._folder, recurse=True, index=index, wait_s=wait_s)
        holders, _ = self._holders({entry.key: entry for entry in entries})
        return session in holders, index

    async def release(self, session: str, *, removes: bool) -> bool:
        """Leave the list and the folder; the last one may take the list away."""
        while True:
            entries, _ = await self._kv.read(self._folder, recurse=True)
            holders, modified = self._holders({entry.key: entry for entry in entries})
            if session not in holders or await self._write(
                [each for each in holders if each != session], modified
            ):
                break
        await self._kv.delete(f"{self._folder}{session}")
        if not removes:
            return False
        entries, _ = await self._kv.read(self._folder, recurse=True)
        holders, modified = self._holders({entry.key: entry for entry in entries})
        if not modified or holders:
            return False
        return await self._kv.delete(self.path, ("cas", str(modified)))

    async def _write(self, holders: list[str], modified: int) -> bool:
        content = {"Limit": self._limit, "Holders": dict.fromkeys(holders, True)}
        value = json.dumps(content).encode()
        return await self._kv.put(
            self.path, value, ("cas", str(modified)), ("flags", str(SEMAPHORE_FLAGS))
        )

    def _holders(self, by_key: dict[str, Entry]) -> tuple[list[str], int]:
        """Those in the list whose session still is, and the index of the list; 0: there is none."""
        entry = by_key.get(self.path)
        if entry is None:
            return [], 0
        if entry.flags != SEMAPHORE_FLAGS:
            raise LockConflictError(f"{self.path}: the key does not belong to a semaphore")
        content = _decoded(entry)
        if content["Limit"] != self._limit:
            raise LockConflictError(
                f"{self.path}: the semaphore's limit is {content['Limit']}, not {self._limit}"
            )
        alive = {
            each.session
            for key, each in by_key.items()
            if each.session and key == f"{self._folder}{each.session}"
        }
        return [each for each in content["Holders"] if each in alive], entry.modify_index


def _entry(value: dict[str, Any]) -> Entry:
    return Entry(
        key=str(value["Key"]),
        flags=int(value["Flags"]),
        session=str(value.get("Session") or ""),
        modify_index=int(value["ModifyIndex"]),
        value=b64decode(value["Value"] or ""),
    )


def _decoded(entry: Entry) -> dict[str, Any]:
    try:
        content = json.loads(entry.value)
        return {"Limit": int(content["Limit"]), "Holders": list(content["Holders"] or ())}
    except (ValueError, TypeError, KeyError) as error:
        raise LockConflictError(f"{entry.key}: not a list of holders: {error!r}") from error


def _session(entries: list[Entry]) -> str:
    return entries[0].session if entries else ""


def _path(key: str) -> str:
    return f"/v1/kv/{quote(key, safe='/')}"
