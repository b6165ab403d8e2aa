"""The agent's settings: every one in one table, read from files and flags as Consul reads them.

`settings` declares them, `sources` reads files and flags, `loading` merges them, `resolving`
validates and works out what depends on others. `foreign` knows Consul's keys
of features that are not built.
"""

from svcmesh.config.foreign import FOREIGN, ForeignKey
from svcmesh.config.loading import load_config, load_services
from svcmesh.config.reloading import Change, DefinitionChanges, Reload, reload_config
from svcmesh.config.setting import Setting
from svcmesh.config.settings import (
    SETTINGS,
    AgentConfig,
    DnsConfig,
    GossipLanConfig,
    HttpConfig,
    Ports,
    SoaConfig,
    TlsConfig,
    UnixSocketsConfig,
)
from svcmesh.config.values import Kind

__all__ = [
    "FOREIGN",
    "SETTINGS",
    "AgentConfig",
    "Change",
    "DefinitionChanges",
    "DnsConfig",
    "ForeignKey",
    "GossipLanConfig",
    "HttpConfig",
    "Kind",
    "Ports",
    "Reload",
    "Setting",
    "SoaConfig",
    "TlsConfig",
    "UnixSocketsConfig",
    "load_config",
    "load_services",
    "reload_config",
]
