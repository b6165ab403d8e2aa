"""A DNS front for a service directory: sans-IO answers and the asyncio server around them."""

from dnsserver.config import DnsConfig, RecursorConfig, ServerLimits, SoaConfig
from dnsserver.counters import DnsCounters
from dnsserver.directory import (
    AskOthers,
    Directory,
    Lost,
    NodeAnswer,
    NoOthers,
    QueryAnswer,
    RemoteDirectory,
    RemoteNode,
    ServerAnswer,
    ServiceAnswer,
    Stamp,
    ToFetch,
    Unanswerable,
)
from dnsserver.errors import DnsBindError, DnsConfigError, DnsServerError
from dnsserver.pool import ServicePool
from dnsserver.responder import Responder
from dnsserver.server import DnsServer

__all__ = [
    "AskOthers",
    "Directory",
    "DnsBindError",
    "DnsConfig",
    "DnsConfigError",
    "DnsCounters",
    "DnsServer",
    "DnsServerError",
    "Lost",
    "NoOthers",
    "NodeAnswer",
    "QueryAnswer",
    "RecursorConfig",
    "RemoteDirectory",
    "RemoteNode",
    "Responder",
    "ServerAnswer",
    "ServerLimits",
    "ServiceAnswer",
    "ServicePool",
    "SoaConfig",
    "Stamp",
    "ToFetch",
    "Unanswerable",
]
