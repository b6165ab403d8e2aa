"""Two data centers of three servers and two clients each, in network namespaces, on a slow link.

A data center is a namespace; its agents have addresses of their own there. The link between the two
(`slow_link.py`) delays what goes over it by half a round trip each way, and can be cut.
With TLS, one authority has signed a certificate for the servers and one for the clients of each.
"""

import contextlib
import json
import random
import shlex
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SERVERS, CLIENTS = 3, 2
NAMES = ("dc1", "dc2")
NETWORK = "10.80"


def run(command: str, **options: Any) -> None:  # noqa: ANN401 -- subprocess's
    subprocess.run(shlex.split(command), check=True, **options)


@dataclass(frozen=True, slots=True)
class Answer:
    """Of DNS."""

    rcode: int
    addresses: tuple[str, ...]
    took_s: float


class Agent:
    """One agent, started with `start`."""

    def __init__(self, command: list[str], name: str, address: str, log: Path) -> None:
        self._command, self.name, self.address, self.log = command, name, address, log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=subprocess.STDOUT)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def http(
        self, path: str, method: str = "GET", body: object = None, timeout_s: float = 15.0
    ) -> Any:  # noqa: ANN401 -- JSON
        """The JSON of an answer.

        Raises:
            OSError: There is none, or its status is not 200 (`urllib.error.HTTPError`).
        """
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        url = f"http://{self.address}:8500{path}"
        request = urllib.request.Request(url, data, method=method)
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            content = answer.read()
        return json.loads(content) if content.strip() else None

    def dig(self, name: str, timeout_s: float = 5.0) -> Answer:
        """The A records of a name.

        Raises:
            OSError: No answer in time.
        """
        labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
        query_id = random.randrange(65536)
        header = struct.pack(">HHHHHH", query_id, 0x0100, 1, 0, 0, 0)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(timeout_s)
            began_at = time.perf_counter()
            client.sendto(header + labels + b"\0\0\1\0\1", (self.address, 8600))
            reply = client.recv(4096)
            took_s = time.perf_counter() - began_at
        count, at = int.from_bytes(reply[6:8], "big"), 12 + len(labels) + 5
        addresses = []
        for _ in range(count):
            # An owner is a pointer, or the name written out.
            at += 2 if reply[at] >= 0xC0 else len(labels) + 1
            kind, length = struct.unpack_from(">HxxxxxxH", reply, at)
            at += 10
            if kind == 1:
                addresses.append(socket.inet_ntoa(reply[at : at + length]))
            at += length
        return Answer(reply[3] & 15, tuple(addresses), took_s)


@dataclass(slots=True)
class DataCenter:
    """Its servers and clients."""

    name: str
    namespace: str
    servers: list[Agent] = field(default_factory=list)
    clients: list[Agent] = field(default_factory=list)

    @property
    def agents(self) -> list[Agent]:
        return [*self.servers, *self.clients]


