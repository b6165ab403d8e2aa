"""`/v1/operator/raft/...` and `/v1/operator/autopilot/...`: the servers' group."""

from typing import Any, Final

from aiohttp import web

from svcmesh.api.answers import ApiError
from svcmesh.api.bodies import read_json
from svcmesh.api.query import read_options
from svcmesh.api.responses import json_response
from svcmesh.api.routing import Call, Router
from svcmesh.api.storing import ask, guarded, read_mode
from svcmesh.consensus.store import CommandKind
from svcmesh.goformats import duration_string, format_duration, parse_duration, parse_uint

PROTOCOL_VERSION: Final = "3"
NEITHER: Final = (
    "Bad request: Must specify either ?id with the server's ID or ?address with IP:port of peer to "
    "remove"
)
BOTH: Final = "Bad request: Must specify only one of ?id or ?address"
NO_CONFIG: Final = "Bad request: Error parsing autopilot config"
SETTINGS: Final = {
    "cleanup_dead_servers": ("CleanupDeadServers", bool),
    "last_contact_threshold": ("LastContactThreshold", str),
    "max_trailing_logs": ("MaxTrailingLogs", int),
    "min_quorum": ("MinQuorum", int),
    "server_stabilization_time": ("ServerStabilizationTime", str),
    "redundancy_zone_tag": ("RedundancyZoneTag", str),
    "disable_upgrade_migration": ("DisableUpgradeMigration", bool),
    "upgrade_version_tag": ("UpgradeVersionTag", str),
}
SENT_BACK: Final = ("createindex", "modifyindex")
"""What clients send that read the settings, change one and write them back; `cas` compares."""

DURATIONS: Final = ("last_contact_threshold", "server_stabilization_time")


def add_routes(router: Router) -> None:
    """Add this area's routes."""
    router.add("GET", "/v1/operator/raft/configuration", configuration)
    router.add("DELETE", "/v1/operator/raft/peer", remove_peer)
    router.add("GET", "/v1/operator/autopilot/configuration", get_autopilot)
    router.add("PUT", "/v1/operator/autopilot/configuration", set_autopilot)
    router.add("GET", "/v1/operator/autopilot/health", health)
    router.add("GET", "/v1/operator/autopilot/state", state)
    for method in ("PUT", "POST"):
        router.add(method, "/v1/operator/raft/transfer-leader", transfer_leader)


async def configuration(call: Call) -> web.Response:
    """The servers of the group."""
    options = read_options(call)
    found = await guarded(call.facade.store.operator.configuration(read_mode(options)))
    servers = [
        {
            "ID": server["id"],
            "Node": server["name"],
            "Address": server["address"],
            "Leader": server["is_leader"],
            "ProtocolVersion": PROTOCOL_VERSION,
            "Voter": server["is_voter"],
        }
        for server in found["servers"]
    ]
    return await json_response(call, {"Servers": servers, "Index": found["index"]})


async def remove_peer(call: Call) -> web.Response:
    """Take a server out of the group, by `id` or `address`."""
    given = [kind for kind in ("id", "address") if kind in call.params]
    if len(given) != 1:
        raise ApiError(400, BOTH if given else NEITHER)
    kind, value = given[0], call.param(given[0]) or ""
    await guarded(call.facade.store.operator.remove(kind, value))
    return web.Response()


async def transfer_leader(call: Call) -> web.Response:
    """Hand leadership to the server of `id`, or to any."""
    is_done = await guarded(call.facade.store.operator.transfer(call.param("id") or ""))
    return await json_response(call, {"Success": is_done})


async def get_autopilot(call: Call) -> web.Response:
    """How the group is looked after."""
    answer, _ = await ask(call, "autopilot.get")
    shown: dict[str, Any] = {
        name: _go_duration(answer.value[key]) if key in DURATIONS else answer.value[key]
        for key, (name, _) in SETTINGS.items()
    }
    shown |= {"CreateIndex": answer.index, "ModifyIndex": answer.index}
    return await json_response(call, shown)


