"""`/v1/query/...`: prepared queries, stored under a name and executed by anyone."""

import re
from collections.abc import Awaitable
from ipaddress import ip_address
from typing import Final, TypeVar

from aiohttp import web

from svcmesh.api.answers import JSON_HEADERS, ApiError
from svcmesh.api.bodies import read_bytes, read_json
from svcmesh.api.lists import Rows
from svcmesh.api.query import ReadOptions, check_namespace, read_options
from svcmesh.api.reads import NotReadyError, Read, ReadService
from svcmesh.api.responses import dress, json_response
from svcmesh.api.routing import Call, Router
from svcmesh.api.rows import HEALTH
from svcmesh.api.storing import guarded
from svcmesh.catalog.queries import QueryRow
from svcmesh.catalog.topics import QUERIES
from svcmesh.errors import NameReservedError, StorageError
from svcmesh.goformats import parse_bool
from svcmesh.jsonvalues import FieldError
from svcmesh.queries.definition import JsonObject, QueryError, query_json, uuid_problem
from svcmesh.queries.execution import Asker, QueryNotFoundError
from svcmesh.queries.selection import NEAR_AGENT

_EXECUTE: Final = "/execute"
_EXPLAIN: Final = "/explain"
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,100}")
_LIMIT_END: Final = 2**63

T = TypeVar("T")


def add_routes(router: Router, reads: ReadService) -> None:
    """Add this area's routes."""

    async def list_(call: Call) -> web.StreamResponse:
        return await reads.answer(call, all_)

    async def get(call: Call) -> web.StreamResponse:
        if _is_about(call.rest, _EXECUTE):
            return await execute(call)
        if _is_about(call.rest, _EXPLAIN):
            return await explain(call)
        return await reads.answer(call, one)

    router.add("GET", "/v1/query", list_)
    router.add("POST", "/v1/query", create)
    router.add("GET", "/v1/query/", get)
    router.add("PUT", "/v1/query/", update)
    router.add("DELETE", "/v1/query/", delete)
    router.refuse_others("/v1/query/", _refusal)


def all_(call: Call) -> Read:
    """Every query, by id."""
    queries = call.facade.view.queries
    return Read((QUERIES,), lambda: Rows(tuple(queries), lambda row: _row_json(call, row)))


def one(call: Call) -> Read:
    """One query, by its id."""
    query_id = call.rest

    def build() -> list[JsonObject]:
        if problem := uuid_problem(query_id):
            raise ApiError(500, f"failed prepared query lookup: index error: {problem}")
        row = call.facade.view.queries.get(query_id)
        if row is None:
            raise _not_found(call)
        return [_row_json(call, row)]

    return Read((QUERIES,), build)


async def create(call: Call) -> web.Response:
    """Store a query; its id."""
    check_namespace(call)
    body = await read_json(call.request)
    query_id = await _stored(call.facade.queries.create(body))
    return await json_response(call, {"ID": query_id})


async def update(call: Call) -> web.Response:
    """Replace a query."""
    _refuse_method(call)
    check_namespace(call)
    body = await read_json(call.request) if await read_bytes(call.request) else None
    await _stored(call.facade.queries.update(call.rest, body))
    return web.Response()


async def delete(call: Call) -> web.Response:
    """Remove a query."""
    _refuse_method(call)
    check_namespace(call)
    await _stored(call.facade.queries.delete(call.rest))
    return web.Response()


async def execute(call: Call) -> web.Response:
    """Instances that a query selects, here or where it fails over to."""
    options = read_options(call)
    limit, is_connect = _limit(call), _flag(call, "connect")
    name = call.rest.removesuffix(_EXECUTE)
    near = call.param("near") or ""
    # In another data center `_agent` is still the one that was asked first.
    near = call.agent_name if near == NEAR_AGENT else near
    asker = Asker(near=near, address=_client_address(call))
    try:
        outcome = await call.facade.queries.execute(name, asker, limit=limit)
    except QueryNotFoundError:
        raise _not_found(call) from None
    except QueryError as error:
        raise ApiError(500, str(error)) from None
    is_here = outcome.datacenter == call.facade.view.datacenter
    value = Rows(
        # Where there is no service mesh there are no proxies, which is what is asked for then.
        () if is_connect else outcome.rows,
        HEALTH.render,
        stamp=HEALTH.stamp if is_here else None,
        name="Nodes",
        head={
            "Service": outcome.query.service,
            "DNS": {"TTL": outcome.query.dns_ttl},
            "Datacenter": outcome.datacenter,
            "Failovers": outcome.failovers,
            **_query_meta(options),
        },
    )
    return await _answer(call, options, value)


