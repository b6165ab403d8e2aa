"""What can go wrong in the gossip library, by whose fault it is.

`ConfigError` and `StateError` are our caller's, `DecodeError` the remote's; the environment's
faults stay `OSError`. What is normal in a cluster (a peer that does not answer) is a result.
"""


class GossipError(Exception):
    """Root of every error this library raises."""


class ConfigError(GossipError, ValueError):
    """A setting is out of range or contradicts another one. Nothing was changed."""


class StateError(GossipError):
    """An operation the present state does not allow (joining after leaving). State unchanged."""


class TooLargeError(GossipError, ValueError):
    """A message would exceed what may be sent. Nothing was sent."""


class DecodeError(GossipError, ValueError):
    """Bytes from the network are not what the protocol document allows.

    `reason` is a short, stable identifier that names the metric which counts the drop.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
