"""Other data centers, as the rest of the program sees them: who is asked how, and what can fail."""

from collections.abc import Sequence
from typing import Any, Protocol

from svcmesh.errors import SvcmeshError

Address = tuple[str, int]


class NoPathError(SvcmeshError):
    """No data center of this name is known. Nothing was done."""

    def __init__(self) -> None:
        super().__init__("No path to datacenter")


class UnreachableError(SvcmeshError):
    """The data center is known, but none of its servers answers. Nothing was done."""

    def __init__(self) -> None:
        super().__init__("Remote DC has no server currently reachable")


class ServerPlace(Protocol):
    """A server of some data center."""

    @property
    def address(self) -> Address:
        """Where it takes calls."""


class Topology(Protocol):
    """Which data centers there are, as a server knows them."""

    def datacenters(self) -> Sequence[str]:
        """All that are known, our own first, then by distance."""

    def servers(self, datacenter: str) -> Sequence[ServerPlace]:
        """The servers of one that take our calls: those alive first, nearest first."""


class RemoteAccess(Protocol):
    """Calls to the servers of other data centers, on every agent."""

    async def call(
        self,
        datacenter: str,
        method: str,
        body: object,
        *,
        timeout_s: float,
        is_write: bool = False,
        waits_s: float = 0.0,
    ) -> Any:  # noqa: ANN401 -- the method's answer
        """Call a method at a server of another data center; its answer.

        Args:
            datacenter: Its name, in any letter case.
            method: One that every server offers to other data centers.
            body: What msgpack carries.
            timeout_s: How long the answer is waited for, all attempts together.
            is_write: It changes something: it happens once, however often it has to be sent.
            waits_s: How long the callee may take on purpose, as a blocking query does.

        Raises:
            NoPathError, UnreachableError: Nothing was done.
            OutcomeUnknownError: A write may have happened or not.
            RpcError: The method's own.
        """
