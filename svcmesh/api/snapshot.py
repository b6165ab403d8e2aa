"""`/v1/snapshot`: the whole consistent store as one file, and back.

The file is a gzip stream of a sealed snapshot: header, meta data, state, SHA-256.
"""

import asyncio
import gzip
import zlib
from typing import Final
from uuid import uuid4

from aiohttp import web

from svcmesh.api.answers import BASE_HEADERS, ApiError
from svcmesh.api.query import check_datacenter, read_options
from svcmesh.api.responses import empty_response
from svcmesh.api.routing import Call, Router
from svcmesh.api.storing import guarded, read_mode
from svcmesh.consensus.disk import seal_snapshot, unseal_snapshot_untrusted
from svcmesh.consensus.store import CommandKind, decode_state_untrusted
from svcmesh.errors import DecodeError

PART_BYTES: Final = 256 * 1024
SNAPSHOT_BYTES_MAX: Final = 1024 * 1024 * 1024
"""Of a file that is restored, unpacked."""


def add_routes(router: Router) -> None:
    """Add this area's routes."""
    router.add("GET", "/v1/snapshot", save)
    router.add("PUT", "/v1/snapshot", restore)


async def save(call: Call) -> web.Response:
    """The store as it is now, from the server that leads, or with `stale` from any."""
    options = read_options(call)
    check_datacenter(call)
    found = await guarded(call.facade.store.snapshot(read_mode(options)))
    if found is None:
        raise ApiError(501, "ask a server agent for the snapshot")
    meta, parts = found
    content = await asyncio.to_thread(lambda: gzip.compress(seal_snapshot(meta, parts), 6))
    headers = {
        **BASE_HEADERS,
        "Content-Type": "application/x-gzip",
        "X-Consul-Index": str(max(1, meta.index)),
        "X-Consul-KnownLeader": "true",
        "X-Consul-LastContact": "0",
    }
    return web.Response(body=content, headers=headers)


async def restore(call: Call) -> web.Response:
    """Replace everything by what a file says, on all servers at one place in the log."""
    check_datacenter(call)
    content = bytearray()
    async for part in call.http_request.content.iter_chunked(PART_BYTES):
        content += part
        if len(content) > SNAPSHOT_BYTES_MAX:
            raise ApiError(413, "The snapshot is too large")
    try:
        state = await asyncio.to_thread(_state_untrusted, bytes(content))
    except DecodeError as error:
        raise ApiError(500, f"failed to read snapshot file: {error}") from error
    write = call.facade.store.service.write
    restore_id = str(uuid4())
    await guarded(write(CommandKind.RESTORE_BEGIN, [restore_id]))
    for start in range(0, len(state), PART_BYTES):
        part = state[start : start + PART_BYTES]
        await guarded(write(CommandKind.RESTORE_PART, [restore_id, part]))
    await guarded(write(CommandKind.RESTORE_END, [restore_id]))
    return empty_response()


def _state_untrusted(content: bytes) -> bytes:
    """The state in a file, checked whole before anything is changed.

    Raises:
        DecodeError: It is no snapshot.
    """
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        sealed = unpacker.decompress(content, SNAPSHOT_BYTES_MAX)
    except zlib.error as error:
        raise DecodeError("snapshot", str(error)) from error
    if not unpacker.eof:
        raise DecodeError("snapshot", "the file is cut short, or too large")
    _, state = unseal_snapshot_untrusted(sealed)
    decode_state_untrusted(state)
    return state
