"""The agent's DNS server: started, and told of changed settings."""

import logging
from collections.abc import Callable, Mapping
from random import Random

from dnsserver import DnsServer
from gossip.types import Address
from svcmesh.catalog import CatalogView
from svcmesh.config import AgentConfig
from svcmesh.datacenters import RemoteAccess
from svcmesh.directory import CatalogDirectory
from svcmesh.runtime.queries import PreparedQueries
from svcmesh.runtime.remotenames import RemoteNames

logger = logging.getLogger("agent")


class DnsRuntime:
    """Answers DNS from the catalog, from `start` to `close`."""

    def __init__(
        self,
        config: AgentConfig,
        view: CatalogView,
        *,
        is_ready: Callable[[], bool],
        queries: PreparedQueries,
        remote: RemoteAccess,
    ) -> None:
        """Begin; `queries` executes prepared queries, `remote` is the way to other data centers."""
        self._others = RemoteNames(
            remote,
            only_passing=config.dns.only_passing,
            max_stale_s=_max_stale_s(config),
            rng=Random(),
        )
        self._directory = CatalogDirectory(
            view,
            is_ready=is_ready,
            rng=Random(),
            only_passing=config.dns.only_passing,
            queries=queries.engine,
            elsewhere=queries.elsewhere,
            others=self._others,
        )
        self._server = DnsServer(
            self._directory,
            config.dns_server_config(),
            rng=Random(),
            limits=config.dns_server_limits(),
        )
        self._addresses = [Address(host, config.ports.dns) for host in config.dns_addrs]

    async def start(self) -> None:
        """Listen.

        Raises:
            DnsServerError, OSError: An address cannot be bound.
        """
        await self._server.start([(address.host, address.port) for address in self._addresses])
        for address in self._addresses:
            logger.info("Started DNS server: address=%s network=udp,tcp", address)

    async def close(self) -> None:
        """Stop answering."""
        await self._server.close()
        await self._others.close()

    def reconfigure(self, config: AgentConfig) -> None:
        """Take changed settings into use."""
        self._directory.reconfigure(only_passing=config.dns.only_passing)
        self._others.reconfigure(
            only_passing=config.dns.only_passing, max_stale_s=_max_stale_s(config)
        )
        self._server.reconfigure(config.dns_server_config(), config.dns_server_limits())

    def counters(self) -> Mapping[str, int]:
        """Totals since the start."""
        others = {f"others.{name}": count for name, count in self._others.counters().items()}
        return {**self._server.counters.totals(), **others}


def _max_stale_s(config: AgentConfig) -> float:
    return config.dns.max_stale_s if config.dns.allow_stale else 0.0
