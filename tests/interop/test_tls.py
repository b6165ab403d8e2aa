"""TLS as an operator has it: certificates by command, agents that change over, strangers."""

import os
import shutil
import subprocess
import sys
import threading
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.processes import (
    PATIENCE_S,
    Svcmesh,
    ended_afterwards,
    require_program,
    wait_until,
)

pytestmark = pytest.mark.interop

SERVERS = ("127.0.70.2", "127.0.70.3", "127.0.70.4")
CLIENT = "127.0.70.5"
STRANGER = "127.0.70.6"
CONSUL = os.environ.get("CONSUL_BINARY") or shutil.which("consul")
OURS = [sys.executable, "-m", "cli"]

CERTIFICATES = """
ca_file = "{folder}/consul-agent-ca.pem"
cert_file = "{folder}/dc1-{kind}-consul-0.pem"
key_file = "{folder}/dc1-{kind}-consul-0-key.pem"
"""


def make(program: list[str], folder: Path, *arguments: str) -> None:
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run(
        [*program, "tls", *arguments],
        cwd=folder,
        env=environment,
        check=True,
        capture_output=True,
        timeout=PATIENCE_S,
    )


def make_all(program: list[str], folder: Path) -> None:
    make(program, folder, "ca", "create")
    for kind in ("-server", "-client", "-cli"):
        make(program, folder, "cert", "create", kind)


@pytest.mark.parametrize("authority", ["consul", "svcmesh"])
def test_authorities_of_consul_and_ours_sign_for_each_other(tmp_path: Path, authority: str) -> None:
    openssl = require_program("openssl")
    if CONSUL is None:
        pytest.skip("consul is not installed")
    programs = {"consul": [CONSUL], "svcmesh": OURS}
    make(programs[authority], tmp_path, "ca", "create")
    for program in programs.values():
        for kind in ("-server", "-client", "-cli"):
            make(program, tmp_path, "cert", "create", kind)
    certificates = sorted(tmp_path.glob("dc1-*[0-9].pem"))
    assert len(certificates) == 6
    ca = str(tmp_path / "consul-agent-ca.pem")
    for certificate in certificates:
        for purpose in ("sslserver", "sslclient"):
            subprocess.run(
                [openssl, "verify", "-purpose", purpose, "-CAfile", ca, str(certificate)],
                check=True,
                capture_output=True,
            )


