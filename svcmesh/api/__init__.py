"""The Consul-compatible HTTP API. One module per area; `facade` is the agent."""

from svcmesh.api.facade import AgentFacade
from svcmesh.api.server import HttpServer

__all__ = [
    "AgentFacade",
    "HttpServer",
]
