"""What is closed of the HTTP API: endpoints, writes from strange networks and strange web pages.

Consul's `http_config`, with its statuses and texts, and one rule of our own (`check_origin`).
"""

import ipaddress
from collections.abc import Mapping
from typing import Final

from svcmesh.api.answers import ApiError
from svcmesh.config import HttpConfig

READING_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
JSON: Final = "application/json"
ALLOW_ORIGIN: Final = "access-control-allow-origin"


class AccessRules:
    """Judges requests by a configuration that does not change."""

    def __init__(self, config: HttpConfig) -> None:
        self._blocked = tuple(config.block_endpoints)
        self._writers = config.allow_write_http_from
        self.is_open = not self._blocked and not self._writers
        """Whether everybody may do everything."""
        self.headers: Mapping[str, str] = config.response_headers
        """For every answer."""
        self._is_shared = any(name.lower() == ALLOW_ORIGIN for name in self.headers)

    def check(self, method: str, path: str, client: str | None) -> None:
        """Let a request to an existing endpoint pass; `path` is decoded, `client` an IP address.

        Raises:
            ApiError: It is closed to this client.
        """
        if self._blocked and path.startswith(self._blocked):
            raise ApiError(403, "Endpoint is blocked by agent configuration")
        if self._writers and method not in READING_METHODS and not self._may_write(client):
            raise ApiError(403, "Access is restricted")

    def check_origin(self, method: str, headers: Mapping[str, str]) -> None:
        """Refuse what a web page of another origin has a browser send without asking us first.

        That is a POST with a body of a type that forms have; for all else that writes a browser
        asks by OPTIONS, and is not answered what it needs. Differs from Consul, which lets any
        page that somebody on the agent's host looks at store queries and install gossip keys.

        Raises:
            ApiError: It is one. With a `response_headers` that opens the API to others, none is.
        """
        if method != "POST" or self._is_shared or "Origin" not in headers:
            return
        is_asked_for = headers.get("Content-Type", "").partition(";")[0].strip().lower() == JSON
        is_own = headers["Origin"].partition("://")[2].lower() == headers.get("Host", "").lower()
        if not (is_own or is_asked_for):
            raise ApiError(403, "Requests of web pages of another origin are refused")

    def _may_write(self, client: str | None) -> bool:
        # Who comes by a Unix socket has no address, and is in no network.
        if not client:
            return False
        address = ipaddress.ip_address(client.partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return any(address in one for one in self._writers if one.version == address.version)
