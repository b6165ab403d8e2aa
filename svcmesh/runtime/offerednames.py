"""A server's answers to the DNS of other data centers (`svcmesh/dnsnames.py`)."""

import asyncio
import secrets
from collections.abc import Callable, Mapping
from random import Random
from typing import Final

from svcmesh.catalog.health import has_tags
from svcmesh.catalog.topics import Topic, node_topic, service_checks_topic, service_topic
from svcmesh.catalog.view import CatalogView
from svcmesh.catalog.view_rows import ServiceRow
from svcmesh.dnsnames import INSTANCES_MAX, NODE, SERVICE, pack_instance, pack_node
from svcmesh.rpc import Body, RpcError, seconds_untrusted
from svcmesh.runtime.remote import REFUSED, UNREACHABLE, Method

WAIT_S_MAX: Final = 600.0
SLICE_ROWS: Final = 256
"""Instances looked at before the event loop gets its turn."""
NAME_LENGTH_MAX: Final = 255


class OfferedNames:
    """Answers from the catalog. `rng` chooses from services that are too large."""

    def __init__(self, view: CatalogView, *, is_ready: Callable[[], bool], rng: Random) -> None:
        self._view, self._is_ready, self._rng = view, is_ready, rng
        self._run = secrets.token_hex(6)
        """Begins our versions: those of others, and of earlier runs, say nothing here."""

    @property
    def methods(self) -> Mapping[str, Method]:
        """By name."""
        return {SERVICE: self._handle_service, NODE: self._handle_node}

    async def _handle_service(self, body: Body, timeout_s: float) -> Body:
        name, tag, version, wait_s = _asked_untrusted(body)
        topics = (service_topic(name), service_checks_topic(name))
        await self._wait(topics, version, min(wait_s, timeout_s))
        version = self._version(topics)
        return [version, await self._instances(name, tag)]

    async def _handle_node(self, body: Body, timeout_s: float) -> Body:
        name, _, version, wait_s = _asked_untrusted(body)
        topics = (node_topic(name),)
        await self._wait(topics, version, min(wait_s, timeout_s))
        row = self._view.node(name)
        self._check_ready(is_found=row is not None)
        return [self._version(topics), None if row is None else pack_node(row)]

    async def _instances(self, name: str, tag: str | None) -> list[Body]:
        wanted = () if tag is None else (tag.lower(),)
        found: list[ServiceRow] = []
        rows = tuple(self._view.service_rows(name.lower()))
        for count, row in enumerate(rows, 1):
            if row.node.is_shown and has_tags(row, wanted):
                found.append(row)
            if count % SLICE_ROWS == 0:
                await asyncio.sleep(0)
        self._check_ready(is_found=bool(found))
        self._rng.shuffle(found)
        packed: list[Body] = []
        for row in found:
            if (instance := pack_instance(row)) is not None:
                packed.append(instance)
            if len(packed) >= INSTANCES_MAX:
                break
        return packed

    def _check_ready(self, *, is_found: bool) -> None:
        if not is_found and not self._is_ready():
            # Another server may know.
            raise RpcError(UNREACHABLE, "the catalog is not in sync yet")

    def _version(self, topics: tuple[Topic, ...]) -> str:
        return f"{self._run}:{self._view.topic_index(topics)}"

    async def _wait(self, topics: tuple[Topic, ...], version: str, wait_s: float) -> None:
        """Wait until there is another version than this one of ours, or the time is over."""
        view, loop = self._view, asyncio.get_running_loop()
        ends_at = loop.time() + wait_s
        while version == self._version(topics):
            changed = asyncio.Event()
            watch = view.watch(topics, changed.set)
            try:
                async with asyncio.timeout_at(ends_at):
                    await changed.wait()
            except TimeoutError:
                return
            finally:
                view.cancel_watch(watch)


def _asked_untrusted(body: Body) -> tuple[str, str | None, str, float]:
    match body:
        case [
            str() as name, None | str() as tag, str() as version, int() | float() as wait_s,
        ] if len(name) <= NAME_LENGTH_MAX and len(tag or "") <= NAME_LENGTH_MAX:  # fmt: skip
            return name, tag, version, seconds_untrusted(wait_s, most_s=WAIT_S_MAX)
        case _:
            raise RpcError(REFUSED, "expected [name, tag, version, seconds to wait]")
