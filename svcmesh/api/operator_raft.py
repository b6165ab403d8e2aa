"""`/v1/operator/raft/...` and `/v1/operator/autopilot/...`: the servers' group."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from aiohttp import web

from svcmesh.api.answers import ApiError
from svcmesh.api.bodies import read_json
from svcmesh.api.responses import json_response
from svcmesh.api.routing import Call, Router
from svcmesh.api.storing import ask, guarded
from svcmesh.consensus.group import KnownServer, Presence
from svcmesh.consensus.raft import Membership, ServerId
from svcmesh.consensus.service import GroupAccess, NoLeaderError
from svcmesh.consensus.store import CommandKind
from svcmesh.goformats import format_duration, parse_duration

PROTOCOL_VERSION: Final = "3"
SETTINGS: Final = {
    "cleanup_dead_servers": ("CleanupDeadServers", bool),
    "last_contact_threshold": ("LastContactThreshold", str),
    "max_trailing_logs": ("MaxTrailingLogs", int),
    "min_quorum": ("MinQuorum", int),
    "server_stabilization_time": ("ServerStabilizationTime", str),
}
DURATIONS: Final = ("last_contact_threshold", "server_stabilization_time")


def add_routes(router: Router) -> None:
    """Add this area's routes."""
    router.add("GET", "/v1/operator/raft/configuration", configuration)
    router.add("DELETE", "/v1/operator/raft/peer", remove_peer)
    router.add("GET", "/v1/operator/autopilot/configuration", get_autopilot)
    router.add("PUT", "/v1/operator/autopilot/configuration", set_autopilot)
    router.add("GET", "/v1/operator/autopilot/health", health)


async def configuration(call: Call) -> web.Response:
    """The servers of the group."""
    group = _group(call)
    raft, known = group.raft, _known(call)
    servers = [
        {
            "ID": server,
            "Node": known[server].name if server in known else "(unknown)",
            "Address": _address(known.get(server)),
            "Leader": server == raft.leader,
            "ProtocolVersion": PROTOCOL_VERSION,
            "Voter": server in raft.members.voters,
        }
        for server in raft.members.servers
    ]
    index = raft.log.members_index
    return await json_response(call, {"Servers": servers, "Index": index})


async def remove_peer(call: Call) -> web.Response:
    """Take a server out of the group, by `id` or `address`."""
    server_id, address = call.param("id"), call.param("address")
    if bool(server_id) == bool(address):
        raise ApiError(400, "Must specify either ?id with the server's ID or ?address")
    group = _group(call)
    known = _known(call)
    members = group.raft.members
    wanted = ServerId(server_id or "")
    if address:
        wanted = next((s for s, found in known.items() if _address(found) == address), wanted)
    if wanted not in members.servers:
        raise ApiError(
            500, f'peer "{server_id or address}" was not found in the Raft configuration'
        )
    left = Membership.of(set(members.voters) - {wanted}, set(members.learners) - {wanted})
    try:
        why_not = group.change_members(left)
    except NoLeaderError as error:
        raise ApiError(500, str(error)) from error
    if why_not is not None:
        raise ApiError(500, why_not)
    return web.Response()


async def get_autopilot(call: Call) -> web.Response:
    """How the group is looked after."""
    answer, _ = await ask(call, "autopilot.get")
    shown: dict[str, Any] = {
        name: _go_duration(answer.value[key]) if key in DURATIONS else answer.value[key]
        for key, (name, _) in SETTINGS.items()
    }
    shown |= {
        "RedundancyZoneTag": "",
        "DisableUpgradeMigration": False,
        "UpgradeVersionTag": "",
        "CreateIndex": answer.index,
        "ModifyIndex": answer.index,
    }
    return await json_response(call, shown)


async def set_autopilot(call: Call) -> web.Response:
    """Change how the group is looked after; with `cas` if nobody else has."""
    cas = call.param("cas")
    if cas is not None and not (cas.isascii() and cas.isdigit()):
        raise ApiError(400, f'Error parsing cas value: "{cas}"')
    settings = _settings(await read_json(call.request))
    expected = None if cas is None else int(cas)
    write = call.facade.store.service.write
    done = await guarded(write(CommandKind.AUTOPILOT_SET, [settings, expected]))
    return await json_response(call, done)


async def health(call: Call) -> web.Response:
    """How each server does, as the leader sees it; 429 when the group is not well."""
    group, known = _group(call), _known(call)
    raft = group.raft
    if not group.is_leader:
        raise ApiError(500, "No cluster leader" if raft.leader is None else "ask the leader")
    servers = [
        _server_health(call, group, server, known.get(server)) for server in raft.members.servers
    ]
    voters = [server for server in servers if server["Voter"]]
    well = sum(bool(server["Healthy"]) for server in voters)
    tolerance = max(0, well - raft.members.quorum)
    is_well = all(server["Healthy"] for server in servers)
    value = {"Healthy": is_well, "FailureTolerance": tolerance, "Servers": servers}
    response = await json_response(call, value)
    if not is_well:
        response.set_status(429)
    return response


def _server_health(
    call: Call, group: GroupAccess, server: ServerId, known: KnownServer | None
) -> dict[str, Any]:
    raft, settings = group.raft, group.settings
    is_leader = server == group.id
    contact_s = 0.0 if is_leader else group.contact_s(server)
    match = raft.match_of(server) or 0
    is_alive = known is not None and known.presence is Presence.ALIVE
    threshold_s = max(settings.last_contact_threshold_s, 3 * raft.config.heartbeat_s)
    is_well = (
        is_alive
        and contact_s <= threshold_s
        and raft.log.last_index - match <= settings.max_trailing_logs
    )
    stable_since = datetime.now(UTC) - timedelta(seconds=group.stable_s(server))
    return {
        "ID": server,
        "Name": known.name if known else "",
        "Address": _address(known),
        "SerfStatus": "none" if known is None else known.presence.value,
        "Version": call.facade.version,
        "Leader": is_leader,
        "LastContact": format_duration(contact_s),
        "LastTerm": raft.term,
        "LastIndex": match,
        "Healthy": is_well,
        "Voter": server in raft.members.voters,
        "StableSince": stable_since.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _group(call: Call) -> GroupAccess:
    group = call.facade.store.group
    if group is None:
        raise ApiError(501, "ask a server agent: this one does not carry the consistent store")
    return group


def _known(call: Call) -> dict[ServerId, KnownServer]:
    return {server.id: server for server in call.facade.store.known_servers()}


def _address(known: KnownServer | None) -> str:
    if known is None:
        return ""
    host, port = known.address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _settings(body: object) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise ApiError(400, "Error parsing autopilot config: expected an object")
    by_name = {name.lower(): (key, kind) for key, (name, kind) in SETTINGS.items()}
    found: dict[str, Any] = {}
    for name, value in body.items():
        key, kind = by_name.get(str(name).lower(), ("", None))
        if kind is None or value is None:
            continue
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise ApiError(400, f"Error parsing autopilot config: {name}: expected {kind.__name__}")
        if key in DURATIONS:
            _check_duration(name, value)
        found[key] = value
    return found


def _check_duration(name: str, text: object) -> None:
    assert isinstance(text, str)
    try:
        parse_duration(text)
    except ValueError:
        raise ApiError(400, f"Error parsing autopilot config: {name}: a duration") from None


def _go_duration(text: str) -> str:
    return format_duration(parse_duration(text))
