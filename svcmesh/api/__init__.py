"""The Consul-compatible HTTP API. One module per area; `facade` is the agent."""

from svcmesh.api.facade import AgentFacade, JoinError, NameReservedError
from svcmesh.api.server import HttpServer

__all__ = [
    "AgentFacade",
    "HttpServer",
    "JoinError",
    "NameReservedError",
]