async def set_autopilot(call: Call) -> web.Response:
    """Change how the group is looked after; with `cas` if nobody else has."""
    cas = call.param("cas")
    try:
        expected = None if cas is None else parse_uint(cas)
    except ValueError as error:
        raise ApiError(400, f"Bad request: Error parsing cas value: {error}") from None
    settings = _settings(await read_json(call.request, failed=NO_CONFIG))
    write = call.facade.store.service.write
    done = await guarded(write(CommandKind.AUTOPILOT_SET, [settings, expected]))
    return await json_response(call, done)


async def health(call: Call) -> web.Response:
    """How each server does, as the leader sees it; 429 when the group is not well."""
    read_options(call)
    found = await guarded(call.facade.store.operator.health())
    servers = [
        {
            "ID": server["id"],
            "Name": server["name"],
            "Address": server["address"],
            "SerfStatus": server["presence"],
            "Version": server["version"],
            "Leader": server["is_leader"],
            "LastContact": duration_string(server["last_contact_s"]),
            "LastTerm": server["last_term"],
            "LastIndex": server["last_index"],
            "Healthy": server["is_healthy"],
            "Voter": server["is_voter"],
            "StableSince": server["stable_since"],
        }
        for server in found["servers"]
    ]
    value = {
        "Healthy": found["is_healthy"], "FailureTolerance": found["tolerance"], "Servers": servers
    }  # fmt: skip
    response = await json_response(call, value)
    if not found["is_healthy"]:
        response.set_status(429)
    return response


async def state(call: Call) -> web.Response:
    """The same in the form of later versions of Consul, and always 200."""
    found = await guarded(call.facade.store.operator.health())
    value = {
        "Healthy": found["is_healthy"],
        "FailureTolerance": found["tolerance"],
        "OptimisticFailureTolerance": found["tolerance"],
        "Servers": {server["id"]: _server_state(server) for server in found["servers"]},
        "Leader": found["leader"],
        "Voters": [server["id"] for server in found["servers"] if server["is_voter"]],
    }
    return await json_response(call, value)


def _server_state(server: dict[str, Any]) -> dict[str, Any]:
    kind = "voter" if server["is_voter"] else "non-voter"
    return {
        "ID": server["id"],
        "Name": server["name"],
        "Address": server["address"],
        "NodeStatus": server["presence"],
        "Version": server["version"],
        "LastContact": duration_string(server["last_contact_s"]),
        "LastTerm": server["last_term"],
        "LastIndex": server["last_index"],
        "Healthy": server["is_healthy"],
        "StableSince": server["stable_since"],
        "ReadReplica": False,
        "Status": "leader" if server["is_leader"] else kind,
        "Meta": {},
        "NodeType": kind,
    }


def _settings(body: object) -> dict[str, Any]:
    """All settings: what a body leaves out is zero, as in Consul.

    Raises:
        ApiError: 400: the body is none.
    """
    by_name = {name.lower(): key for key, (name, _) in SETTINGS.items()}
    found: dict[str, Any] = {
        key: "0s" if key in DURATIONS else kind() for key, (_, kind) in SETTINGS.items()
    }
    if body is None:
        return found
    if not isinstance(body, dict):
        raise ApiError(400, f"{NO_CONFIG}: expected an object")
    for name, value in body.items():
        key = by_name.get(str(name).lower())
        if key is None:
            if str(name).lower() in SENT_BACK:
                continue
            raise ApiError(400, f'{NO_CONFIG}: json: unknown field "{name}"')
        if value is not None:
            found[key] = _checked(str(name), key, value)
    return found


def _checked(name: str, key: str, value: object) -> object:
    kind = SETTINGS[key][1]
    if key in DURATIONS:
        return _duration(name, value)
    if type(value) is not kind or (isinstance(value, int) and not 0 <= value < 2**63):
        raise ApiError(400, f"{NO_CONFIG}: {name}: expected a value of type {kind.__name__}")
    return value


def _duration(name: str, value: object) -> str:
    """A duration, given as one or in nanoseconds."""
    try:
        if isinstance(value, str):
            parse_duration(value)
            return value
        if isinstance(value, int | float) and not isinstance(value, bool):
            return format_duration(int(value) / 1e9)
    except ValueError as error:
        raise ApiError(400, f"{NO_CONFIG}: {error}") from None
    raise ApiError(400, f"{NO_CONFIG}: {name}: expected a duration")


def _go_duration(text: str) -> str:
    return duration_string(parse_duration(text))
