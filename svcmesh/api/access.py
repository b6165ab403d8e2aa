"""What the operator closes of the HTTP API: endpoints, writes from strange networks; own headers.

Consul's `http_config`, with its statuses and texts.
"""

import ipaddress
from collections.abc import Mapping

from svcmesh.api.answers import ApiError
from svcmesh.config import HttpConfig

READING_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class AccessRules:
    """Judges requests by a configuration that does not change."""

    def __init__(self, config: HttpConfig) -> None:
        self._blocked = tuple(config.block_endpoints)
        self._writers = config.allow_write_http_from
        self.is_open = not self._blocked and not self._writers
        """Whether everybody may do everything."""
        self.headers: Mapping[str, str] = config.response_headers
        """For every answer."""

    def check(self, method: str, path: str, client: str | None) -> None:
        """Let a request to an existing endpoint pass; `path` is decoded, `client` an IP address.

        Raises:
            ApiError: It is closed to this client.
        """
        if self._blocked and path.startswith(self._blocked):
            raise ApiError(403, "Endpoint is blocked by agent configuration")
        if self._writers and method not in READING_METHODS and not self._may_write(client):
            raise ApiError(403, "Access is restricted")

    def _may_write(self, client: str | None) -> bool:
        # Who comes by a Unix socket has no address, and is in no network.
        if not client:
            return False
        address = ipaddress.ip_address(client.partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return any(address in one for one in self._writers if one.version == address.version)