async def explain(call: Call) -> web.Response:
    """The query that would be executed under a name."""
    options = read_options(call)
    _limit(call)
    try:
        record, row = call.facade.queries.resolve(call.rest.removesuffix(_EXPLAIN))
    except QueryNotFoundError:
        raise _not_found(call) from None
    except QueryError as error:
        raise ApiError(500, str(error)) from None
    shown = query_json(record, create_index=row.create_index, modify_index=row.modify_index)
    return await _answer(call, options, {"Query": shown, **_query_meta(options)})


async def _answer(call: Call, options: ReadOptions, value: object) -> web.Response:
    headers = {
        **JSON_HEADERS,
        "X-Consul-Effective-Consistency": options.consistency,
        # As in Consul: nobody can wait for a change of this.
        "X-Consul-Index": "1",
        "X-Consul-KnownLeader": "true" if call.facade.is_ready else "false",
        "X-Consul-LastContact": "0",
    }
    if options.is_cached:
        headers |= {"X-Cache": "HIT", "Age": "0"}
    body, headers = await dress(call, value, headers)
    return web.Response(body=body, headers=headers)


async def _stored(work: Awaitable[T]) -> T:
    """Wait for a write; why it is refused as Consul's answer.

    Raises:
        ApiError: 400: the body cannot be decoded; 500: everything else.
    """
    try:
        return await guarded(work)
    except FieldError as error:
        raise ApiError(400, str(error)) from error
    except (QueryError, NameReservedError, StorageError) as error:
        raise ApiError(500, str(error)) from error


def _row_json(call: Call, row: QueryRow) -> JsonObject:
    holder = None
    if row.name_key is not None:
        holder = call.facade.view.queries.holder(row.name_key)
    return query_json(
        row.record,
        create_index=row.create_index,
        modify_index=row.modify_index,
        name_held_by="" if holder is None or holder is row else holder.record.id,
    )


def _query_meta(options: ReadOptions) -> JsonObject:
    return {
        "Index": 0,
        "LastContact": 0,
        "KnownLeader": True,
        "ConsistencyLevel": options.consistency,
    }


def _not_found(call: Call) -> ApiError:
    if not call.facade.is_ready:
        return NotReadyError()
    return ApiError(404, str(QueryNotFoundError()))


def _is_about(rest: str, what: str) -> bool:
    # `/v1/query/execute` is taken for a query without a name, as in Consul.
    return f"/{rest}".endswith(what)


def _refuse_method(call: Call) -> None:
    if _is_about(call.rest, _EXECUTE) or _is_about(call.rest, _EXPLAIN):
        raise _refusal(call.request.method, call.rest)


def _refusal(method: str, rest: str) -> ApiError:
    """As in Consul, which leaves this to the endpoint here and nowhere else."""
    reads_only = _is_about(rest, _EXECUTE) or _is_about(rest, _EXPLAIN)
    allowed = "GET" if reads_only else "GET,PUT,DELETE"
    if method == "OPTIONS":
        return ApiError(200, "{}", {**JSON_HEADERS, "Allow": f"OPTIONS,{allowed}"})
    return ApiError(405, f"method {method} not allowed", {"Allow": allowed})


def _limit(call: Call) -> int:
    text = call.param("limit")
    if not text:
        return 0
    problem = "invalid syntax"
    if _NUMBER.fullmatch(text):
        if abs(int(text)) < _LIMIT_END:
            return int(text)
        problem = "value out of range"
    raise ApiError(500, f'Bad limit: strconv.Atoi: parsing "{text}": {problem}')


def _flag(call: Call, name: str) -> bool:
    text = call.param(name)
    if not text:
        return False
    try:
        return parse_bool(text)
    except ValueError as error:
        raise ApiError(500, f"Error parsing '{name}' value: {error}") from None


def _client_address(call: Call) -> str:
    """Who asks: whom a proxy says it asks for, else who has connected."""
    forwarded: str = call.request.headers.get("X-Forwarded-For", "")
    for text in (forwarded.split(",")[0].strip(), call.request.remote or ""):
        try:
            return str(ip_address(text))
        except ValueError:
            continue
    return ""
