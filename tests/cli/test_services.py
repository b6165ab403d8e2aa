"""Texts are those of a recorded Consul 1.8.7 (`cli-transcripts.md`)."""

import io
from pathlib import Path

import pytest

from tests.cli.conftest import Run, StubApi

REGISTER = "/v1/agent/service/register"


@pytest.fixture
def web_file(tmp_path: Path) -> str:
    path = tmp_path / "svc.json"
    path.write_text('{"service": {"id": "web-1", "name": "web", "port": 80, "tags": ["t"]}}')
    return str(path)


def test_flags_become_the_body_of_a_registration(run: Run, api: StubApi) -> None:
    api.answer(REGISTER, "")
    result = run(
        "services", "register", "-name=api", "-port=8080", "-tag=a", "-tag", "b,c", "-meta=k=v",
        "-id=api-1", "-address=10.0.0.5", "-tagged-address=lan=[::1]:81",
    )  # fmt: skip
    assert (result.status, result.out, result.err) == (0, "Registered service: api\n", "")
    assert api.requests[0].body == {
        "ID": "api-1",
        "Name": "api",
        "Tags": ["a", "b,c"],
        "Port": 8080,
        "Address": "10.0.0.5",
        "TaggedAddresses": {"lan": {"Address": "::1", "Port": 81}},
        "Meta": {"k": "v"},
    }


def test_files_are_registered_service_by_service(
    run: Run, api: StubApi, web_file: str, tmp_path: Path
) -> None:
    more = tmp_path / "more.json"
    more.write_text('{"services": [{"name": "db"}, {"name": "cache"}]}')
    api.answer(REGISTER, "")
    result = run("services", "register", web_file, str(more))
    assert result.out == (
        "Registered service: web\nRegistered service: db\nRegistered service: cache\n"
    )
    body = api.requests[0].body
    assert isinstance(body, dict)
    assert (body["ID"], body["Name"], body["Port"], body["Tags"]) == ("web-1", "web", 80, ["t"])


def test_a_file_names_what_to_deregister(run: Run, api: StubApi, web_file: str) -> None:
    api.answer("/v1/agent/service/deregister/web-1", "")
    assert run("services", "deregister", web_file).out == "Deregistered service: web-1\n"


def test_an_id_is_deregistered_whatever_letters_it_has(run: Run, api: StubApi) -> None:
    api.answer("/v1/agent/service/deregister/a%2Fb%20c", "")
    result = run("services", "deregister", "-id=a/b c")
    assert (result.status, result.out) == (0, "Deregistered service: a/b c\n")
    assert api.requests[0].method == "PUT"


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("register",), "Service registration requires at least one argument or flags."),
        (("register", "-port=5"), "Service registration requires at least one argument or flags."),
        (
            ("register", "-name=x", "svc.json"),
            "Service registration requires arguments or -id, not both.",
        ),
        (
            ("register", "nofile.json"),
            "Error: config: Open failed on nofile.json. "
            "open nofile.json: no such file or directory",
        ),
        (
            ("register", "-name=x", "-tagged-address=lan=foo"),
            "Invalid Tagged Address: address foo: missing port in address",
        ),
        (("deregister",), "Service deregistration requires at least one argument or -id."),
        (
            ("deregister", "-id=x", "f"),
            "Service deregistration requires arguments or -id, not both.",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_without_asking_the_agent(
    run: Run, api: StubApi, args: tuple[str, ...], text: str
) -> None:
    result = run("services", *args)
    assert (result.status, result.out, result.err) == (1, "", f"{text}\n")
    assert api.requests == []


def test_a_wrong_file_registers_nothing(run: Run, api: StubApi, tmp_path: Path) -> None:
    path = tmp_path / "svc.json"
    path.write_text('{"services": [{"name": "a"}, {"name": "b", "bogus": 1}]}')
    result = run("services", "register", str(path))
    assert (result.status, result.out) == (1, "")
    assert "invalid config key services[1].bogus" in result.err
    assert api.requests == []


def test_a_refusal_of_the_agent_names_the_service(run: Run, api: StubApi) -> None:
    api.answer(REGISTER, "Invalid service address", status=400)
    result = run("services", "register", "-name=x", "-address=0.0.0.0")
    assert (result.status, result.out) == (1, "")
    assert result.err == (
        'Error registering service "x": Unexpected response code: 400 (Invalid service address)\n'
    )


def test_a_dash_is_standard_input(run: Run, api: StubApi, monkeypatch: pytest.MonkeyPatch) -> None:
    api.answer(REGISTER, "")
    stdin = io.TextIOWrapper(io.BytesIO(b'{"service": {"name": "piped"}}'))
    monkeypatch.setattr("sys.stdin", stdin)
    assert run("services", "register", "-").out == "Registered service: piped\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"{")))
    assert run("services", "register", "-").err == (
        "Error: failed to parse standard input: unexpected end of JSON input\n"
    )
