"""What can go wrong in the DNS front, by whose fault it is."""


class DnsServerError(Exception):
    """Root of this package's errors."""


class DnsConfigError(DnsServerError, ValueError):
    """A setting is out of range. The text names it and what was expected."""


class DnsBindError(DnsServerError):
    """A listening address cannot be used; the `OSError` is the cause.

    Nothing is left open, and the server can be started again.
    """


class QueryRejectedError(DnsServerError):
    """A packet is no query that can be answered. Never leaves the responder.

    `reason` names the counter. `rcode` is what the sender is told, None for silence; `question`
    is the question section as far as it could be read, to be echoed.
    """

    def __init__(self, reason: str, rcode: int | None, question: bytes = b"") -> None:
        super().__init__(reason)
        self.reason, self.rcode, self.question = reason, rcode, question
