"""`/v1/txn`: several operations on keys and on the catalog, all of them or none.

The catalog is replicated without a leader, so it cannot be changed together with keys: every
operation on it is checked first, then those on keys are committed as one, then the catalog is
written. What may come in between is in `docs/api.md`.
"""

import asyncio
import base64
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from svcmesh.api.answers import JSON_HEADERS, ApiError
from svcmesh.api.bodies import read_json
from svcmesh.api.kv import entry_json
from svcmesh.api.query import check_namespace
from svcmesh.api.responses import dress
from svcmesh.api.routing import Call, Router
from svcmesh.api.rows import check_json, node_json, node_service_json
from svcmesh.api.storing import ask, guarded
from svcmesh.api.uuids import session_problem
from svcmesh.catalog.records import Kind
from svcmesh.catalog.view import CatalogView
from svcmesh.catalogtxn import KINDS, READ, CatalogDraft, Operation, Step, parse_operation
from svcmesh.consensus.store import VALUE_BYTES_MAX, WRITES, CommandKind, KvEntry
from svcmesh.errors import NameReservedError, StorageError
from svcmesh.jsonvalues import json_kind
from svcmesh.registration import RegistrationError

OPERATIONS_MAX: Final = 64
FOREIGN: Final = ("session", "intention")
PARSE_FAILED: Final = "Failed to parse body"
_NO_BASE64: Final = re.compile(r"[^A-Za-z0-9+/=]")
KV_FIELDS: Final = ("verb", "key", "value", "flags", "index", "session", "namespace")

KeyOperation = list[Any]
"""One on keys, as the state machine takes it."""

Problems = list[tuple[int, str]]
"""Numbers of operations, and why they failed."""


@dataclass(frozen=True, slots=True)
class _KeysDone:
    results: Sequence[tuple[Any, bool]]
    problems: Problems
    has_leader: bool
    last_contact_ms: int


def add_routes(router: Router) -> None:
    """Add this area's routes."""
    router.add("PUT", "/v1/txn", run)


async def run(call: Call) -> web.Response:
    """Run a transaction; 409 with the operations that failed when nothing was done."""
    check_namespace(call)
    operations = _operations(await read_json(call.request, failed=PARSE_FAILED))
    steps, problems = _draft(operations, call.facade.view)
    only_reads = all(_is_read(each) for each in operations)
    done = _KeysDone((), [], call.facade.is_ready, 0)
    results: list[object] | None = None
    if not problems:
        # A client that hangs up in between stops nothing half way.
        done, results = await asyncio.shield(_carry_out(call, operations, steps, done))
        numbers = [n for n, each in enumerate(operations) if isinstance(each, list)]
        problems = [(numbers[index], what) for index, what in done.problems]
    headers, more = dict(JSON_HEADERS), dict[str, Any]()
    if only_reads:
        headers["X-Consul-KnownLeader"] = "true" if done.has_leader else "false"
        headers["X-Consul-LastContact"] = str(done.last_contact_ms)
        more = {
            "Index": 0,
            "LastContact": done.last_contact_ms,
            "KnownLeader": done.has_leader,
            "ConsistencyLevel": "",
        }
    value = {
        "Results": results,
        "Errors": [{"OpIndex": index, "What": what} for index, what in problems] or None,
        **more,
    }
    body, headers = await dress(call, value, headers)
    return web.Response(status=409 if problems else 200, body=body, headers=headers)


def _draft(
    operations: Sequence[KeyOperation | Operation], view: CatalogView
) -> tuple[dict[int, Step], Problems]:
    """What the operations on the catalog come to, by number, and which fail beforehand."""
    draft = CatalogDraft(view)
    steps, problems = dict[int, Step](), Problems()
    for number, operation in enumerate(operations):
        if isinstance(operation, Operation):
            try:
                steps[number] = draft.take(operation)
            except RegistrationError as error:
                problems.append((number, str(error)))
        elif problem := _key_problem(operation):
            problems.append((number, problem))
    return steps, problems


def _key_problem(operation: KeyOperation) -> str | None:
    """Why an operation on keys cannot be done, whatever the keys are."""
    verb, key, *_, session_id = operation
    if not key and verb != "delete-tree":
        return "Must provide key"
    return session_problem(session_id) if verb == "lock" else None


async def _carry_out(
    call: Call,
    operations: Sequence[KeyOperation | Operation],
    steps: dict[int, Step],
    done: _KeysDone,
) -> tuple[_KeysDone, list[object] | None]:
    """Commit the keys, then write the catalog unless they were refused."""
    keys = [each for each in operations if isinstance(each, list)]
    if keys or not operations:
        done = await _run_keys(call, keys)
    if done.problems:
        return done, None
    return done, await _results(call, operations, steps, done)


async def _run_keys(call: Call, operations: list[KeyOperation]) -> _KeysDone:
    if not any(operation[0] in WRITES for operation in operations):
        answer, _ = await ask(call, "txn.read", operations)
        results, problems = answer.value
        return _KeysDone(results, problems, answer.has_leader, answer.last_contact_ms)
    write = call.facade.store.service.write
    results, problems = await guarded(write(CommandKind.TRANSACTION, operations))
    return _KeysDone(results, problems, True, 0)


