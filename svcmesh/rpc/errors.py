"""What a call can end with instead of an answer."""

from svcmesh.errors import SvcmeshError


class RpcError(SvcmeshError):
    """The callee answered with an error; it says whether anything was done.

    `code` is a stable word of the method's, or `unknown-method`, `overloaded`, `internal`.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


class RpcRefusedError(SvcmeshError):
    """The call was not sent: nobody answers at the address, or too much waits. Nothing was done."""


class RpcClosedError(SvcmeshError):
    """The connection ended before the answer: whether it was done is unknown."""


class RpcTimeoutError(SvcmeshError):
    """No answer within the deadline: whether it was done is unknown."""
