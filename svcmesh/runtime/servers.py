"""The servers' group, looked after: founded, grown, and rid of the dead (`consensus/group.py`).

Also the messages between its servers: Raft's over the agents' calls, by node id.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from math import inf
from typing import Any, Final

from svcmesh.consensus.group import (
    AutopilotSettings,
    Candidate,
    KnownServer,
    Presence,
    lag_of,
    may_found,
    next_members,
)
from svcmesh.consensus.raft import (
    Membership,
    Message,
    Raft,
    ServerId,
    Term,
    pack_message,
    unpack_message_untrusted,
)
from svcmesh.consensus.service import NoLeaderError
from svcmesh.consensus.store import Store
from svcmesh.errors import DecodeError
from svcmesh.rpc import Body, RpcClosedError, RpcError, RpcPool, RpcRefusedError, RpcTimeoutError
from svcmesh.runtime.autopilot import unpack_settings
from svcmesh.runtime.consensus import SNAPSHOT_CHUNK_TIMEOUT_S, Consensus

logger = logging.getLogger("raft")

LOOK_S: Final = 0.25
"""Between two looks at who is there."""
ASK_TIMEOUT_S: Final = 1.0

Address = tuple[str, int]
RPC_FAILURES: Final = (RpcRefusedError, RpcClosedError, RpcTimeoutError, RpcError)


class PeerTransport:
    """Raft's messages to other servers, through the pool of calls."""

    def __init__(
        self, own_id: ServerId, pool: RpcPool, address_of: Callable[[ServerId], Address | None]
    ) -> None:
        self._id, self._pool, self._address_of = own_id, pool, address_of

    def send(self, to: ServerId, message: Message) -> None:
        """Send, or lose, a message."""
        address = self._address_of(to)
        if address is not None:
            # Others wait for it: for an acknowledgement, or to make one.
            self._pool.note(address, "raft", [self._id, pack_message(message)], at_once=True)

    async def send_snapshot_part(
        self, to: ServerId, term: Term, offset: int, part: bytes, *, is_last: bool
    ) -> bool:
        """Bring a part of a snapshot there; False when that failed."""
        address = self._address_of(to)
        if address is None:
            return False
        body = [self._id, term, offset, part, is_last]
        try:
            answer = await self._pool.call(
                address, "raft.snapshot", body, timeout_s=SNAPSHOT_CHUNK_TIMEOUT_S
            )
        except RPC_FAILURES as error:
            logger.warning("the snapshot for %s was not delivered: %s", to, error)
            return False
        return answer is True


