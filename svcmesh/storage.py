"""The agent's own state on disk: identity, epoch, services, keyring, known peers, index blocks.

Registrations, which come by the thousand, are lines of one journal (`journal.py`). Every other file
is small and replaced whole: written beside the old one, fsynced, renamed, the folder fsynced. A
crash at any instant leaves the old or the new content. A file that cannot be read as what it should
be is set aside as `NAME.corrupt`, and the rest loads.

With no folder (`-dev`) everything stays in memory. Blocking: the asyncio side is in
`runtime/writer.py`.
"""

import base64
import binascii
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar
from uuid import UUID

from gossip.serf.lamport import LamportTimes
from gossip.types import Address, MemberName, Peer
from svcmesh.catalog.records import HealthStatus
from svcmesh.durable import fsync_folder, replace_file, write_all
from svcmesh.errors import StorageError
from svcmesh.journal import Journal

T = TypeVar("T")

INCARNATION_MAX: Final = 2**32 - 2**24
"""A start never uses a higher incarnation, so that refuting always has room above it."""

INDEX_BLOCK: Final = 1 << 20
"""Catalog indexes reserved on disk at a time."""


REGISTRATIONS: Final = ("services/", "checks/", "ttl-states/")
"""Names that begin so are kept in the journal."""

_CLOCKS: Final = ("member", "event", "query")

JsonObject = dict[str, object]


class TtlState(NamedTuple):
    """What a TTL check said last, and until when it holds."""

    check_id: str
    status: HealthStatus
    output: str
    expires_utc: float
    """Wall clock, seconds."""


class PoolFiles(NamedTuple):
    """The files of one gossip pool."""

    keyring: str
    peers: str
    clocks: str


LAN_FILES: Final = PoolFiles("serf/local.keyring", "serf/peers.json", "serf/clocks.json")
WAN_FILES: Final = PoolFiles("serf/remote.keyring", "serf/wan-peers.json", "serf/wan-clocks.json")


