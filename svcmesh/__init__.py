"""svcmesh: service discovery by gossip, DNS and a Consul-compatible HTTP API."""

from typing import Final

__version__: Final = "0.1.0"

__all__ = ["__version__"]