class Agents:
    """Three servers and a client, whose TLS comes from a file each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.servers = [
            self._agent(f"s{n}", address, "server", "-server", "-bootstrap-expect", "3")
            for n, address in enumerate(SERVERS)
        ]
        self.client = self._agent("c", CLIENT, "client")
        self.all = [*self.servers, self.client]

    def _agent(self, name: str, address: str, kind: str, *flags: str) -> Svcmesh:
        self.configure(name, kind, "")
        joins = [flag for one in SERVERS for flag in ("-retry-join", one)]
        file = str(self.folder / f"{name}.hcl")
        again = ("-retry-interval", "1s", "-hcl", "ports { https = 8501 }")
        certificates = ("-config-file", file)
        return Svcmesh(name, address, self.folder, *flags, *joins, *again, *certificates)

    def configure(self, name: str, kind: str, more: str) -> None:
        text = CERTIFICATES.format(folder=self.folder, kind=kind) + more
        (self.folder / f"{name}.hcl").write_text(text)

    def put(self, key: str) -> bool:
        return bool(self.client.http(f"/v1/kv/{key}", method="PUT", body=key))

    def wait_until_store_works(self) -> None:
        def works() -> bool:
            try:
                return self.put("ready")
            except urllib.error.HTTPError:
                return False

        wait_until(works, what=lambda: f"a write\n{self.client.output()}")


@pytest.fixture
def agents(tmp_path: Path) -> Iterator[Agents]:
    make_all(OURS, tmp_path)
    started = Agents(tmp_path)
    with ended_afterwards(*started.all):
        for one in started.all:
            one.wait_until_up()
        started.wait_until_store_works()
        yield started


def refused_by_anyone(agents: Agents, reason: str) -> int:
    """How many connections the servers have refused for a reason."""
    counts = []
    for server in agents.servers:
        statistics = server.http("/v1/agent/self")["Stats"]["rpc"]
        counts.append(int(statistics.get(f"refused.{reason}", "0")))
    return sum(counts)


def status(agent: Svcmesh, path: str) -> int:
    try:
        agent.http(path)
    except urllib.error.HTTPError as error:
        return error.code
    return 200


def test_a_cluster_changes_over_to_mutual_tls_without_losing_a_write(agents: Agents) -> None:
    is_over = threading.Event()
    failures: list[str] = []
    written = 0

    def write() -> None:
        nonlocal written
        while not is_over.is_set():
            try:
                agents.put(f"k/{written}")
                written += 1
            except urllib.error.HTTPError as error:
                text = error.read().decode()
                # A busy machine may have an election, and nothing was done.
                if "No cluster leader" not in text:
                    failures.append(text)
            except OSError as error:
                failures.append(str(error))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for more in (
            "verify_outgoing = true",
            "verify_outgoing = true verify_server_hostname = true",
            "verify_outgoing = true verify_server_hostname = true verify_incoming = true",
        ):
            for agent in agents.all:
                kind = "client" if agent is agents.client else "server"
                agents.configure(agent.name, kind, more)
                agent.http("/v1/agent/reload", method="PUT")
            before = written
            wait_until(lambda: written > before + 50, what="writes go on")  # noqa: B023  # called before the loop goes on
    finally:
        is_over.set()
        writer.join()
    assert not failures
    assert len(agents.client.http("/v1/kv/k/?keys")) == written
    assert refused_by_anyone(agents, "not-encrypted") == 0

    # Whoever has no certificate of ours gets no key, and the log says why.
    others = agents.folder / "others"
    make_all(OURS, others)
    for number, (text, reason) in enumerate(
        (
            ("", "not-encrypted"),
            (f'ca_file = "{agents.folder}/consul-agent-ca.pem" verify_outgoing = true',
             "no-certificate"),
            (CERTIFICATES.format(folder=others, kind="client")
             + f'ca_file = "{agents.folder}/consul-agent-ca.pem" verify_outgoing = true',
             "unknown-authority"),
        )
    ):  # fmt: skip
        stranger = Svcmesh(
            *(f"x{number}", STRANGER, agents.folder, "-retry-join", SERVERS[0], "-hcl", text)
        )
        with ended_afterwards(stranger):
            stranger.wait_until_up()
            wait_until(lambda: len(stranger.statuses()) > 4, what="joined")  # noqa: B023  # called before the loop goes on

            def is_refused(stranger: Svcmesh = stranger, reason: str = reason) -> bool:
                code = status(stranger, "/v1/kv/ready")
                assert code != 200, "a stranger was let in"
                return code == 500 and refused_by_anyone(agents, reason) > 0

            wait_until(is_refused, what="it is refused")
            wait_until(
                lambda: any(
                    "refused a connection from 127.0.0.1: it" in server.output()
                    for server in agents.servers
                ),
                what="a server says so",
            )
            wait_until(
                lambda: "no connection to 127.0.70." in stranger.output(),  # noqa: B023  # called before the loop goes on
                what="it says so itself",
            )

    # The leader's death costs no more than without TLS.
    leader = agents.client.http("/v1/status/leader")
    [dying] = [one for one in agents.servers if leader.startswith(f"{one.address}:")]
    dying.kill()
    agents.wait_until_store_works()
    assert len(agents.client.http("/v1/kv/k/?keys")) == written


def test_the_command_line_reaches_https_with_a_certificate(agents: Agents) -> None:
    folder, server = agents.folder, agents.servers[0]
    agents.configure(server.name, "server", "verify_incoming_https = true")
    server.http("/v1/agent/reload", method="PUT")

    def members(*flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*OURS, "members", f"-http-addr=https://{server.address}:8501", *flags],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )

    ca = str(folder / "consul-agent-ca.pem")
    cert, key = (str(folder / f"dc1-cli-consul-0{end}.pem") for end in ("", "-key"))
    flags = (f"-ca-file={ca}", f"-client-cert={cert}", f"-client-key={key}")
    named = "-tls-server-name=server.dc1.consul"
    done = members(*flags, named)
    assert (done.returncode, done.stderr) == (0, "")
    assert "127.0.70.5:8301" in done.stdout
    done = members(
        CONSUL_CACERT=ca, CONSUL_CLIENT_CERT=cert, CONSUL_CLIENT_KEY=key,
        CONSUL_TLS_SERVER_NAME="localhost",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "x509: " in members(*flags).stderr, "no certificate for its address"
    assert members(f"-ca-file={ca}", named).returncode == 1, "no certificate of ours"


def test_data_centers_call_each_other_and_check_whom_they_call(tmp_path: Path) -> None:
    make(OURS, tmp_path, "ca", "create")
    for dc in ("dc1", "dc2"):
        for kind in ("-server", "-client"):
            make(OURS, tmp_path, "cert", "create", kind, "-dc", dc)

    def agent(name: str, address: str, dc: str, *flags: str, certificate: str = "") -> Svcmesh:
        kind = "server" if "-server" in flags else "client"
        text = CERTIFICATES.format(folder=tmp_path, kind=kind).replace("dc1-", f"{dc}-")
        if certificate:
            text = CERTIFICATES.format(folder=tmp_path, kind=certificate)
        mutual = "verify_outgoing = true verify_server_hostname = true verify_incoming = true"
        options = ("-retry-interval", "1s", "-hcl", text, "-hcl", mutual)
        return Svcmesh(name, address, tmp_path, "-datacenter", dc, *options, *flags)

    alone = ("-server", "-bootstrap-expect", "1")
    s1 = agent("s1", "127.0.75.2", "dc1", *alone)
    c1 = agent("c1", "127.0.75.3", "dc1", "-retry-join", s1.address)
    wan = ("-retry-join-wan", s1.address, "-retry-interval-wan", "1s")
    s2 = agent("s2", "127.0.76.2", "dc2", *alone, *wan)
    c2 = agent("c2", "127.0.76.3", "dc2", "-retry-join", s2.address)
    # Of the third data center, but with a certificate of the first.
    s3 = agent("s3", "127.0.77.2", "dc3", *alone, *wan, certificate="server")
    with ended_afterwards(s1, c1, s2, c2, s3):
        for one in (s1, c1, s2, c2, s3):
            one.wait_until_up()
        c2.register(Name="web", Port=80)

        def until_answered(asked: Svcmesh, path: str, *, is_write: bool = False) -> Any:  # noqa: ANN401  # JSON
            answers: list[object] = []

            def is_answered() -> bool:
                method, body = ("PUT", "v") if is_write else ("GET", None)
                answers[:] = [asked.http(path, method=method, body=body)]
                return bool(answers[0])

            wait_until(is_answered, what=path)
            return answers[0]

        [row] = until_answered(c1, "/v1/health/service/web?dc=dc2")
        assert row["Node"]["Node"] == "c2"
        until_answered(c1, "/v1/kv/a?dc=dc2", is_write=True)
        assert len(until_answered(c2, "/v1/kv/a")) == 1
        text = "its certificate is for server.dc1.consul, localhost, not for server.dc3.svcmesh or "
        wait_until(lambda: text in s1.output(), what="the stranger is noticed")
        assert status(c1, "/v1/catalog/nodes?dc=dc3") == 500
