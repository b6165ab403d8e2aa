import socket
import threading
from pathlib import Path

import pytest

from tests.cli.conftest import Run, StubApi


def test_the_flag_wins_over_our_variable_and_that_over_consuls(
    run: Run, api: StubApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.answer("/v1/agent/self", {"Stats": {}})
    monkeypatch.setenv("CONSUL_HTTP_ADDR", "127.0.0.1:1")
    assert run("info").status == 1
    monkeypatch.setenv("SVCMESH_HTTP_ADDR", api.address)
    assert run("info").status == 0
    assert run("info", "-http-addr=127.0.0.1:1").status == 1
    assert run("info", f"-http-addr=http://{api.address}").status == 0


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("-http-addr=bogus://x",), "Unknown protocol scheme: bogus"),
        (("-http-addr=127.0.0.1:port",), "Port could not be cast to integer value as 'port'"),
        (("-http-addr=127.0.0.1:99999",), "Port out of range 0-65535"),
        (("-http-addr=http://",), "no host: http://"),
        (("-token-file=/none/x",), "Error loading token file: open /none/x: no such file or"),
        (("-ca-file=/none/x",), "Error loading CA File: open /none/x: no such file or directory"),
        (("-ca-path=/none/x",), "lstat /none/x: no such file or directory"),
        (("-client-cert=/none/x",), "both client cert and client key must be provided"),
    ],
)
def test_what_cannot_be_used_is_named_before_anything_is_sent(
    run: Run, api: StubApi, args: tuple[str, ...], text: str
) -> None:
    result = run("info", *args)
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith(f"Error connecting to Consul agent: {text}")
    assert api.requests == []


@pytest.mark.parametrize(
    ("address", "url", "why"),
    [
        (
            "unix:///none.sock",
            "http://%2Fnone.sock",
            "dial unix /none.sock: connect: no such ",
        ),
        ("[::1]:1", "http://[::1]:1", "dial tcp [::1]:1: connect: "),
    ],
)
def test_a_failure_to_connect_is_told_in_gos_words(
    run: Run, address: str, url: str, why: str
) -> None:
    result = run("info", f"-http-addr={address}")
    assert result.status == 1
    assert result.err.startswith(f'Error querying agent: Get "{url}/v1/agent/self": {why}')


def test_https_to_a_server_without_tls_is_told_apart(run: Run, api: StubApi) -> None:
    result = run("info", f"-http-addr=https://{api.address}")
    assert result.err.endswith("http: server gave HTTP response to HTTPS client\n")


def test_a_token_that_makes_no_header_is_an_error(run: Run, api: StubApi) -> None:
    result = run("info", "-token=line1\nline2")
    assert (result.status, result.out) == (1, "")
    assert '/v1/agent/self": net/http: invalid header value' in result.err
    assert api.requests == []


def test_the_token_goes_along_and_a_file_wins_over_it(
    run: Run, api: StubApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.answer("/v1/agent/self", {"Stats": {}})
    file = tmp_path / "token"
    file.write_text("from-file\n")
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "from-environment")
    run("info")
    run("info", "-token=given")
    run("info", "-token=given", f"-token-file={file}")
    sent = [request.headers["X-Consul-Token"] for request in api.requests]
    assert sent == ["from-environment", "given", "from-file"]


def test_an_agent_behind_a_unix_socket_answers(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        body = b'{"Stats": {"a": {"b": "c"}}}'

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                connection.sendall(head + body)

        thread = threading.Thread(target=serve)
        thread.start()
        result = run("info", f"-http-addr=unix://{path}")
        thread.join()
    assert (result.status, result.out) == (0, "a:\n\tb = c\n")


def test_an_answer_that_is_not_json_is_an_error(run: Run, api: StubApi) -> None:
    api.answer("/v1/agent/self", "<html>")
    result = run("info")
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith("Error querying agent: the answer is not JSON")


def test_info_prints_sorted_groups_of_sorted_keys(run: Run, api: StubApi) -> None:
    api.answer(
        "/v1/agent/self", {"Stats": {"serf_lan": {"left": "0", "failed": "1"}, "agent": {"b": ""}}}
    )
    result = run("info")
    assert (result.status, result.err) == (0, "")
    assert result.out == "agent:\n\tb = \nserf_lan:\n\tfailed = 1\n\tleft = 0\n"


def test_info_is_there_for_programs_too(run: Run, api: StubApi) -> None:
    api.answer("/v1/agent/self", {"Stats": {"b": {"x": "1"}, "a": {}}})
    assert run("info", "-format=json").out == (
        '{\n    "a": {},\n    "b": {\n        "x": "1"\n    }\n}\n'
    )


@pytest.mark.parametrize(
    "args",
    [
        ("event", "-name=x"),
        ("lock", "p", "true"),
        ("maint",),
        ("watch", "-type=services"),
    ],
    ids=lambda args: args[0],
)
def test_these_ask_the_agent_about_itself_first(run: Run, args: tuple[str, ...]) -> None:
    name, *rest = args
    result = run(name, "-http-addr=127.0.0.1:1", *rest)
    assert (result.status, result.out) == (1, "")
    assert result.err == (
        'Error querying Consul agent: Get "http://127.0.0.1:1/v1/agent/self": '
        "dial tcp 127.0.0.1:1: connect: connection refused\n"
    )
