"""gRPC probes: the standard health protocol, over HTTP/2 by the `h2` library.

One call needs few words: its request and answer have one field each. grpcio would bring them with
ten times the memory and threads of its own.
"""

import asyncio
from typing import Final

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from svcmesh.catalog.records import HealthStatus
from svcmesh.checks.definition import GrpcProbe
from svcmesh.checks.probes.dialing import Dialer, ProbeError
from svcmesh.checks.table import ProbeResult

METHOD: Final = "/grpc.health.v1.Health/Check"
ANSWER_BYTES_MAX: Final = 64 * 1024
SERVING: Final = 1

_CODES: Final = (
    "OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound",
    "AlreadyExists", "PermissionDenied", "ResourceExhausted", "FailedPrecondition", "Aborted",
    "OutOfRange", "Unimplemented", "Internal", "Unavailable", "DataLoss", "Unauthenticated",
)  # fmt: skip


async def probe_grpc(probe: GrpcProbe, dialer: Dialer) -> ProbeResult:
    """Ask for the health of the service in the target, or of the whole server.

    Raises:
        ProbeError: It is not serving, or could not be asked.
    """
    address, _, service = probe.target.partition("/")
    tls = None
    if probe.uses_tls:
        tls = await dialer.tls_context(skip_verify=probe.tls_skip_verify, protocols=("h2",))
    try:
        call = await dialer.connect(
            lambda: _Call(address, service, uses_tls=tls is not None),
            address,
            tls=tls,
            server_name=probe.tls_server_name,
        )
    except ProbeError as error:
        what = "authentication handshake failed: " if "dial " not in str(error) else ""
        what = what or "Error while dialing "
        raise ProbeError(
            "rpc error: code = Unavailable desc = connection error: "
            f'desc = "transport: {what}{error}"'
        ) from error
    try:
        status = await call.done
    finally:
        call.transport.abort()
    if status != SERVING:
        raise ProbeError("gRPC application didn't report service healthy")
    return ProbeResult(HealthStatus.PASSING, f"gRPC check {probe.target}: success")


class _Call(asyncio.Protocol):
    """One call; `done` is the health it was told, or a `ProbeError`."""

    transport: asyncio.Transport

    def __init__(self, address: str, service: str, *, uses_tls: bool) -> None:
        self.done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._address, self._service, self._uses_tls = address, service, uses_tls
        self._h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        )
        self._answer = bytearray()
        self._headers: dict[str, str] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._h2.initiate_connection()
        stream = self._h2.get_next_available_stream_id()
        headers = [
            (":method", "POST"),
            (":scheme", "https" if self._uses_tls else "http"),
            (":path", METHOD),
            (":authority", self._address),
            ("content-type", "application/grpc"),
            ("user-agent", "Consul Health Check"),
            ("te", "trailers"),
        ]
        self._h2.send_headers(stream, headers)
        self._h2.send_data(stream, _request(self._service), end_stream=True)
        transport.write(self._h2.data_to_send())

    def data_received(self, data: bytes) -> None:
        try:
            for event in self._h2.receive_data(data):
                self._handle(event)
        except (h2.exceptions.H2Error, UnicodeDecodeError):
            self._fail("Unavailable", "connection closed")
        if not self.transport.is_closing():
            self.transport.write(self._h2.data_to_send())

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail("Unavailable", "connection closed")

    def _handle(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.ResponseReceived() | h2.events.TrailersReceived():
                self._headers.update((str(name), str(value)) for name, value in event.headers or ())
            case h2.events.DataReceived():
                self._answer += event.data or b""
                if len(self._answer) > ANSWER_BYTES_MAX:
                    self._fail("ResourceExhausted", "received message larger than max")
                elif event.flow_controlled_length:
                    self._h2.acknowledge_received_data(
                        event.flow_controlled_length, event.stream_id or 0
                    )
            case h2.events.StreamEnded():
                self._judge()
            case h2.events.StreamReset():
                self._fail("Unavailable", "stream terminated by RST_STREAM")
            case h2.events.ConnectionTerminated():
                self._fail("Unavailable", "connection closed")
            case _:
                return

    def _judge(self) -> None:
        code = self._headers.get("grpc-status")
        if code is None:
            status = self._headers.get(":status", "")
            self._fail("Unknown", f"unexpected HTTP status code received from server: {status}")
        elif code != "0":
            number = int(code) if code.isascii() and code.isdigit() else 2
            name = _CODES[number] if number < len(_CODES) else f"Code({number})"
            self._fail(name, self._headers.get("grpc-message", ""))
        elif not self.done.done():
            self.done.set_result(_health_untrusted(bytes(self._answer)))

    def _fail(self, code: str, why: str) -> None:
        if not self.done.done():
            self.done.set_exception(ProbeError(f"rpc error: code = {code} desc = {why}"))


def _request(service: str) -> bytes:
    """A length-prefixed `HealthCheckRequest`: the name is its field 1."""
    name = service.encode()
    message = b"\x0a" + _varint(len(name)) + name if name else b""
    return b"\x00" + len(message).to_bytes(4, "big") + message


def _health_untrusted(framed: bytes) -> int:
    """Field 1 of a length-prefixed, uncompressed `HealthCheckResponse`; 0 when it has none."""
    message = framed[5 : 5 + int.from_bytes(framed[1:5], "big")]
    if framed[:1] != b"\x00" or message[:1] != b"\x08" or len(message) < 2:
        return 0
    return message[1]


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
