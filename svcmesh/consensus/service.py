"""What the consistent store offers to the rest of the program: words and protocols."""

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import IO, Any, Protocol

from svcmesh.consensus.group import KnownServer
from svcmesh.consensus.raft import ServerId
from svcmesh.consensus.store import Answer, CommandKind, KvEntry
from svcmesh.errors import SvcmeshError


class NoLeaderError(SvcmeshError):
    """There is no leader to ask, or not here. Nothing was done."""

    def __init__(self, leader: ServerId | None = None) -> None:
        super().__init__("No cluster leader")
        self.leader = leader
        """Who may be the leader; None when nobody is known."""


class OutcomeUnknownError(SvcmeshError):
    """Leadership was lost, or time ran out, before the outcome was known: it may have happened."""


class StoreError(SvcmeshError):
    """The store refused, in Consul's words; nothing was changed."""


class ReadMode(StrEnum):
    """How fresh a read is."""

    DEFAULT = "default"
    """By the leader on its lease: fresh as long as clocks run alike (`RaftConfig.lease_s`)."""
    CONSISTENT = "consistent"
    """By the leader, after a majority has confirmed that it still is."""
    STALE = "stale"
    """By any server, of what it knows."""


@dataclass(frozen=True, slots=True)
class QueryAnswer:
    """What was found, and how far it can be trusted."""

    index: int
    value: Any  # what msgpack carries
    has_leader: bool = True
    last_contact_ms: int = 0
    """How long ago the server that answered last heard its leader."""


class StoreAccess(Protocol):
    """Reads and writes, on every agent."""

    async def write(self, kind: CommandKind, body: Sequence[object]) -> Any:  # noqa: ANN401 -- the command's answer
        """Have a command applied; its answer.

        Raises:
            NoLeaderError, StoreError: Nothing was done.
            OutcomeUnknownError: It may have happened or not.
        """

    async def query(
        self,
        name: str,
        *arguments: object,
        mode: ReadMode = ReadMode.DEFAULT,
        index: int = 0,
        wait_s: float = 0.0,
    ) -> QueryAnswer:
        """Ask; with `index` not before that has changed, or `wait_s` is over.

        Raises:
            NoLeaderError: Nobody can answer with the freshness that is asked for.
            StoreError: It was refused.
        """

    def begin_read(self, done: Callable[[bool], None]) -> bool:
        """Begin a `default` read of keys, without a task: `done` is called once, now or later.

        `done(True)`: at that moment `find_key` finds what is fresh. False: nothing was begun, use
        `query`.
        """

    def find_key(self, key: str) -> KvEntry | None:
        """The entry of a key as it is here; only to be called by a `done` of `begin_read`."""

    def begin_set(self, key: str, value: bytes, done: Callable[[Answer | Exception], None]) -> bool:
        """Begin a plain write of a key, without a task: `done` is called once, later.

        It gets the command's answer, or what `write` would raise. False: nothing was begun, use
        `write`.
        """

    async def renew(self, session_id: str) -> list[Any] | None:
        """Give a session its whole time again; the packed session, None when there is none.

        Raises:
            NoLeaderError: Nobody leads.
        """


class OperatorAccess(Protocol):
    """What operators do to the group of servers, on every agent."""

    async def configuration(self, mode: ReadMode) -> dict[str, Any]:
        """The members of the group.

        Raises:
            NoLeaderError: Nobody can answer with the freshness that is asked for.
        """

    async def health(self) -> dict[str, Any]:
        """How each server does, as the leader sees it.

        Raises:
            NoLeaderError: Nobody leads.
        """

    async def remove(self, kind: str, value: str) -> None:
        """Take a server out of the group, by "id" or "address".

        Raises:
            NoLeaderError, StoreError: Nothing was done.
            OutcomeUnknownError: It may have happened or not.
        """

    async def transfer(self, to: str) -> bool:
        """Hand leadership to a server, to any when `to` is empty; whether that was done.

        Raises:
            NoLeaderError, StoreError: Nothing was done.
            OutcomeUnknownError: It may have happened or not.
        """


@dataclass(frozen=True, slots=True)
class SavedSnapshot:
    """A snapshot file on its way."""

    index: int
    """Of the last entry in it."""
    has_leader: bool
    last_contact_ms: int
    """As of the server that made it."""
    size_bytes: int
    pieces: AsyncGenerator[bytes, None]
    """To be closed by whoever has it."""


class SnapshotAccess(Protocol):
    """Snapshots for operators, on every agent."""

    async def save(self, mode: ReadMode) -> SavedSnapshot:
        """Everything as it is now, as a file.

        Raises:
            NoLeaderError: It cannot be had as fresh as that.
            StoreError: The server refused.
        """

    async def restore(self, file: IO[bytes]) -> None:
        """Replace everything by what a snapshot file says, on all servers at one place in the log.

        Raises:
            ArchiveError: It is none, or damaged. Nothing was done.
            NoLeaderError, StoreError: Nothing was done.
            OutcomeUnknownError: It may have happened or not.
            OSError: The disk refuses.
        """


class StoreParts(Protocol):
    """The agent's part in the consistent store."""

    @property
    def service(self) -> StoreAccess: ...

    @property
    def operator(self) -> OperatorAccess: ...

    @property
    def snapshots(self) -> SnapshotAccess: ...

    @property
    def is_server(self) -> bool:
        """Whether this agent carries the store."""

    def known_servers(self) -> list[KnownServer]:
        """Every server agent in the member table."""

    async def find_leader(self) -> ServerId | None:
        """Who leads as far as this server knows, or one that this agent asks."""
