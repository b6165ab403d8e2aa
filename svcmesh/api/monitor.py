"""`/v1/agent/monitor`: the agent's log as it is written."""

from aiohttp import web

from svcmesh.api.answers import BASE_HEADERS, ApiError
from svcmesh.api.query import flag
from svcmesh.api.routing import Call, Router


def add_routes(router: Router) -> None:
    """Add this area's routes."""
    router.add("GET", "/v1/agent/monitor", monitor)


async def monitor(call: Call) -> web.StreamResponse:
    """Send log lines until the client hangs up, or does not keep up."""
    level, as_json = call.param("loglevel") or "INFO", flag(call, "logjson")
    transport = call.http_request.transport
    if transport is None:
        raise ApiError(400, "the client has hung up")
    try:
        # An aborted connection ends a write that waits, and this handler with it.
        stream = call.facade.logs.open(level, as_json=as_json, on_overflow=transport.abort)
    except KeyError:
        raise ApiError(400, f"Bad request: Unknown log level: {level}") from None
    try:
        response = web.StreamResponse(
            headers={**BASE_HEADERS, "Content-Type": "text/plain; charset=utf-8"}
        )
        await response.prepare(call.http_request)
        while True:
            lines = await stream.lines()
            text = "\n".join(lines) + "\n"
            await response.write(text.encode("utf-8", "replace"))
    finally:
        stream.close()
