"""`/v1/txn`: several operations on keys, all of them or none.

Differs from Consul: operations on the catalog are refused. It is replicated without a leader, so
that it cannot be changed together with keys.
"""

import base64
import binascii
from typing import Any, Final

from aiohttp import web

from svcmesh.api.answers import JSON_HEADERS, ApiError
from svcmesh.api.bodies import read_json
from svcmesh.api.kv import entry_json
from svcmesh.api.query import check_datacenter, check_namespace
from svcmesh.api.responses import dress
from svcmesh.api.routing import Call, Router
from svcmesh.api.storing import ask, guarded
from svcmesh.consensus.store import READS, VALUE_BYTES_MAX, CommandKind, KvEntry

OPERATIONS_MAX: Final = 64
CATALOG: Final = ("node", "service", "check", "session", "intention")


def add_routes(router: Router) -> None:
    """Add this area's routes."""
    router.add("PUT", "/v1/txn", run)


async def run(call: Call) -> web.Response:
    """Run a transaction; 409 with the operations that failed when nothing was done."""
    check_namespace(call)
    check_datacenter(call)
    operations = _operations(await read_json(call.request))
    if all(operation[0] in READS for operation in operations):
        answer, headers = await ask(call, "txn.read", operations)
        results, problems = answer.value
        headers.pop("X-Consul-Index")
        more: dict[str, Any] = {
            "Index": 0,
            "LastContact": answer.last_contact_ms,
            "KnownLeader": answer.has_leader,
            "ConsistencyLevel": "",
        }
    else:
        write = call.facade.store.service.write
        results, problems = await guarded(write(CommandKind.TRANSACTION, operations))
        headers, more = dict(JSON_HEADERS), {}
    value = {
        "Results": None
        if problems
        else [
            {"KV": entry_json(KvEntry(*packed), with_value=with_value)}
            for packed, with_value in results
        ],
        "Errors": [{"OpIndex": index, "What": what} for index, what in problems] or None,
        **more,
    }
    body, headers = await dress(call, value, headers)
    return web.Response(status=409 if problems else 200, body=body, headers=headers)


def _operations(body: object) -> list[list[object]]:
    """Operations as the state machine takes them.

    Raises:
        ApiError: 400 for what is none, 413 for too many, 501 for those of the catalog.
    """
    if not isinstance(body, list):
        raise ApiError(400, "Failed to parse body: expected a list of operations")
    if len(body) > OPERATIONS_MAX:
        raise ApiError(
            413, f"Transaction contains too many operations ({len(body)} > {OPERATIONS_MAX})"
        )
    return [_operation(number, item) for number, item in enumerate(body)]


def _operation(number: int, item: object) -> list[object]:
    fields = _lowered(item)
    if any(fields.get(kind) is not None for kind in CATALOG):
        raise ApiError(501, f"operation {number}: only KV operations are supported yet")
    if fields.get("kv") is None:
        raise ApiError(400, f"operation {number}: expected one of KV, Node, Service, Check")
    kv = _lowered(fields["kv"])
    value = kv.get("value")
    try:
        data = base64.b64decode(value, validate=True) if isinstance(value, str) else b""
    except binascii.Error as error:
        raise ApiError(400, f"operation {number}: Value: {error}") from error
    if len(data) > VALUE_BYTES_MAX:
        raise ApiError(
            413, f"Value for key {kv.get('key')!r:.100} is too large ({len(data)} bytes)"
        )
    return [
        _typed(number, kv, "verb", str, ""),
        _typed(number, kv, "key", str, ""),
        data,
        _typed(number, kv, "flags", int, 0),
        _typed(number, kv, "index", int, 0),
        _typed(number, kv, "session", str, ""),
    ]


def _lowered(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ApiError(400, "Failed to parse body: expected an object")
    return {str(key).lower(): inner for key, inner in value.items()}


def _typed(number: int, fields: dict[str, Any], name: str, kind: type, default: object) -> object:
    value = fields.get(name)
    if value is None:
        return default
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ApiError(400, f"operation {number}: {name.capitalize()}: expected {kind.__name__}")
    if isinstance(value, int) and not 0 <= value < 2**64:
        raise ApiError(400, f"operation {number}: {name.capitalize()}: out of range")
    return value
