"""Two members that use one name: the operator is told, now and then."""

import asyncio
import logging
from typing import Final

from gossip.swim.effects import NameConflict
from gossip.types import Address

logger = logging.getLogger("agent.serf")

CONFLICT_LOG_S: Final = 60.0
"""A name conflict is logged once in this time; gossip repeats it every few seconds."""


class ConflictLog:
    """The conflicts of one pool."""

    def __init__(self, own_name: str) -> None:
        self._own_name = own_name
        self._logged_at: dict[str, float] = {}

    def note(self, conflict: NameConflict) -> None:
        """Log it, unless that was done just now."""
        now = asyncio.get_running_loop().time()
        if now - self._logged_at.get(conflict.name, -CONFLICT_LOG_S) < CONFLICT_LOG_S:
            return
        self._logged_at[conflict.name] = now
        claimant = Address.from_packed(conflict.claimant.addr, conflict.claimant.port)
        if conflict.name == self._own_name:
            logger.error("another agent at %s uses our node name %s", claimant, conflict.name)
        else:
            logger.warning(
                "name conflict: %s is at %s, also claimed from %s",
                conflict.name,
                conflict.holder,
                claimant,
            )
