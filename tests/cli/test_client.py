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
        (("-http-addr=unix:///tmp/x",), "Unix sockets are not built yet: unix:///tmp/x"),
        (("-http-addr=https://127.0.0.1",), "only plain HTTP is built yet: https://127.0.0.1"),
        (("-http-addr=127.0.0.1:port",), "-http-addr: "),
        (("-http-addr=:8500",), "-http-addr: no host"),
        (("-token=secret",), "-token: access control is not built yet"),
        (("-token-file=/x",), "-token-file: access control is not built yet"),
        (("-ca-file=/x",), "-ca-file: TLS is not built yet"),
    ],
)
def test_what_is_not_built_is_refused_and_never_silently_accepted(
    run: Run, api: StubApi, args: tuple[str, ...], text: str
) -> None:
    result = run("info", *args)
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith(text)
    assert "secret" not in result.err
    assert api.requests == []


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
