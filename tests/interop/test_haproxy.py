"""HAProxy's `resolvers` and `server-template` on SRV, following instances that come and go."""

import subprocess
import urllib.error
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pytest

from tests.interop.processes import (
    Child,
    Svcmesh,
    ended_afterwards,
    fetch,
    require_program,
    wait_until,
)

pytestmark = pytest.mark.interop

ADDRESS = "127.0.43.2"
FRONT = 8080

CONFIGURATION = f"""
global
    log stderr format raw local0
defaults
    mode http
    timeout connect 1s
    timeout client 5s
    timeout server 5s
    option redispatch
resolvers mesh
    nameserver agent {ADDRESS}:8600
    accepted_payload_size 8192
    resolve_retries 3
    timeout resolve 200ms
    timeout retry 200ms
    hold valid 200ms
    hold obsolete 200ms
    hold nx 200ms
frontend front
    bind {ADDRESS}:{FRONT}
    default_backend web
backend web
    balance roundrobin
    default-server resolvers mesh resolve-opts allow-dup-ip init-addr none
    server-template web 5 _web._tcp.service.consul
"""


class Backend:
    """A web server that answers with its port."""

    def __init__(self) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version: ClassVar[str] = "HTTP/1.0"

            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(str(self.server.server_port).encode())  # type: ignore[attr-defined]  # of this server

            def log_message(self, format: str, *args: object) -> None:
                """Keep quiet."""

        self.server = ThreadingHTTPServer((ADDRESS, 0), Handler)
        self.port = self.server.server_port
        self._thread = Thread(target=self.server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Svcmesh]:
    subject = Svcmesh("n1", ADDRESS, tmp_path)
    with ended_afterwards(subject):
        subject.wait_until_up()
        yield subject


@pytest.fixture
def haproxy(agent: Svcmesh, tmp_path: Path) -> Iterator[Child]:
    program = require_program("haproxy")
    file = tmp_path / "haproxy.cfg"
    file.write_text(CONFIGURATION)
    checked = subprocess.run([program, "-c", "-f", str(file)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    subject = Child([program, "-db", "-f", str(file)], tmp_path / "haproxy.log")
    with ended_afterwards(subject):
        yield subject


@pytest.fixture
def backends() -> Iterator[list[Backend]]:
    group = [Backend() for _ in range(3)]
    yield group
    for backend in group:
        backend.close()


def reached(count: int = 12) -> set[int]:
    """Ports that answer through HAProxy; 0 stands for its own 503."""
    ports = set()
    for _ in range(count):
        try:
            ports.add(int(fetch(f"http://{ADDRESS}:{FRONT}/", timeout_s=5)))
        except urllib.error.HTTPError:
            ports.add(0)
        except OSError:
            ports.add(-1)
    return ports


def test_servers_follow_the_instances_of_a_service(
    agent: Svcmesh, haproxy: Child, backends: list[Backend]
) -> None:
    wait_until(lambda: reached(1) == {0}, what="HAProxy without any server")
    ports = [backend.port for backend in backends]

    def follows(wanted: set[int], what: str) -> None:
        wait_until(
            lambda: reached() == wanted,
            what=lambda: f"{what}: {reached()} is not {wanted}\n{haproxy.output()}",
        )

    for number, port in enumerate(ports):
        agent.register(Name="web", ID=f"web-{number}", Address=ADDRESS, Port=port)
        follows(set(ports[: number + 1]), "an instance came")
    agent.http("/v1/agent/service/deregister/web-0", method="PUT")
    follows(set(ports[1:]), "an instance went")
    agent.http("/v1/agent/service/maintenance/web-1?enable=true", method="PUT")
    follows({ports[2]}, "an instance is in maintenance")
    agent.http("/v1/agent/service/maintenance/web-1?enable=false", method="PUT")
    follows(set(ports[1:]), "it is back")
    agent.http("/v1/agent/service/deregister/web-1", method="PUT")
    agent.http("/v1/agent/service/deregister/web-2", method="PUT")
    follows({0}, "nobody is left")