class ServerGroup:
    """Looks after the group on one server, from `run` on."""

    def __init__(
        self,
        consensus: Consensus,
        store: Store,
        pool: RpcPool,
        servers: Callable[[], Sequence[KnownServer]],
        *,
        expects: int,
    ) -> None:
        """`servers` gives all server agents that gossip knows, ourselves included."""
        self.consensus, self.store = consensus, store
        self._pool, self._servers, self._expects = pool, servers, expects
        self._loop = asyncio.get_running_loop()
        self._alive_since: dict[ServerId, float] = {}
        self.problem: str | None = None
        """Why the group is not founded yet."""

    @property
    def id(self) -> ServerId:
        """Ours."""
        return self.consensus.id

    @property
    def raft(self) -> Raft:
        """To look at."""
        return self.consensus.raft

    @property
    def is_leader(self) -> bool:
        """Whether we take ourselves for the leader."""
        return self.consensus.is_leader

    def change_members(self, members: Membership) -> str | None:
        """Put another membership in force; why not, or None."""
        return self.consensus.change_members(members)

    def stable_s(self, server: ServerId) -> float:
        """How long a server has been alive without a break, as we saw it."""
        since = self._alive_since.get(server)
        return 0.0 if since is None else self._loop.time() - since

    def contact_s(self, server: ServerId) -> float:
        """As the leader: since a server last answered; infinite when it never has."""
        heard_at = self.consensus.raft.heard_at(server)
        return inf if heard_at is None else max(0.0, self._loop.time() - heard_at)

    @property
    def settings(self) -> AutopilotSettings:
        """The operator's, as the store has them."""
        return unpack_settings(self.store.autopilot)

    async def run(self) -> None:
        """Do what is to be done, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Take one step, if one is due."""
        if self.consensus.is_closed:
            return
        known = {server.id: server for server in self._servers()}
        now = self._loop.time()
        self._alive_since = {
            server.id: self._alive_since.get(server.id, now)
            for server in known.values()
            if server.presence is Presence.ALIVE
        }
        if not self.consensus.has_state and self.consensus.leader is None:
            await self._found_if_due(known)
        elif self.consensus.is_leader:
            self._adjust_members(known)

    async def _found_if_due(self, known: Mapping[ServerId, KnownServer]) -> None:
        alive = [server for server in known.values() if server.presence is Presence.ALIVE]
        # What we expect ourselves is not in our tags with -dev.
        own = self.consensus.id
        candidates = [
            Candidate(server.name, server.id, self._expects if server.id == own else server.expects)
            for server in alive
        ]
        if not may_found(self.consensus.id, self._expects, candidates):
            return
        others = [server for server in alive if server.id != self.consensus.id]
        answers = await asyncio.gather(*(self._has_state(server) for server in others))
        # Somebody who cannot be asked may have been in a group: then it is waited for.
        if not any(answers) and not self.consensus.has_state:
            self.consensus.found()

    async def _has_state(self, server: KnownServer) -> bool:
        status = await ask_status(self._pool, server.address)
        if status is None:
            self.problem = f"server {server.name} cannot be asked"
            return True
        return status.get("has_state") is not False

    def _adjust_members(self, known: Mapping[ServerId, KnownServer]) -> None:
        raft = self.consensus.raft
        members = raft.members
        last_index = raft.log.last_index
        step = next_members(
            members,
            self.consensus.id,
            {server.id: server.presence for server in known.values()},
            {server: self.stable_s(server) for server in known},
            {server: lag_of(raft.match_of(server), last_index) for server in members.servers},
            self.settings,
            is_forming=len(members.voters) < max(self._expects, 1),
        )
        if step is None:
            return
        # Refused, it is due again at the next look.
        with suppress(NoLeaderError):
            self.consensus.change_members(step)

    # -- methods that other servers call --------------------------------------------------------

    def handle_raft(self, body: Body) -> None:
        """`raft`: [sender, packed message]."""
        match body:
            case [str() as sender, packed]:
                try:
                    message = unpack_message_untrusted(packed)
                except DecodeError as error:
                    logger.warning("a message from %.60r was dropped: %s", sender, error)
                else:
                    self.consensus.handle_message(ServerId(sender), message)
            case _:
                logger.warning("a message of no form was dropped")

    async def handle_snapshot(self, body: Body, _: float) -> object:
        """`raft.snapshot`: [sender, term, offset, part, whether it is the last]."""
        match body:
            case [str() as sender, int() as term, int() as offset, bytes() as part, bool() as last]:
                return await self.consensus.handle_snapshot_part(
                    ServerId(sender), Term(term), offset, part, is_last=last
                )
            case _:
                raise RpcError(
                    "refused", "raft.snapshot: expected [sender, term, offset, part, ...]"
                )

    async def handle_status(self, _: Body, __: float) -> object:
        """`raft.status`: where this server stands."""
        consensus = self.consensus
        return {
            "id": consensus.id,
            "has_state": consensus.has_state,
            "term": consensus.raft.term,
            "leader": consensus.leader,
            "last_index": consensus.raft.log.last_index,
            "last_term": consensus.raft.log.last_term,
            "applied": consensus.applied,
        }


async def ask_status(pool: RpcPool, address: Address) -> dict[Any, Any] | None:
    """Where the server at an address stands (`handle_status`); None when it does not say."""
    try:
        status = await pool.call(address, "raft.status", None, timeout_s=ASK_TIMEOUT_S)
    except RPC_FAILURES as error:
        logger.debug("%s:%d cannot be asked: %s", *address, error)
        return None
    return status if isinstance(status, dict) else None
