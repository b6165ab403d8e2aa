"""What can go wrong in the product, by whose fault it is."""

from collections.abc import Sequence


class SvcmeshError(Exception):
    """Root of every error of the product; the libraries have roots of their own."""


class ConfigError(SvcmeshError, ValueError):
    """A setting or definition is wrong. The text names the field and what was expected."""


class DecodeError(SvcmeshError, ValueError):
    """Bytes from a peer or from disk are not what they should be. `reason` names the metric."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class StorageError(SvcmeshError):
    """The data directory cannot be read or written; the `OSError` is its cause."""


class UnknownServiceError(SvcmeshError):
    """This agent has no service with this id. Nothing has changed."""

    def __init__(self, service_id: str) -> None:
        super().__init__(f'Unknown service "{service_id}"')
        self.service_id = service_id


class UnknownCheckError(SvcmeshError):
    """This agent has no check with this id that can be reported on; the text says so."""


class ScriptsDisabledError(SvcmeshError):
    """A check would run a command, which the configuration does not allow."""


class UnknownMemberError(SvcmeshError):
    """The gossip pool has no member of this name. Nothing has changed."""

    def __init__(self, name: str) -> None:
        super().__init__(f"agent: No node found with name '{name}'")
        self.name = name


class JoinError(SvcmeshError):
    """Nobody was joined; the text says why, on one line."""


class NobodyAnsweredError(JoinError):
    """No member answered at any address; `failures` has each, and why."""

    def __init__(self, failures: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{target}: {why}" for target, why in failures))
        self.failures = tuple(failures)


class NameReservedError(SvcmeshError):
    """A node name or id is held by another node, so this agent may not publish."""

    def __init__(self, name: str, holder: str) -> None:
        super().__init__(f'node name "{name}" is reserved by node {holder}')
