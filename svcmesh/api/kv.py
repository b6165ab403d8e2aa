"""`/v1/kv/...`: the key/value store, with Consul's parameters and answers."""

import base64
from typing import Any, Final
from urllib.parse import urlencode

from aiohttp import web

from svcmesh.api.answers import BASE_HEADERS, ApiError
from svcmesh.api.bodies import read_bytes
from svcmesh.api.query import read_options, wait_options
from svcmesh.api.responses import dress, json_response
from svcmesh.api.routing import Call, Router
from svcmesh.api.storing import ask, guarded, number
from svcmesh.api.uuids import NO_SESSION, session_problem
from svcmesh.consensus.store import CommandKind, KvEntry

RAW_HEADERS: Final = {
    **BASE_HEADERS,
    "Content-Type": "text/plain",
    "X-Content-Type-Options": "nosniff",
    # A value is somebody's bytes; a browser must run none of it.
    "Content-Security-Policy": "sandbox",
}


def add_routes(router: Router) -> None:
    """Add this area's routes."""
    router.add("GET", "/v1/kv/", get)
    router.add("PUT", "/v1/kv/", put)
    router.add("DELETE", "/v1/kv/", delete)


async def get(call: Call) -> web.Response:
    """One entry, or with `recurse` all below a prefix, or with `keys` their keys.

    With `revision` as it was after that index; with `changes` what has become of it since `index`,
    change by change; with `raw` the value alone.
    """
    key = call.rest
    if "changes" in call.params:
        return await _changes(call)
    if "keys" in call.params:
        separator = call.param("separator") or ""
        answer, headers = await ask(call, "kv.keys", key, separator)
        # The root is never missing.
        value: Any = answer.value if answer.value or not key else None
    else:
        is_tree = "recurse" in call.params
        if not key and not is_tree:
            raise ApiError(400, "Missing key name")
        revision = number(call, "revision")
        if revision is not None:
            answer, headers = await ask(call, "kv.at", key, revision, not is_tree)
            found = _known(answer.value, revision)
        else:
            answer, headers = await ask(call, "kv.list" if is_tree else "kv.get", key)
            found = answer.value
        entries = found if is_tree or revision is not None else [found] if found else []
        if entries and "raw" in call.params and not is_tree:
            raw = KvEntry(*entries[0]).value
            headers.pop("Content-Type")
            return web.Response(body=raw, headers={**headers, **RAW_HEADERS})
        value = [entry_json(KvEntry(*packed)) for packed in entries] or None
    if value is None:
        headers.pop("Content-Type")
        return web.Response(status=404, headers=headers)
    body, headers = await dress(call, value, headers)
    return web.Response(body=body, headers=headers)


async def _changes(call: Call) -> web.Response:
    key, is_tree = call.rest, "recurse" in call.params
    if not key and not is_tree:
        raise ApiError(400, "Missing key name")
    after, _ = wait_options(call)
    answer, headers = await ask(call, "kv.changes", key, after, not is_tree)
    value = [
        {"Index": index, "Key": name, "Deleted": True}
        if packed is None
        else {"Index": index, "Deleted": False, **entry_json(KvEntry(*packed))}
        for index, name, packed in _known(answer.value, after)
    ]
    body, headers = await dress(call, value, headers)
    return web.Response(body=body, headers=headers)


def _known(answer: list[Any], index: int) -> list[Any]:
    """What a question about the past found.

    Raises:
        ApiError: 410: the past is forgotten.
    """
    floor, found = answer
    if found is None:
        raise ApiError(410, f"index {index} has been compacted: history begins at {floor}")
    return list(found)


async def put(call: Call) -> web.Response:
    """Write a key: plainly, compared (`cas`), locked (`acquire`) or let go (`release`)."""
    read_options(call)
    key = call.rest
    if not key and "sequence" not in call.params:
        raise ApiError(400, "Missing key name")
    kind, more = _write_of(call)
    flags = number(call, "flags") or 0
    value = await read_bytes(call.request)
    body = [key, value, flags, *more]
    return await json_response(call, await guarded(call.facade.store.service.write(kind, body)))


async def delete(call: Call) -> web.Response:
    """Remove a key, with `recurse` all below a prefix, with `cas` if it has not changed."""
    read_options(call)
    key, is_tree = call.rest, "recurse" in call.params
    expected = number(call, "cas")
    if not key and not is_tree:
        raise ApiError(400, "Missing key name")
    if is_tree and expected is not None:
        raise ApiError(400, f"Conflicting flags: {_query(call)}")
    write = call.facade.store.service.write
    if is_tree:
        answer = await guarded(write(CommandKind.DELETE_TREE, [key]))
    elif expected is not None:
        answer = await guarded(write(CommandKind.DELETE_CAS, [key, expected]))
    else:
        answer = await guarded(write(CommandKind.DELETE, [key]))
    return await json_response(call, answer)


def entry_json(entry: KvEntry, *, with_value: bool = True) -> dict[str, object]:
    """An entry as the API shows it."""
    value = base64.b64encode(entry.value).decode() if with_value and entry.value else None
    shown: dict[str, object] = {
        "LockIndex": entry.lock_index,
        "Key": entry.key,
        "Flags": entry.flags,
        "Value": value,
    }
    if entry.session:
        shown["Session"] = entry.session
    shown |= {"CreateIndex": entry.create_index, "ModifyIndex": entry.modify_index}
    return shown


def _write_of(call: Call) -> tuple[CommandKind, list[object]]:
    """The command that the parameters ask for, and what its body has besides the value."""
    asked = [name for name in ("cas", "acquire", "release") if name in call.params]
    if len(asked) > 1:
        raise ApiError(400, f"Conflicting flags: {_query(call)}")
    if "sequence" in call.params:
        if "cas" in asked or "release" in asked:
            raise ApiError(400, f"Conflicting flags: {_query(call)}")
        return CommandKind.SEQUENCE, [_session(call) if "acquire" in asked else ""]
    if "cas" in asked:
        return CommandKind.CAS, [number(call, "cas") or 0]
    if "acquire" in asked:
        return CommandKind.LOCK, [_session(call)]
    if "release" in asked:
        if not (holder := call.param("release")):
            raise ApiError(500, NO_SESSION)
        return CommandKind.UNLOCK, [holder]
    return CommandKind.SET, []


def _session(call: Call) -> str:
    """The session to lock with.

    Raises:
        ApiError: 500: it can be none.
    """
    session_id = call.param("acquire") or ""
    if problem := session_problem(session_id):
        raise ApiError(500, problem)
    return session_id


def _query(call: Call) -> str:
    """The parameters as Consul repeats them: by name, each with its value, an empty one too."""
    return urlencode(sorted(call.params.items()), doseq=True)
