"""How to reach an agent's HTTP API: address, token and TLS, as flags and environment give them.

Shared by the command line and by `svcmesh.client`, with the names and the order of precedence of
Consul's tools: what is given, then the `SVCMESH_` variables, then the `CONSUL_` ones, then the
default. Nothing is connected here, and nothing slow imported.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

from svcmesh.errors import ConfigError
from svcmesh.goformats import parse_bool

if TYPE_CHECKING:
    import ssl

DEFAULT_ADDRESS: Final = "127.0.0.1:8500"
DEFAULT_PORTS: Final = {"http": 80, "https": 443}
PREFIXES: Final = ("SVCMESH_", "CONSUL_")
"""Of environment variables, the first that is set wins."""


class AccessError(ConfigError):
    """An address, token file or certificate cannot be used; the text is Go's for the same."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TlsFiles:
    """What an HTTPS connection is made and checked with. Empty: the system's certificates."""

    ca_file: str = ""
    ca_path: str = ""
    client_cert: str = ""
    client_key: str = ""
    server_name: str = ""
    """Name that the agent's certificate must have; by default the host of the address."""
    is_verified: bool = True

    def check(self) -> None:
        """Look whether the files are there, without loading TLS.

        Raises:
            AccessError: One is not.
        """
        if bool(self.client_cert) != bool(self.client_key):
            raise AccessError("both client cert and client key must be provided")
        for path in (self.client_cert, self.client_key):
            _check_readable(path, "open")
        if self.ca_file:
            try:
                _check_readable(self.ca_file, "open")
            except AccessError as error:
                raise AccessError(f"Error loading CA File: {error}") from error
        else:
            _check_readable(self.ca_path, "lstat")

    def context(self) -> "ssl.SSLContext":
        """Load them.

        Raises:
            AccessError: A file is missing or is no certificate.
        """
        import ssl

        self.check()
        try:
            context = ssl.create_default_context(
                cafile=self.ca_file or None,
                capath=None if self.ca_file else self.ca_path or None,
            )
            if self.client_cert:
                context.load_cert_chain(self.client_cert, self.client_key)
        except (OSError, ssl.SSLError) as error:
            raise AccessError(f"TLS files are not usable: {error}") from error
        if not self.is_verified:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentAccess:
    """Where one agent's HTTP API is. Either `host` and `port` say so, or `socket_path`."""

    scheme: str = "http"
    host: str = ""
    port: int = 0
    netloc: str = ""
    """Host and port as they were written."""
    socket_path: str = ""
    token: str = field(default="", repr=False)
    basic_auth: str = field(default="", repr=False)
    """`user:password`, for a proxy in front of the agent."""
    tls: TlsFiles = TlsFiles()

    @property
    def base_url(self) -> str:
        """What stands before the path, as Consul's tools print it."""
        if self.socket_path:
            return f"http://{quote(self.socket_path, safe='')}"
        return f"{self.scheme}://{self.netloc}"

    def headers(self) -> dict[str, str]:
        """Headers that every request carries."""
        headers = {"X-Consul-Token": self.token} if self.token else {}
        if self.basic_auth:
            from base64 import b64encode

            encoded = b64encode(self.basic_auth.encode()).decode()
            headers["Authorization"] = f"Basic {encoded}"
        return headers


def agent_access(
    address: str | None = None,
    *,
    token: str | None = None,
    token_file: str | None = None,
    tls: TlsFiles = TlsFiles(),
    environ: Mapping[str, str] | None = None,
) -> AgentAccess:
    """Put together what is given and what the environment says.

    `address` is `host:port`, `http://host:port`, `https://host:port` or `unix:///path`.

    Raises:
        AccessError: The address has no meaning, or a file that is named cannot be read.
    """
    variables = _Variables(os.environ if environ is None else environ)
    access = parse_address(
        address or variables.text("HTTP_ADDR") or DEFAULT_ADDRESS,
        is_https=variables.flag("HTTP_SSL", default=False),
    )
    tls = TlsFiles(
        ca_file=tls.ca_file or variables.text("CACERT"),
        ca_path=tls.ca_path or variables.text("CAPATH"),
        client_cert=tls.client_cert or variables.text("CLIENT_CERT"),
        client_key=tls.client_key or variables.text("CLIENT_KEY"),
        server_name=tls.server_name or variables.text("TLS_SERVER_NAME"),
        is_verified=tls.is_verified and variables.flag("HTTP_SSL_VERIFY", default=True),
    )
    tls.check()
    return replace(
        access,
        token=_token(token, token_file, variables),
        basic_auth=variables.text("HTTP_AUTH"),
        tls=tls,
    )


def parse_address(text: str, *, is_https: bool = False) -> AgentAccess:
    """Read an address; `is_https` is for one without a scheme.

    Raises:
        AccessError: It has no meaning.
    """
    if text.startswith("unix://"):
        path = text.removeprefix("unix://")
        if not path:
            raise AccessError(f"no path of a socket: {text}")
        return AgentAccess(socket_path=path)
    if "://" not in text:
        text = f"{'https' if is_https else 'http'}://{text}"
    parts = urlsplit(text)
    if parts.scheme not in DEFAULT_PORTS:
        raise AccessError(f"Unknown protocol scheme: {parts.scheme}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise AccessError(f"{error}: {text}") from None
    if not host and port is None:
        raise AccessError(f"no host: {text}")
    return AgentAccess(
        scheme=parts.scheme,
        # As in Go, a port alone is this host's.
        host=host or "127.0.0.1",
        port=DEFAULT_PORTS[parts.scheme] if port is None else port,
        netloc=parts.netloc.rpartition("@")[2],
    )


class _Variables:
    """Environment variables by what comes after their prefix."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def text(self, name: str) -> str:
        found = (self._environ.get(prefix + name) for prefix in PREFIXES)
        return next(filter(None, found), "")

    def flag(self, name: str, *, default: bool) -> bool:
        text = self.text(name)
        if not text:
            return default
        try:
            return parse_bool(text)
        except ValueError as error:
            # Differs from Consul, which goes on without: in plain text, or unverified.
            raise AccessError(f"could not parse {PREFIXES[-1]}{name}: {error}") from None


def _token(token: str | None, token_file: str | None, variables: _Variables) -> str:
    """A file wins over a token, and what is given over the environment."""
    given = _read_token(token_file) if token_file else token
    if given:
        return given
    named = variables.text("HTTP_TOKEN_FILE")
    return _read_token(named) if named else variables.text("HTTP_TOKEN")


def _read_token(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except OSError as error:
        raise AccessError(f"Error loading token file: open {path}: {_why(error)}") from error
    except UnicodeDecodeError as error:
        raise AccessError(f"Error loading token file: {path} is not text: {error}") from error


def _check_readable(path: str, verb: str) -> None:
    if not path:
        return
    try:
        os.stat(path)
    except OSError as error:
        raise AccessError(f"{verb} {path}: {_why(error)}") from error


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
