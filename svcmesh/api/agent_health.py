"""`/v1/agent/health/service/...`: the health of this agent's services, for load balancers.

The status code says it all: 200 passing, 429 warning, 503 critical or in maintenance, 404 unknown.
"""

from collections.abc import Iterator
from typing import Final

from aiohttp import web

from svcmesh.api.answers import BASE_HEADERS, JSON_HEADERS, ApiError
from svcmesh.api.facade import AgentFacade
from svcmesh.api.query import check_namespace
from svcmesh.api.responses import dress
from svcmesh.api.routing import Call, Router
from svcmesh.api.rows import Json, definition_json, own_check_json
from svcmesh.catalog.records import CheckRecord, HealthStatus
from svcmesh.checks.maintenance import NODE_CHECK_ID, maintenance_id
from svcmesh.definitions import ServiceDefinition

MAINTENANCE: Final = "maintenance"

_CODES: Final = {
    HealthStatus.PASSING.value: 200,
    HealthStatus.WARNING.value: 429,
    HealthStatus.CRITICAL.value: 503,
    MAINTENANCE: 503,
}
"""Status codes, the better ones first."""

_WORSE: Final = list(_CODES)

_NO_DEFINITION: Final[Json] = {
    "Interval": "0s",
    "Timeout": "0s",
    "DeregisterCriticalServiceAfter": "0s",
    "HTTP": "",
    "Header": None,
    "Method": "",
    "Body": "",
    "TLSSkipVerify": False,
    "TCP": "",
}


def add_routes(router: Router) -> None:
    """Add this area's routes."""
    router.add("GET", "/v1/agent/health/service/id/", by_id)
    router.add("GET", "/v1/agent/health/service/name/", by_name)


async def by_id(call: Call) -> web.Response:
    """The health of one instance."""
    check_namespace(call)
    if not call.rest:
        raise ApiError(500, "Bad request: Missing serviceID")
    definition = call.facade.local.services.get(call.rest)
    if definition is None:
        reason = f"ServiceId {call.rest} not found"
        nothing = {"AggregatedStatus": "critical", "Service": None, "Checks": None}
        # As in Consul: the text for an unknown id is JSON.
        return await _json(call, reason if _wants_text(call) else nothing, 404, reason)
    status, value = _health(call.facade, definition)
    return await _answer(call, value, _CODES[status], status)


async def by_name(call: Call) -> web.Response:
    """The health of all instances of a service; the worst of them decides."""
    check_namespace(call)
    if not call.rest:
        raise ApiError(500, "Bad request: Missing service Name")
    found = [
        _health(call.facade, definition)
        for definition in call.facade.local.services.values()
        if definition.name == call.rest
    ]
    if not found:
        return await _answer(call, [], 404, f"ServiceName {call.rest} Not Found")
    worst = max((status for status, _ in found), key=_WORSE.index)
    return await _answer(call, [value for _, value in found], _CODES[worst], worst)


def _health(facade: AgentFacade, definition: ServiceDefinition) -> tuple[str, Json]:
    checks = list(_checks(facade, definition.id))
    ids = {check.id for check in checks}
    if NODE_CHECK_ID in ids or maintenance_id(definition.id) in ids:
        status = MAINTENANCE
    else:
        statuses = {check.status for check in checks}
        status = max(statuses, key=_WORSE.index, default=HealthStatus.PASSING.value)
    return status, {
        "AggregatedStatus": status,
        "Service": definition_json(definition),
        "Checks": [_check_json(facade, check) for check in checks],
    }


def _checks(facade: AgentFacade, service_id: str) -> Iterator[CheckRecord]:
    for owner in (service_id, ""):
        for check_id in facade.local.check_ids(owner):
            yield facade.local.check_record(check_id)


def _check_json(facade: AgentFacade, check: CheckRecord) -> Json:
    """As Consul has it here: without the type, and with an empty definition in full."""
    return {
        **own_check_json(facade.config.node_name, check),
        "ServiceTags": check.service_tags or None,
        "Type": "",
        "Definition": _NO_DEFINITION,
    }


def _wants_text(call: Call) -> bool:
    accepted = call.request.headers.get("Accept", "")
    return call.param("format") == "text" or accepted.startswith("text/plain")


async def _answer(call: Call, value: object, code: int, reason: str) -> web.Response:
    if not _wants_text(call):
        return await _json(call, value, code, reason)
    headers = {**BASE_HEADERS, "Content-Type": "text/plain", "X-Consul-Reason": _line(reason)}
    return web.Response(status=code, body=reason.encode("utf-8", "replace"), headers=headers)


async def _json(call: Call, value: object, code: int, reason: str) -> web.Response:
    body, headers = await dress(call, value, {**JSON_HEADERS, "X-Consul-Reason": _line(reason)})
    return web.Response(status=code, body=body, headers=headers)


def _line(text: str) -> str:
    """Text from a request as the value of a header."""
    return "".join(char if char.isprintable() else " " for char in text)
