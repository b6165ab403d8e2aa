"""A DNS front for a service directory: sans-IO answers and the asyncio server around them."""

from dnsserver.config import DnsConfig, RecursorConfig, ServerLimits, SoaConfig
from dnsserver.counters import DnsCounters
from dnsserver.directory import Directory, NodeAnswer, ServerAnswer, ServiceAnswer, Stamp
from dnsserver.errors import DnsBindError, DnsConfigError, DnsServerError
from dnsserver.pool import ServicePool
from dnsserver.responder import Responder
from dnsserver.server import DnsServer

__all__ = [
    "Directory",
    "DnsBindError",
    "DnsConfig",
    "DnsConfigError",
    "DnsCounters",
    "DnsServer",
    "DnsServerError",
    "NodeAnswer",
    "RecursorConfig",
    "Responder",
    "ServerAnswer",
    "ServerLimits",
    "ServiceAnswer",
    "ServicePool",
    "SoaConfig",
    "Stamp",
]
