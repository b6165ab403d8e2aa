"""What an operator does to the whole gossip pool by way of this agent."""

from collections.abc import Callable

from gossip import Gossip, KeyOperation, KeyReport, MemberName
from svcmesh.errors import UnknownMemberError


class PoolOperations:
    """Keys and forced leaves. `gossip` gives the running member."""

    def __init__(self, gossip: Callable[[], Gossip]) -> None:
        self._gossip = gossip

    async def change_keys(
        self, operation: KeyOperation, key: bytes = b"", *, relay_factor: int = 0
    ) -> KeyReport:
        """Have every member change or list its keys.

        Raises:
            StateError: We are leaving, or too many such operations are under way.
        """
        return await self._gossip().change_keys(operation, key, relay_factor=relay_factor)

    def force_leave(self, name: str, *, prune: bool) -> None:
        """Have a failed member listed as left, or with `prune` forgotten, everywhere.

        Raises:
            UnknownMemberError: There is none of that name.
            StateError: We are leaving.
        """
        gossip = self._gossip()
        if gossip.member(MemberName(name)) is None:
            raise UnknownMemberError(name)
        gossip.force_leave(MemberName(name), prune=prune)
