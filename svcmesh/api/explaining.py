"""`/v1/agent/why/service/...`: why a service instance is, or is not, in answers. Not in Consul."""

from aiohttp import web

from svcmesh.api.answers import ApiError
from svcmesh.api.insight import standing_json
from svcmesh.api.responses import json_response
from svcmesh.api.routing import Call, Router
from svcmesh.explaining import ExplainedCheck, ExplainedInstance
from svcmesh.goformats import instant_string
from svcmesh.healthlog import HealthEntry


def add_routes(router: Router) -> None:
    """Add this area's routes."""
    router.add("GET", "/v1/agent/why/service/", why)


async def why(call: Call) -> web.Response:
    """The instances with this id, or of the service of this name, with all their checks."""
    facade = call.facade
    found = facade.explainer.instances(call.rest)
    if not found:
        raise ApiError(
            404, f'No service instance has the id "{call.rest}", and no service the name'
        )
    return await json_response(
        call,
        {
            "AskedOf": facade.config.node_name,
            "RemembersSince": instant_string(facade.explainer.remembers_since_utc),
            "Instances": [_instance_json(call, one) for one in found],
        },
    )


def _instance_json(call: Call, one: ExplainedInstance) -> dict[str, object]:
    standing = None if one.is_external else call.facade.insight.why(one.node)
    return {
        "Node": one.node,
        "ServiceID": one.service_id,
        "Service": one.service,
        "Address": one.address,
        "Port": one.port,
        "External": one.is_external,
        "Answered": one.is_answered,
        "Checks": [_check_json(check) for check in one.checks],
        "Member": None if standing is None else standing_json(one.node, standing),
    }


def _check_json(check: ExplainedCheck) -> dict[str, object]:
    return {
        "Kind": check.kind.value,
        "CheckID": check.id,
        "Name": check.name,
        "Status": check.status,
        "Since": None if check.since_utc is None else instant_string(check.since_utc),
        "SeenBy": check.seen_by,
        "Output": check.output,
        "Excludes": check.excludes,
        "History": [_entry_json(entry) for entry in check.history],
    }


def _entry_json(entry: HealthEntry) -> dict[str, object]:
    return {
        "At": instant_string(entry.at_utc),
        "From": entry.old,
        "To": entry.new,
        "Output": entry.output,
        "WasThere": entry.was_there,
    }
