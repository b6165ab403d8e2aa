"""What can go wrong for a program that uses the client, by whose fault it is."""

from svcmesh.errors import SvcmeshError


class ClientError(SvcmeshError):
    """Root of the client's errors. The client stays usable after each but `ClientClosedError`."""


class AgentUnreachableError(ClientError):
    """No answer from the agent; the reason is the cause. Cached instances are still served."""


class DeadlineExceededError(AgentUnreachableError, TimeoutError):
    """No answer within the deadline of the call."""


class RequestRefusedError(ClientError):
    """The agent has answered with an error: `status`, and `text` in its words."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}" if text else str(status))
        self.status, self.text = status, text

    @property
    def is_final(self) -> bool:
        """Whether the same question would be refused again."""
        return (400 <= self.status < 500 and self.status != 429) or self.status == 501


class BadAnswerError(ClientError):
    """The agent's answer is not what its API promises."""


class NoInstanceError(ClientError):
    """There is no instance to pick: none is known, or none is usable."""


class ClientClosedError(ClientError):
    """The client has been closed, before or during the call."""


class LockLostError(ClientError):
    """The lock may be somebody else's by now; the text says why."""


class LockConflictError(ClientError):
    """The key is used for something else than such a lock."""