class DataDir:
    """One agent's data directory, held under a lock from opening to closing.

    Writes are plans first (`service_file` and kin give a name and content), so that a group of them
    can be committed with one pass: `commit`.
    """

    def __init__(self, root: Path | None) -> None:
        """Open, creating what is missing.

        Raises:
            StorageError: Not writable, or in use by another agent.
        """
        self.root = root
        self.warnings: list[str] = []
        """What was set aside while loading, for the log."""
        self._memory: dict[str, bytes] = {}
        """What the journal has; without a folder, everything."""
        self._lock_fd: int | None = None
        if root is None:
            return
        try:
            for folder in (root, root / "serf"):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock_fd = _locked(root / "lock")
        except BlockingIOError as error:
            holder = (root / "lock").read_text().strip()
            by = f" (process {holder})" if holder else ""
            raise StorageError(f"data_dir {root}: in use by another agent{by}") from error
        except OSError as error:
            raise StorageError(f"data_dir {root}: {error.strerror}") from error
        self._journal = Journal(root / "registrations.journal")
        try:
            self._memory = self._journal.load()
        except OSError as error:
            raise StorageError(
                f"cannot open the registrations below {root}: {error.strerror}"
            ) from error
        self.warnings += self._journal.warnings

    def close(self) -> None:
        """Release the lock. Nothing may be written afterwards."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    # -- identity ---------------------------------------------------------------------------

    def node_id(self) -> str | None:
        """The node id of earlier runs, in lower case."""
        return self._load("node-id", lambda raw: str(UUID(raw.decode("ascii").strip())))

    def save_node_id(self, node_id: str) -> None:
        """Keep the node id for all later runs."""
        self.commit({"node-id": node_id.encode()})

    def next_epoch(self, *, wall_ms: int) -> int:
        """Reserve the epoch of this run: above every earlier one, at least the wall clock."""
        epoch = max(wall_ms, self._read_int("epoch") + 1)
        self.commit(self.epoch_file(epoch))
        return epoch

    def epoch_file(self, epoch: int) -> dict[str, bytes | None]:
        """The plan that keeps the epoch in use."""
        return {"epoch": b"%d" % epoch}

    def next_incarnation(self, *, wall_s: int) -> int:
        """Reserve the first incarnation of this run: above every earlier one."""
        incarnation = min(max(wall_s, self._read_int("incarnation") + 1, 1), INCARNATION_MAX)
        self.commit(self.incarnation_file(incarnation))
        return incarnation

    def incarnation_file(self, incarnation: int) -> dict[str, bytes | None]:
        """The plan that keeps an incarnation in use."""
        return {"incarnation": b"%d" % incarnation}

    # -- catalog index ----------------------------------------------------------------------

    def next_index_block(self, *, wall_ms: int) -> int:
        """Reserve a block of catalog indexes; the number returned is the first unused one.

        In memory it starts at the wall clock in milliseconds, above what an earlier run gave out.
        """
        start = max(self._read_int("index"), 1) if self.root else wall_ms
        self.commit(self.index_file(start + INDEX_BLOCK))
        return start

    def index_file(self, reserved: int) -> dict[str, bytes | None]:
        """The plan that reserves every index below `reserved`."""
        return {"index": b"%d" % reserved}

    # -- services ---------------------------------------------------------------------------

    def service_file(
        self, service_id: str, definition: JsonObject | None
    ) -> dict[str, bytes | None]:
        """The plan that keeps a service, or with None forgets it."""
        return {f"services/{_digest(service_id)}": _encoded(definition)}

    def services(self, parse: Callable[[object, str], T]) -> list[T]:
        """Load every kept service; `parse(object, where)` raises ValueError for a bad one."""
        return self._load_all("services", parse)

    # -- checks -----------------------------------------------------------------------------

    def check_file(self, check_id: str, definition: JsonObject | None) -> dict[str, bytes | None]:
        """The plan that keeps a check, or with None forgets it and what it said."""
        plan = {f"checks/{_digest(check_id)}": _encoded(definition)}
        return plan if definition is not None else plan | self.ttl_state_file(check_id, None)

    def checks(self, parse: Callable[[object, str], T]) -> list[T]:
        """Load every kept check; `parse(object, where)` raises ValueError for a bad one."""
        return self._load_all("checks", parse)

    def ttl_state_file(self, check_id: str, state: TtlState | None) -> dict[str, bytes | None]:
        """The plan that keeps what a TTL check said last, or with None forgets it."""
        content = None if state is None else _encoded(state._asdict())
        return {f"ttl-states/{_digest(check_id)}": content}

    def ttl_states(self) -> dict[str, TtlState]:
        """What TTL checks said last, by check id."""
        return {state.check_id: state for state in self._load_all("ttl-states", _ttl_state)}

    # -- keyring ----------------------------------------------------------------------------

    def keyring(self, pool: PoolFiles = LAN_FILES) -> list[bytes]:
        """The keys of a gossip pool, primary first; empty when there is no keyring file."""

        def parse(raw: bytes) -> list[bytes]:
            keys = json.loads(raw)
            if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
                raise ValueError("expected a list of base64 keys")
            try:
                return [base64.b64decode(key, validate=True) for key in keys]
            except binascii.Error as error:
                raise ValueError("expected a list of base64 keys") from error

        self._close_to_others(pool.keyring)
        return self._load(pool.keyring, parse) or []

    def _close_to_others(self, name: str) -> None:
        """Take away what a copy or an editor has given to other users."""
        if self.root is None or not (path := self.root / name).exists():
            return
        try:
            if path.stat().st_mode & 0o077:
                path.chmod(0o600)
                self.warnings.append(f"{name} could be read by others; it is 0600 now")
        except OSError as error:
            raise StorageError(f"cannot protect {path}: {error.strerror}") from error

    def keyring_file(
        self, keys: Iterable[bytes], pool: PoolFiles = LAN_FILES
    ) -> dict[str, bytes | None]:
        """The plan that keeps the keys of a gossip pool, primary first."""
        encoded = [base64.b64encode(key).decode() for key in keys]
        return {pool.keyring: json.dumps(encoded).encode()}

    # -- Lamport clocks ---------------------------------------------------------------------

    def clocks(self, pool: PoolFiles = LAN_FILES) -> LamportTimes | None:
        """The latest Lamport times that the last run saw in a pool; None when there was none."""

        def parse(raw: bytes) -> LamportTimes:
            content = json.loads(raw)
            if not isinstance(content, dict):
                raise ValueError("expected an object")
            times: list[Any] = [content.get(name) for name in _CLOCKS]  # checked below
            if not all(type(time) is int and time >= 0 for time in times):
                raise ValueError("expected the times of three clocks")
            return LamportTimes(*times)

        return self._load(pool.clocks, parse)

    def clocks_file(
        self, times: LamportTimes, pool: PoolFiles = LAN_FILES
    ) -> dict[str, bytes | None]:
        """The plan that keeps the latest Lamport times seen."""
        content = dict(zip(_CLOCKS, times, strict=True))
        return {pool.clocks: json.dumps(content).encode()}

    # -- known peers ------------------------------------------------------------------------

    def peers(self, pool: PoolFiles = LAN_FILES) -> tuple[list[Peer], bool]:
        """Members of a pool that the last run knew, less those that left; and if it left itself."""

        def parse(raw: bytes) -> tuple[list[Peer], bool]:
            content = json.loads(raw)
            if not isinstance(content, dict) or not isinstance(content.get("peers"), list):
                raise ValueError("expected an object with a list of peers")
            peers = [_parse_peer(peer) for peer in content["peers"]]
            return peers, bool(content.get("left"))

        return self._load(pool.peers, parse) or ([], False)

    def peers_file(
        self, peers: list[Peer], pool: PoolFiles = LAN_FILES, *, left: bool = False
    ) -> dict[str, bytes | None]:
        """The plan that keeps the members to look for."""
        found = [
            {"name": peer.name, "host": peer.address.host, "port": peer.address.port}
            for peer in peers
        ]
        return {pool.peers: json.dumps({"peers": found, "left": left}).encode()}

    # -- files ------------------------------------------------------------------------------

    def commit(self, plan: Mapping[str, bytes | None]) -> None:
        """Make every file of `plan` durable: bytes replace it, None removes it.

        Raises:
            StorageError: The disk refused. Each file has its old or its new content.
        """
        if self.root is None:
            self._remember(plan)
            return
        registrations = {k: v for k, v in plan.items() if k.startswith(REGISTRATIONS)}
        files = {k: v for k, v in plan.items() if k not in registrations}
        folders = {(self.root / name).parent for name in files}
        try:
            if registrations:
                self._journal.commit(registrations)
                self._remember(registrations)
            for name, content in files.items():
                target = self.root / name
                if content is None:
                    target.unlink(missing_ok=True)
                    continue
                replace_file(target, content)
            for folder in sorted(folders):
                fsync_folder(folder)
        except OSError as error:
            raise StorageError(f"cannot write below {self.root}: {error.strerror}") from error

    def _remember(self, plan: Mapping[str, bytes | None]) -> None:
        for name, content in plan.items():
            if content is None:
                self._memory.pop(name, None)
            else:
                self._memory[name] = content

    def _read(self, name: str) -> bytes | None:
        if self.root is None or name.startswith(REGISTRATIONS):
            return self._memory.get(name)
        try:
            return (self.root / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"cannot read {self.root / name}: {error.strerror}") from error

    def _read_int(self, name: str) -> int:
        return self._load(name, int) or 0

    def _load(self, name: str, parse: Callable[[bytes], T]) -> T | None:
        """Parse a file; a bad one is set aside. None when there is none or it was bad."""
        raw = self._read(name)
        if raw is None:
            return None
        try:
            return parse(raw)
        except ValueError as error:
            self._set_aside(name, error)
            return None

    def _set_aside(self, name: str, why: ValueError) -> None:
        aside = f"{name.replace('/', '-') if name.startswith(REGISTRATIONS) else name}.corrupt"
        self.warnings.append(f"{name} is not readable ({why}); set aside as {aside}")
        if self.root is None:
            self._memory.pop(name, None)
            return
        try:
            if name.startswith(REGISTRATIONS):
                replace_file(self.root / aside, self._memory[name])
                self.commit({name: None})
            else:
                (self.root / name).replace(self.root / aside)
        except OSError as error:
            raise StorageError(f"cannot set aside {self.root / name}: {error.strerror}") from error

    def _load_all(self, folder: str, parse: Callable[[object, str], T]) -> list[T]:
        found = []
        for name in self._list(folder):
            one = self._load(name, lambda raw, name=name: parse(json.loads(raw), name))  # type: ignore[misc]  # mypy cannot type a lambda's default
            if one is not None:
                found.append(one)
        return found

    def _list(self, folder: str) -> list[str]:
        return sorted(name for name in self._memory if name.startswith(f"{folder}/"))


def _parse_peer(content: object) -> Peer:
    match content:
        case {"name": str(name), "host": str(host), "port": int(port)}:
            return Peer(MemberName(name), Address(str(ip_address(host)), port))
        case _:
            raise ValueError(f"not a peer: {content!r}")


def _digest(name: str) -> str:
    """A file name for any text."""
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()


def _encoded(value: JsonObject | None) -> bytes | None:
    return None if value is None else json.dumps(value).encode()


def _ttl_state(value: object, where: str) -> TtlState:
    match value:
        case {
            "check_id": str() as check_id,
            "status": str() as status,
            "output": str() as output,
            "expires_utc": int() | float() as expires_utc,
        }:
            return TtlState(check_id, HealthStatus(status), output, float(expires_utc))
        case _:
            raise ValueError(f"{where}: expected the state of a check")


def _locked(path: Path) -> int:
    """Take the lock of a data directory and write our process id into it.

    Raises:
        BlockingIOError: Another process holds it.
        OSError: The file cannot be written.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(fd, 0)
        write_all(fd, b"%d\n" % os.getpid())
    except OSError:
        os.close(fd)
        raise
    return fd
