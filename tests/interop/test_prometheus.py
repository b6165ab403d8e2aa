"""Prometheus finds its targets in an agent: by Consul's API, and by SRV records.

Debian's build leaves `consul_sd_configs` out; what Prometheus would ask is asked by hand there.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

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

ADDRESS = "127.0.44.2"
PROMETHEUS = f"{ADDRESS}:9090"

BY_API = f"""
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
- job_name: mesh
  consul_sd_configs: [{{server: "{ADDRESS}:8500", services: [web], refresh_interval: 1s}}]
"""
BY_DNS = """
global: {scrape_interval: 1s, scrape_timeout: 1s}
scrape_configs:
- job_name: mesh
  dns_sd_configs: [{names: [web.service.consul], type: SRV, refresh_interval: 1s}]
"""


@pytest.fixture
def agent(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Svcmesh]:
    subject = Svcmesh("n1", ADDRESS, tmp_path, *getattr(request, "param", ()))
    with ended_afterwards(subject):
        subject.wait_until_up()
        yield subject


@pytest.fixture
def target() -> Iterator[int]:
    """A program with one metric; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(b"answer 42\n")

        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer((ADDRESS, 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def prometheus(configuration: str, folder: Path, *wrapper: str) -> Child:
    program = require_program("prometheus")
    file = folder / "prometheus.yml"
    file.write_text(configuration)
    promtool = require_program("promtool")
    checked = subprocess.run(
        [promtool, "check", "config", str(file)], capture_output=True, text=True
    )
    if "consul_sd_configs not found" in checked.stdout + checked.stderr:
        pytest.skip("this build of prometheus has no consul_sd_configs")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    command = [
        program, f"--config.file={file}", f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address={PROMETHEUS}",
    ]  # fmt: skip
    return Child([*wrapper, *command], folder / "prometheus.log")


def ask(path: str) -> Any:  # noqa: ANN401  # JSON
    return json.loads(fetch(f"http://{PROMETHEUS}{path}"))["data"]


def ports_up() -> list[str]:
    """Ports of the targets that were scraped well; their hosts are addresses, or names of SRV."""
    try:
        active = ask("/api/v1/targets?state=active")["activeTargets"]
    except OSError:
        return []
    up = [one["discoveredLabels"]["__address__"] for one in active if one["health"] == "up"]
    return sorted(address.rpartition(":")[2] for address in up)


def follows(agent: Svcmesh, running: Child, port: int) -> None:
    """A target comes with its service, is scraped, and goes with it."""
    agent.register(Name="web", ID="web-1", Port=port, Address=ADDRESS, Tags=["a"], Meta={"k": "v"})
    wait_until(
        lambda: ports_up() == [str(port)],
        what=lambda: f"the target is up\n{running.output()}",
    )
    wait_until(
        lambda: ask("/api/v1/query?query=answer")["result"],
        what="its metric is there",
    )
    agent.http("/v1/agent/service/deregister/web-1", method="PUT")
    wait_until(lambda: ports_up() == [], what="the target is gone")


def test_targets_follow_a_service_by_the_api(agent: Svcmesh, target: int, tmp_path: Path) -> None:
    running = prometheus(BY_API, tmp_path)
    with ended_afterwards(running):
        follows(agent, running, target)


@pytest.mark.parametrize("agent", [("-dns-port=53",)], indirect=True)
def test_targets_follow_a_service_by_its_srv_records(
    agent: Svcmesh, target: int, tmp_path: Path
) -> None:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("a resolver configuration of its own needs root and unshare")
    # Prometheus asks the system's resolver, at port 53.
    resolver = tmp_path / "resolv.conf"
    resolver.write_text(f"nameserver {ADDRESS}\n")
    in_own_mounts = (
        "unshare", "--mount", "sh", "-c",
        f'mount --bind {resolver} "$(readlink -f /etc/resolv.conf)" && exec "$@"', "sh",
    )  # fmt: skip
    running = prometheus(BY_DNS, tmp_path, *in_own_mounts)
    with ended_afterwards(running):
        follows(agent, running, target)


def test_what_prometheus_asks_by_the_api_is_answered_with_what_it_reads(
    agent: Svcmesh, target: int
) -> None:
    agent.register(
        Name="web", ID="web-1", Port=target, Address=ADDRESS, Tags=["a", "b"], Meta={"k": "v"}
    )
    # Its data center first, then the names of services, then the instances of each.
    assert agent.http("/v1/agent/self")["Config"]["Datacenter"] == "dc1"
    assert agent.http("/v1/catalog/services?stale=&wait=120000ms")["web"] == ["a", "b"]
    (entry,) = agent.http("/v1/health/service/web?stale=&tag=a&tag=b&wait=120000ms")
    service, node = entry["Service"], entry["Node"]
    assert (service["Address"], service["Port"], service["ID"]) == (ADDRESS, target, "web-1")
    assert (service["Tags"], service["Meta"]) == (["a", "b"], {"k": "v"})
    assert (node["Node"], node["Address"], node["Datacenter"]) == ("n1", ADDRESS, "dc1")
    assert node["TaggedAddresses"]["lan"] == ADDRESS
    assert isinstance(node["Meta"], dict)
    assert {check["Status"] for check in entry["Checks"]} == {"passing"}
