"""User events as Consul sends them, and the last of those that were for this node.

They travel as Serf user events named `consul:event:NAME`, so that agents of both kinds in one pool
understand each other. The filters are evaluated by the receiver. No I/O.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Protocol
from uuid import UUID

import msgpack

from gossip import UserEventReceived
from svcmesh.errors import DecodeError, SvcmeshError
from svcmesh.goregex import GoRegexError, compile_go_regex

PREFIX: Final = "consul:event:"
KEPT_EVENTS: Final = 256
FORMAT_VERSION: Final = 1
_TEXT_FIELDS: Final = (b"ID", b"n", b"nf", b"sf", b"tf")


class UserEventError(SvcmeshError):
    """An event is refused; nothing was sent. The text is Consul's."""


@dataclass(frozen=True, slots=True)
class UserEvent:
    """One event. The filters are regular expressions in Go's syntax; an empty one lets all in."""

    id: str
    name: str
    payload: bytes = b""
    node_filter: str = ""
    service_filter: str = ""
    tag_filter: str = ""
    version: int = FORMAT_VERSION
    ltime: int = 0
    """Lamport time, 0 before it is sent."""

    @property
    def index(self) -> int:
        """The index of a list that ends with this event: both halves of the id, combined."""
        number = UUID(self.id).int
        return number >> 64 ^ number & 0xFFFF_FFFF_FFFF_FFFF


class TaggedService(Protocol):
    """What the filters look at of a service of this agent."""

    @property
    def name(self) -> str: ...

    @property
    def tags(self) -> Sequence[str]: ...


class UserEvents:
    """The last `KEPT_EVENTS` events for this node, in order of arrival.

    Invariant: every kept event passed its filters when it came, and has a valid id.
    """

    def __init__(self, *, node: str, services: Callable[[], Iterable[TaggedService]]) -> None:
        self._node, self._services = node, services
        self._kept: deque[UserEvent] = deque(maxlen=KEPT_EVENTS)
        self._watches: dict[Callable[[], None], None] = {}

    def recent(self, name: str = "") -> list[UserEvent]:
        """Those of one name, or all of them, the latest last."""
        return [event for event in self._kept if not name or event.name == name]

    def watch(self, on_event: Callable[[], None]) -> Callable[[], None]:
        """Call `on_event` at every event; what is returned ends that."""
        self._watches[on_event] = None
        return lambda: self._watches.pop(on_event, None)

    def take(self, received: UserEventReceived) -> UserEvent | None:
        """Take a Serf user event; None when it is none of Consul's, or not for this node.

        Raises:
            DecodeError: Its payload or a filter is malformed.
        """
        if not received.name.startswith(PREFIX):
            return None
        event = decode_user_event_untrusted(received.payload, ltime=received.ltime)
        if not self._is_for_us(event):
            return None
        self._kept.append(event)
        for on_event in [*self._watches]:
            on_event()
        return event

    def _is_for_us(self, event: UserEvent) -> bool:
        if event.node_filter and not _search(event.node_filter, self._node):
            return False
        if not event.service_filter:
            return True
        return any(
            _search(event.service_filter, service.name)
            and (
                not event.tag_filter or any(_search(event.tag_filter, tag) for tag in service.tags)
            )
            for service in self._services()
        )


def check_user_event(event: UserEvent) -> None:
    """Check an event that is about to be sent.

    Raises:
        UserEventError: It has no name, or a filter is wrong.
    """
    if not event.name:
        raise UserEventError("Event name missing")
    if event.tag_filter and not event.service_filter:
        raise UserEventError("Cannot provide tag filter without service filter")
    for what, pattern in (
        ("node", event.node_filter),
        ("service", event.service_filter),
        ("tag", event.tag_filter),
    ):
        try:
            compile_go_regex(pattern)
        except GoRegexError as error:
            raise UserEventError(f"Invalid {what} filter: {error}") from None


def encode_user_event(event: UserEvent) -> bytes:
    """The payload of the Serf user event that carries `event`."""
    fields: dict[str, object] = {"ID": event.id, "n": event.name}
    optional = (
        ("nf", event.node_filter),
        ("p", event.payload),
        ("sf", event.service_filter),
        ("tf", event.tag_filter),
    )
    fields |= {key: value for key, value in optional if value}
    packed: bytes = msgpack.packb({**fields, "v": event.version}, use_bin_type=True)
    return packed


def decode_user_event_untrusted(payload: bytes, *, ltime: int) -> UserEvent:
    """Read the payload of a Serf user event.

    Raises:
        DecodeError: It is no event of this version.
    """
    try:
        # Raw: payloads may come as text, names as bytes, depending on the sender's codec.
        fields = msgpack.unpackb(payload, raw=True, strict_map_key=False)
    except Exception as error:  # msgpack has no common root for what bad input makes it raise
        raise DecodeError("user-event-malformed", repr(error)) from error
    if not isinstance(fields, dict):
        raise DecodeError("user-event-malformed", "not a map")
    version = fields.get(b"v", 0)
    if version != FORMAT_VERSION:
        raise DecodeError("user-event-version", str(version)[:40])
    event_id, name, node_filter, service_filter, tag_filter = (
        _text(fields.get(key)) for key in _TEXT_FIELDS
    )
    body = fields.get(b"p") or b""
    if not isinstance(body, bytes):
        raise DecodeError("user-event-malformed", "the payload is not bytes")
    try:
        event_id = str(UUID(event_id))
    except ValueError as error:
        raise DecodeError("user-event-malformed", "the id is no UUID") from error
    return UserEvent(event_id, name, body, node_filter, service_filter, tag_filter, version, ltime)


def _text(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, bytes):
        raise DecodeError("user-event-malformed", "not text")
    return value.decode("utf-8", "replace")


@lru_cache(maxsize=64)
def _compiled(pattern: str) -> Callable[[str], bool]:
    return compile_go_regex(pattern)


def _search(pattern: str, text: str) -> bool:
    try:
        return _compiled(pattern)(text)
    except GoRegexError as error:
        raise DecodeError("user-event-filter", str(error)) from error