async def _results(
    call: Call,
    operations: Sequence[KeyOperation | Operation],
    steps: dict[int, Step],
    done: _KeysDone,
) -> list[object]:
    """Write the catalog, and show what the operations give, in their order."""
    of_keys = iter(done.results)
    singles = sum(_result_count(each) or 0 for each in operations if isinstance(each, list))
    shown: list[object] = []
    for number, operation in enumerate(operations):
        if isinstance(operation, list):
            count = _result_count(operation)
            # The rest, for the one that gives any number.
            count = len(done.results) - singles if count is None else count
            shown += _entries(of_keys, count)
        else:
            shown += _apply(call, steps[number])
    if steps:
        try:
            await asyncio.shield(call.facade.external_saved())
        except StorageError as error:
            raise ApiError(500, str(error)) from error
    return shown


def _entries(results: Iterator[tuple[Any, bool]], count: int) -> list[object]:
    return [
        {"KV": entry_json(KvEntry(*packed), with_value=with_value)}
        for _, (packed, with_value) in zip(range(count), results, strict=False)
    ]


def _apply(call: Call, step: Step) -> list[object]:
    facade = call.facade
    try:
        if step.bodies:
            facade.register_external(step.node, step.bodies)
        if step.keys:
            facade.deregister_external(step.node, step.keys)
    except NameReservedError as error:
        raise ApiError(500, str(error)) from error
    return [] if step.shows is None else _shown(facade.view, step.node, *step.shows)


def _shown(view: CatalogView, node: str, kind: Kind, record_id: str) -> list[object]:
    """A record as transactions show it: unlike elsewhere, no tags are null."""
    row = view.node(node)
    if row is None:
        return []
    match kind:
        case Kind.NODE:
            return [{"Node": node_json(row)}]
        case Kind.SERVICE if (service := row.services.get(record_id)) is not None:
            tags = service.record.tags or None
            return [{"Service": {**node_service_json(service), "Tags": tags}}]
        case Kind.CHECK if (check := row.checks.get(record_id)) is not None:
            tags = check.record.service_tags or None
            return [{"Check": {**check_json(check), "ServiceTags": tags}}]
    return []


def _is_read(operation: KeyOperation | Operation) -> bool:
    if isinstance(operation, Operation):
        return operation.verb == READ
    return operation[0] not in WRITES


def _result_count(operation: KeyOperation) -> int | None:
    """How many entries an operation on keys gives; None: any number."""
    verb = operation[0]
    if verb == "get-tree":
        return None
    return 0 if verb.startswith("delete") or verb == "check-not-exists" else 1


def _operations(body: object) -> list[KeyOperation | Operation]:
    """Operations, on keys as the state machine takes them.

    Raises:
        ApiError: 400 for what is none, 413 for too many.
    """
    if body is None:
        return []
    if not isinstance(body, list):
        target = "Go value of type api.TxnOps"
        raise ApiError(
            400, f"{PARSE_FAILED}: json: cannot unmarshal {json_kind(body)} into {target}"
        )
    if len(body) > OPERATIONS_MAX:
        raise ApiError(
            413, f"Transaction contains too many operations ({len(body)} > {OPERATIONS_MAX})"
        )
    operations = [
        operation
        for number, item in enumerate(body)
        if (operation := _operation(number, item)) is not None
    ]
    trees = [each for each in operations if isinstance(each, list) and each[0] == "get-tree"]
    if len(trees) > 1 and any(isinstance(each, Operation) for each in operations):
        # Their entries come as one list, in which nobody could find the place of the others.
        raise ApiError(400, "at most one get-tree can be together with operations on the catalog")
    return operations


def _operation(number: int, item: object) -> KeyOperation | Operation | None:
    """An operation; None for an empty one, which Consul passes over."""
    fields = _lowered(item, known=("kv", *KINDS, *FOREIGN))
    if any(fields.get(kind) is not None for kind in FOREIGN):
        raise ApiError(400, f"operation {number}: expected one of KV, Node, Service, Check")
    for name, kind in KINDS.items():
        if fields.get(name) is not None:
            try:
                return parse_operation(kind, fields[name])
            except RegistrationError as error:
                raise ApiError(400, f"operation {number}: {error}") from error
    if fields.get("kv") is None:
        return None
    kv = _lowered(fields["kv"], known=KV_FIELDS)
    value = _typed(number, kv, "value", str, "")
    try:
        data = base64.b64decode(str(value), validate=True)
    except ValueError as error:
        wrong = _NO_BASE64.search(str(value))
        at = wrong.start() if wrong else len(str(value))
        raise ApiError(400, f"{PARSE_FAILED}: illegal base64 data at input byte {at}") from error
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


def _lowered(value: object, *, known: Collection[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ApiError(400, f"{PARSE_FAILED}: expected an object")
    for name in value:
        if str(name).lower() not in known:
            raise ApiError(400, f'{PARSE_FAILED}: json: unknown field "{name}"')
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
