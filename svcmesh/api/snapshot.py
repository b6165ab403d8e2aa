"""`/v1/snapshot`: the whole consistent store as one file, and back."""

import asyncio
import tempfile
from contextlib import aclosing
from typing import Final

from aiohttp import web

from svcmesh.api.answers import BASE_HEADERS, ApiError
from svcmesh.api.query import check_datacenter, read_options
from svcmesh.api.responses import empty_response
from svcmesh.api.routing import Call, Router
from svcmesh.api.storing import guarded, read_mode
from svcmesh.consensus.archive import ArchiveError

PIECE_BYTES: Final = 256 * 1024
FILE_BYTES_MAX: Final = 4 * 1024 * 1024 * 1024
"""Of a file that is restored."""


def add_routes(router: Router) -> None:
    """Add this area's routes."""
    router.add("GET", "/v1/snapshot", save)
    router.add("PUT", "/v1/snapshot", restore)


async def save(call: Call) -> web.StreamResponse:
    """The store as it is now, from the server that leads, or with `stale` from any."""
    check_datacenter(call)
    options = read_options(call)
    saved = await guarded(call.facade.store.snapshots.save(read_mode(options)))
    headers = {
        **BASE_HEADERS,
        "Content-Type": "application/x-gzip",
        "X-Consul-Index": str(saved.index),
        "X-Consul-KnownLeader": "true" if saved.has_leader else "false",
        "X-Consul-LastContact": str(saved.last_contact_ms),
    }
    async with aclosing(saved.pieces) as pieces:
        response = web.StreamResponse(headers=headers)
        response.content_length = saved.size_bytes
        await response.prepare(call.http_request)
        async for piece in pieces:
            await response.write(piece)
        await response.write_eof()
    return response


async def restore(call: Call) -> web.Response:
    """Replace everything by what a file says, on all servers at one place in the log."""
    check_datacenter(call)
    with tempfile.TemporaryFile() as file:
        size_bytes = 0
        async for part in call.http_request.content.iter_chunked(PIECE_BYTES):
            size_bytes += len(part)
            if size_bytes > FILE_BYTES_MAX:
                raise ApiError(413, "The snapshot is too large")
            await asyncio.to_thread(file.write, part)
        file.seek(0)
        try:
            await guarded(call.facade.store.snapshots.restore(file))
        except ArchiveError as error:
            raise ApiError(500, str(error)) from error
        except OSError as error:
            raise ApiError(500, f"failed to keep the snapshot: {error.strerror}") from error
    return empty_response()
