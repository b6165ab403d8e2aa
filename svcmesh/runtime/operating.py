"""What operators do to the group of servers, from any agent: looked up or done where the leader is.

Answers are what msgpack carries; `api/operator_raft.py` gives them Consul's form.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from svcmesh.consensus.group import KnownServer, Presence
from svcmesh.consensus.raft import Membership, ServerId
from svcmesh.consensus.service import OutcomeUnknownError, ReadMode, StoreError
from svcmesh.goformats import join_host_port
from svcmesh.rpc import RpcError
from svcmesh.runtime.passing import REFUSED, for_rpc
from svcmesh.runtime.servers import ServerGroup
from svcmesh.runtime.store import StoreService

METHOD: Final = "raft.operate"
TIMEOUT_S: Final = 10.0
POLL_S: Final = 0.02

Facts = dict[str, Any]


class GroupOperator:
    """Looks after the group by hand; `group` is a server's."""

    def __init__(
        self,
        service: StoreService,
        group: ServerGroup | None,
        known_servers: Callable[[], Sequence[KnownServer]],
    ) -> None:
        self._service, self._group = service, group
        self._known_servers = known_servers

    async def configuration(self, mode: ReadMode) -> Facts:
        """The members of the group; see `_configuration`.

        Raises:
            NoLeaderError: Nobody can answer with the freshness that is asked for.
        """
        return await self._ask("configuration", mode.value)

    async def health(self) -> Facts:
        """How each server does, as the leader sees it; see `_health`.

        Raises:
            NoLeaderError: Nobody leads.
        """
        return await self._ask("health")

    async def remove(self, kind: str, value: str) -> None:
        """Take a server out of the group, by "id" or "address".

        Raises:
            NoLeaderError, StoreError: Nothing was done.
            OutcomeUnknownError: It may have happened or not.
        """
        await self._ask("remove", kind, value)

    async def transfer(self, to: str) -> bool:
        """Hand leadership to a server, the one that is furthest when `to` is empty.

        Raises:
            NoLeaderError, StoreError: Nothing was done.
            OutcomeUnknownError: It may have happened or not.
        """
        return bool((await self._ask("transfer", to))["is_done"])

    async def handle(self, body: Any, _: float) -> object:  # noqa: ANN401 -- not looked at yet
        """`raft.operate`: [verb, arguments, hops]."""
        match body:
            case [str() as verb, list() as arguments, int() as hops] if all(
                isinstance(argument, str) for argument in arguments
            ):
                return await for_rpc(self._ask(verb, *arguments, hops=hops))
            case _:
                raise RpcError(REFUSED, f"{METHOD}: expected [verb, arguments, hops]")

    async def _ask(self, verb: str, *arguments: str, hops: int = 0) -> Facts:
        group = self._group
        is_stale = arguments == (ReadMode.STALE.value,)
        if group is not None and (group.is_leader or is_stale):
            if not is_stale:
                await group.consensus.barrier()
            match verb, arguments:
                case "configuration", (_,):
                    return self._configuration(group)
                case "health", ():
                    return self._health(group)
                case "remove", (kind, value):
                    return await self._remove(group, kind, value)
                case "transfer", (to,):
                    return await self._transfer(group, to)
                case _:
                    raise StoreError(f"unknown operation {verb!r:.50}")
        answer = await self._service.passing.call(
            METHOD,
            [verb, list(arguments), hops + 1],
            hops=hops,
            timeout_s=TIMEOUT_S,
            is_write=verb in {"remove", "transfer"},
        )
        if not isinstance(answer, dict):
            raise StoreError("a server answered with something else")
        return answer

    # -- on a server ----------------------------------------------------------------------------

    def _configuration(self, group: ServerGroup) -> Facts:
        raft, known = group.raft, self._known()
        servers = [
            {
                "id": server,
                "name": known[server].name if server in known else "(unknown)",
                "address": shown_address(known.get(server)),
                "is_leader": server == raft.leader,
                "is_voter": server in raft.members.voters,
            }
            for server in raft.members.servers
        ]
        return {"servers": servers, "index": raft.log.members_index}

    def _health(self, group: ServerGroup) -> Facts:
        raft, known = group.raft, self._known()
        servers = [
            self._server_health(group, server, known.get(server)) for server in raft.members.servers
        ]
        well = sum(bool(s["is_healthy"]) for s in servers if s["is_voter"])
        return {
            "is_healthy": all(server["is_healthy"] for server in servers),
            "tolerance": max(0, well - raft.members.quorum),
            "leader": group.id,
            "servers": servers,
        }

    def _server_health(
        self, group: ServerGroup, server: ServerId, known: KnownServer | None
    ) -> Facts:
        raft, settings = group.raft, group.settings
        is_leader = server == group.id
        contact_s = 0.0 if is_leader else min(group.contact_s(server), 1e9)
        match = raft.match_of(server) or 0
        threshold_s = max(settings.last_contact_threshold_s, 3 * raft.config.heartbeat_s)
        stable_since = datetime.now(UTC) - timedelta(seconds=group.stable_s(server))
        return {
            "id": server,
            "name": known.name if known else "",
            "address": shown_address(known),
            "presence": "none" if known is None else known.presence.value,
            "version": known.version if known else "",
            "is_leader": is_leader,
            "is_voter": server in raft.members.voters,
            "last_contact_s": contact_s,
            "last_term": raft.term,
            "last_index": match,
            "is_healthy": (
                known is not None
                and known.presence is Presence.ALIVE
                and contact_s <= threshold_s
                and raft.log.last_index - match <= settings.max_trailing_logs
            ),
            "stable_since": stable_since.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    async def _remove(self, group: ServerGroup, kind: str, value: str) -> Facts:
        raft, known = group.raft, self._known()
        members = raft.members
        wanted = next(
            (
                server
                for server in members.servers
                if value == (shown_address(known.get(server)) if kind == "address" else server)
            ),
            None,
        )
        if wanted is None or not value:
            raise StoreError(f'{kind} "{value}" was not found in the Raft configuration')
        left = Membership.of(set(members.voters) - {wanted}, set(members.learners) - {wanted})
        if not left.voters:
            raise StoreError("Need at least one voter in configuration: {[]}")
        why_not = group.change_members(left)
        if why_not is not None:
            raise StoreError(why_not)
        index = raft.log.members_index
        await _until(lambda: raft.log.commit >= index, "the change is not confirmed yet")
        return {}

    async def _transfer(self, group: ServerGroup, to: str) -> Facts:
        raft = group.raft
        others = [server for server in raft.members.voters if server != group.id]
        alive = {s.id for s in self._known_servers() if s.presence is Presence.ALIVE}
        if not to:
            others = [server for server in others if server in alive]
            if not others:
                raise StoreError("no other voter is alive that could lead")
            wanted = max(others, key=lambda server: raft.match_of(server) or 0)
        elif to == group.id:
            raise StoreError(f'id "{to}" is the leader already')
        elif to not in others:
            raise StoreError(f'id "{to}" was not found among the voters of the Raft configuration')
        else:
            wanted = ServerId(to)
        if not group.consensus.transfer(wanted):
            return {"is_done": False}
        # It takes over within an election timeout, or we go on.
        try:
            await _until(
                lambda: not group.is_leader, "", timeout_s=2 * raft.config.election_timeout_s
            )
        except OutcomeUnknownError:
            return {"is_done": False}
        return {"is_done": True}

    def _known(self) -> dict[ServerId, KnownServer]:
        return {server.id: server for server in self._known_servers()}


def shown_address(known: KnownServer | None) -> str:
    """Where a server's calls go; empty when nobody knows."""
    if known is None:
        return ""
    return join_host_port(*known.address)


async def _until(is_so: Callable[[], bool], why_not: str, *, timeout_s: float = TIMEOUT_S) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            while not is_so():  # noqa: ASYNC110  # nothing announces it
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise OutcomeUnknownError(why_not) from None
