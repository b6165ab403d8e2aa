"""The Python client that applications import: find services, register them, balance calls.

`AsyncClient` is for asyncio, `Client` for threads. It needs an agent of svcmesh or of Consul, and
imports nothing of the agent.
"""

from svcmesh.agentaccess import AccessError, TlsFiles
from svcmesh.client.asynchronous import AsyncClient, ClientConfig
from svcmesh.client.errors import (
    AgentUnreachableError,
    BadAnswerError,
    ClientClosedError,
    ClientError,
    DeadlineExceededError,
    LockConflictError,
    LockLostError,
    NoInstanceError,
    RequestRefusedError,
)
from svcmesh.client.executing import PreparedQuery, QueryOutcome
from svcmesh.client.holding import LockConfig
from svcmesh.client.instances import Health, HealthStatus, Instance, ServiceQuery
from svcmesh.client.locks import Lock
from svcmesh.client.picking import Freshness, Picker, PickerConfig, Standing
from svcmesh.client.policies import LeastPending, Nearest, Policy, RandomChoice, RoundRobin
from svcmesh.client.registering import Registration
from svcmesh.client.registrations import ServiceRegistration
from svcmesh.client.synchronous import Client, HeldLock, RegisteredService, Watch
from svcmesh.client.watches import ServiceWatch
from svcmesh.client.watching import WatchConfig
from svcmesh.errors import SvcmeshError

__all__ = [
    "AccessError",
    "AgentUnreachableError",
    "AsyncClient",
    "BadAnswerError",
    "Client",
    "ClientClosedError",
    "ClientConfig",
    "ClientError",
    "DeadlineExceededError",
    "Freshness",
    "Health",
    "HealthStatus",
    "HeldLock",
    "Instance",
    "LeastPending",
    "Lock",
    "LockConfig",
    "LockConflictError",
    "LockLostError",
    "Nearest",
    "NoInstanceError",
    "Picker",
    "PickerConfig",
    "Policy",
    "PreparedQuery",
    "QueryOutcome",
    "RandomChoice",
    "RegisteredService",
    "Registration",
    "RequestRefusedError",
    "RoundRobin",
    "ServiceQuery",
    "ServiceRegistration",
    "ServiceWatch",
    "Standing",
    "SvcmeshError",
    "TlsFiles",
    "Watch",
    "WatchConfig",
]
