"""Texts are those of a recorded Consul 1.8.7 (`cli-transcripts.md`)."""

from tests.cli.conftest import Run, StubApi

REFUSED = (
    "1 error occurred:\n\t* Failed to join 127.0.0.77: dial tcp 127.0.0.77:8301: connect: "
    "connection refused\n\n"
)


def test_one_address_that_answers_is_enough(run: Run, api: StubApi) -> None:
    api.answer("/v1/agent/join/127.0.0.1", "")
    api.answer("/v1/agent/join/127.0.0.77", REFUSED, status=500)
    result = run("join", "127.0.0.1", "127.0.0.77")
    assert result.status == 0
    assert result.out == "Successfully joined cluster by contacting 1 nodes.\n"
    assert result.err.startswith("Error joining address '127.0.0.77': ")


def test_when_nobody_answers_every_reason_is_told(run: Run, api: StubApi) -> None:
    api.answer("/v1/agent/join/127.0.0.77", REFUSED, status=500)
    result = run("join", "127.0.0.77")
    assert (result.status, result.out) == (1, "")
    assert result.err == (
        f"Error joining address '127.0.0.77': Unexpected response code: 500 ({REFUSED})\n"
        "Failed to join any nodes.\n"
    )


def test_the_wan_is_asked_for_in_the_query(run: Run, api: StubApi) -> None:
    api.answer("/v1/agent/join/%5B%3A%3A1%5D%3A8302", "")
    assert run("join", "-wan", "[::1]:8302").status == 0
    assert api.requests[0].path.endswith("?wan=1")


def test_without_an_address_usage_is_shown(run: Run) -> None:
    result = run("join")
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith(
        "At least one address to join must be specified.\n\n"
        "Usage: svcmesh join [options] address ...\n"
    )


def test_leaving_is_confirmed(run: Run, api: StubApi) -> None:
    api.answer("/v1/agent/leave", "")
    result = run("leave")
    assert (result.status, result.out, result.err) == (0, "Graceful leave complete\n", "")
    assert [request.method for request in api.requests] == ["PUT"]


def test_leaving_without_an_agent_is_an_error(run: Run) -> None:
    result = run("leave", "-http-addr=127.0.0.1:1")
    assert (result.status, result.out) == (1, "")
    assert result.err == (
        'Error leaving: Put "http://127.0.0.1:1/v1/agent/leave": '
        "dial tcp 127.0.0.1:1: connect: connection refused\n"
    )


def test_leaving_takes_no_arguments_so_that_no_agent_leaves_by_mistake(
    run: Run, api: StubApi
) -> None:
    result = run("leave", "extra")
    assert (result.status, result.err) == (1, "Error found unexpected args: [extra]\n")
    assert result.out.startswith("Usage: svcmesh leave [options]")
    assert api.requests == []
