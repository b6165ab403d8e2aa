"""User events of one agent: the shell around `UserEvents` that draws ids, sends and logs."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final
from uuid import uuid4

from gossip import StateError, TooLargeError, UserEventReceived
from svcmesh.errors import DecodeError
from svcmesh.userevents import (
    PREFIX,
    TaggedService,
    UserEvent,
    UserEventError,
    UserEvents,
    check_user_event,
    encode_user_event,
)

logger: Final = logging.getLogger("agent.event")


class EventRuntime:
    """Fires and receives. `send` sends a Serf user event and gives its Lamport time."""

    def __init__(
        self,
        *,
        node: str,
        services: Callable[[], Iterable[TaggedService]],
        send: Callable[[str, bytes], int],
    ) -> None:
        self._events = UserEvents(node=node, services=services)
        self._send = send
        self.recent = self._events.recent
        self.watch = self._events.watch
        self.dropped = 0
        """Events of others that could not be read."""

    def fire(
        self,
        name: str,
        payload: bytes,
        *,
        node_filter: str = "",
        service_filter: str = "",
        tag_filter: str = "",
    ) -> UserEvent:
        """Send an event to every node, ours included.

        Raises:
            UserEventError: A filter is wrong, the event is too large, or we are leaving.
        """
        event = UserEvent(str(uuid4()), name, payload, node_filter, service_filter, tag_filter)
        check_user_event(event)
        try:
            ltime = self._send(PREFIX + name, encode_user_event(event))
        except (TooLargeError, StateError) as error:
            raise UserEventError(str(error)) from error
        return replace(event, ltime=ltime)

    def receive(self, received: UserEventReceived) -> None:
        """Take a Serf user event."""
        try:
            event = self._events.take(received)
        except DecodeError as error:
            self.dropped += 1
            logger.warning("a user event is not readable: %s", ascii(str(error)))
            return
        if event is not None:
            logger.debug("new event: %s (%s)", ascii(event.name), event.id)
