from tests.cli.conftest import Run, StubApi

PATH = "/v1/agent/reload"


def test_a_reload_says_what_has_changed_and_what_awaits_a_restart(run: Run, api: StubApi) -> None:
    api.answer(
        PATH,
        {
            "Applied": ["log_level: INFO -> DEBUG", "service web: added"],
            "NeedsRestart": ["ports.http: 8500 -> 8501"],
            "Warnings": [],
        },
    )
    result = run("reload")
    assert (result.status, result.err) == (0, "")
    assert result.out == (
        "Configuration reload triggered\n"
        "\nChanged:\n    log_level: INFO -> DEBUG\n    service web: added\n"
        "\nNot changed before a restart:\n    ports.http: 8500 -> 8501\n"
    )


def test_an_agent_that_gives_no_report_is_fine(run: Run, api: StubApi) -> None:
    api.answer(PATH, None)
    assert run("reload").out == "Configuration reload triggered\n"


def test_a_refused_reload_says_why(run: Run, api: StubApi) -> None:
    api.answer(PATH, "failed to parse a.json: 1 error occurred", status=500)
    result = run("reload")
    assert result.status == 1
    assert result.err.startswith("Error reloading: Unexpected response code: 500 (")