class TwoDataCenters:
    """Both, running; `prefix` begins the names of the namespaces."""

    def __init__(
        self, program: str, folder: Path, *, prefix: str, rtt_ms: float, tls: bool
    ) -> None:
        self.rtt_s = rtt_ms / 1000
        self._program, self._folder, self._tls = shlex.split(program), folder, tls
        self._wire = f"{prefix}-wire"
        self._link: subprocess.Popen[bytes] | None = None
        self.dcs = [DataCenter(name, f"{prefix}-{name}") for name in NAMES]
        for number, dc in enumerate(self.dcs, 1):
            self._make_agents(number, dc)

    @property
    def agents(self) -> list[Agent]:
        return [agent for dc in self.dcs for agent in dc.agents]

    def _make_agents(self, number: int, dc: DataCenter) -> None:
        for place in range(1, SERVERS + CLIENTS + 1):
            is_server = place <= SERVERS
            name = f"{dc.name}-{'s' if is_server else 'c'}{place}"
            address = f"{NETWORK}.{number}.{place}"
            flags = [
                *("agent", "-node", name, "-datacenter", dc.name),
                *("-bind", address, "-client", address, "-data-dir", str(self._folder / name)),
                *("-retry-join", f"{NETWORK}.{number}.1", "-retry-interval", "1s"),
            ]
            if is_server:
                flags += ["-server", f"-bootstrap-expect={SERVERS}"]
                # One address is enough: the servers find each other.
                flags += ["-retry-join-wan", f"{NETWORK}.{3 - number}.1"]
                flags += ["-retry-interval-wan", "1s"]
            if self._tls:
                flags += ["-config-file", str(self._folder / f"{dc.name}-{is_server}.json")]
            command = ["ip", "netns", "exec", dc.namespace, *self._program, *flags]
            agent = Agent(command, name, address, self._folder / f"{name}.log")
            (dc.servers if is_server else dc.clients).append(agent)

    def start(self) -> None:
        """Start all agents, and wait until they know each other.

        Raises:
            TimeoutError: They do not.
        """
        if self._tls:
            self._make_certificates()
        self.mend()
        for agent in self.agents:
            agent.start()
        until(self._is_together, 120.0, "the data centers are joined and have leaders")

    def _is_together(self) -> bool:
        for here, there in (self.dcs, self.dcs[::-1]):
            for agent in here.agents:
                if sorted(agent.http("/v1/catalog/datacenters")) != sorted(NAMES):
                    return False
                if len(agent.http("/v1/catalog/nodes")) != SERVERS + CLIENTS:
                    return False
                if not agent.http(f"/v1/status/leader?dc={there.name}"):
                    return False
        return all(len(s.http("/v1/agent/members?wan=1")) == SERVERS * 2 for s in self._servers())

    def _servers(self) -> Iterator[Agent]:
        for dc in self.dcs:
            yield from dc.servers

    def stop(self) -> None:
        self.cut()
        for agent in self.agents:
            agent.kill()

    def _make_certificates(self) -> None:
        run(shlex.join([*self._program, "tls", "ca", "create"]), cwd=self._folder)
        for dc in self.dcs:
            for who in ("server", "client"):
                command = [*self._program, "tls", "cert", "create", f"-{who}", "-dc", dc.name]
                run(shlex.join(command), cwd=self._folder)
                stem = self._folder / f"{dc.name}-{who}-consul-0"
                settings = {
                    "ca_file": str(self._folder / "consul-agent-ca.pem"),
                    "cert_file": f"{stem}.pem",
                    "key_file": f"{stem}-key.pem",
                    "verify_incoming_rpc": True,
                    "verify_outgoing": True,
                    "verify_server_hostname": True,
                }
                path = self._folder / f"{dc.name}-{who == 'server'}.json"
                path.write_text(json.dumps(settings))

    @contextlib.contextmanager
    def networks(self) -> Iterator[None]:
        """The namespaces, joined by a wire that passes nothing yet; needs root."""
        try:
            run(f"ip netns add {self._wire}")
            for number, dc in enumerate(self.dcs, 1):
                run(f"ip netns add {dc.namespace}")
                run(f"ip -n {dc.namespace} link set lo up")
                pair = f"eth0 netns {dc.namespace} type veth peer {dc.name} netns {self._wire}"
                run(f"ip link add {pair}")
                for place in range(1, SERVERS + CLIENTS + 1):
                    address = f"{NETWORK}.{number}.{place}/16"
                    run(f"ip -n {dc.namespace} address add {address} dev eth0")
                run(f"ip -n {dc.namespace} link set eth0 up")
                run(f"ip -n {self._wire} link set {dc.name} up promisc on")
            yield
        finally:
            for name in (self._wire, *(dc.namespace for dc in self.dcs)):
                subprocess.run(["ip", "netns", "delete", name], check=False)

    def cut(self) -> None:
        """Lose everything that goes over the link, from now on."""
        if self._link is not None:
            self._link.kill()
            self._link.wait()

    def mend(self) -> None:
        """Let it pass again, or for the first time."""
        script = Path(__file__).with_name("slow_link.py")
        delay_ms = self.rtt_s * 1000 / 2
        command = f"ip netns exec {self._wire} {sys.executable} {script} --delay {delay_ms}"
        self._link = subprocess.Popen([*shlex.split(command), *NAMES])


def until(holds: Callable[[], bool], limit_s: float, what: str, every_s: float = 0.2) -> float:
    """Wait until it holds; the seconds that took.

    Raises:
        TimeoutError: It does not within the limit.
    """
    began_at = time.monotonic()
    while time.monotonic() - began_at < limit_s:
        with contextlib.suppress(OSError):
            if holds():
                return time.monotonic() - began_at
        time.sleep(every_s)
    raise TimeoutError(f"not within {limit_s:.0f} s: {what}")
