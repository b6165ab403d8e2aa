"""A stand-in for an agent's HTTP API, and a way to run one command line in this process."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cli.main import main


@dataclass
class Request:
    method: str
    path: str
    """With the query."""
    body: object = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class StubApi:
    """Answers what a test has put into `answers`, by path without the query; else 404."""

    address: str = ""
    answers: dict[str, list[tuple[int, object, int]]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)

    def answer(self, path: str, value: object, *, status: int = 200, index: int = 0) -> None:
        """A string or bytes are sent as they are, anything else as JSON. The answer from now on."""
        self.answers[path] = [(status, value, index)]

    def then(self, path: str, value: object, *, status: int = 200, index: int = 0) -> None:
        """The answer after the earlier ones, each of which is given once."""
        self.answers.setdefault(path, []).append((status, value, index))

    def paths(self) -> list[str]:
        return [request.path for request in self.requests]


@dataclass
class Result:
    status: int
    out: str
    err: str


Run = Callable[..., Result]
"""Runs `svcmesh` with these arguments, the address of the stub in the environment."""


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@pytest.fixture
def api() -> Iterator[StubApi]:
    stub = StubApi()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(None)

        def do_PUT(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            try:
                body = json.loads(content) if content else None
            except ValueError:
                body = content.decode(errors="replace")
            self._answer(body)

        do_POST = do_DELETE = do_PUT  # names that http.server looks for

        def _answer(self, body: object) -> None:
            stub.requests.append(Request(self.command, self.path, body, dict(self.headers)))
            answers = stub.answers.get(self.path.partition("?")[0], [(404, "404", 0)])
            status, value, index = answers.pop(0) if len(answers) > 1 else answers[0]
            content = value if isinstance(value, bytes) else _text(value).encode()
            self.send_response(status)
            if index:
                self.send_header("X-Consul-Index", str(index))
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stub.address = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield stub
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, api: StubApi) -> Run:
    for name in [name for name in os.environ if name.startswith(("SVCMESH_", "CONSUL_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CONSUL_HTTP_ADDR", api.address)

    def run_command(*args: str) -> Result:
        status = main(args)
        captured = capsys.readouterr()
        return Result(status, captured.out, captured.err)

    return run_command
