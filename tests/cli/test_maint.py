"""Texts are those of a recorded Consul 1.8.7 (`cli-transcripts.md`)."""

import json

import pytest

from tests.cli.conftest import Run, StubApi

NODE = "/v1/agent/maintenance"
SERVICE = "/v1/agent/service/maintenance/web-1"


@pytest.mark.parametrize(
    ("args", "path", "request_path", "text"),
    [
        (
            ("-enable", "-reason=disk swap"),
            NODE,
            f"{NODE}?enable=true&reason=disk+swap",
            "Node maintenance is now enabled",
        ),
        (("-disable",), NODE, f"{NODE}?enable=false", "Node maintenance is now disabled"),
        (
            ("-enable", "-service=web-1"),
            SERVICE,
            f"{SERVICE}?enable=true&reason=",
            'Service maintenance is now enabled for "web-1"',
        ),
        (
            ("-disable", "-service=web-1"),
            SERVICE,
            f"{SERVICE}?enable=false",
            'Service maintenance is now disabled for "web-1"',
        ),
    ],
)
def test_maintenance_is_turned_on_and_off(
    run: Run, api: StubApi, args: tuple[str, ...], path: str, request_path: str, text: str
) -> None:
    api.answer(path, "")
    result = run("maint", *args)
    assert (result.status, result.out, result.err) == (0, f"{text}\n", "")
    assert api.requests[0].method == "PUT"
    assert api.paths() == [request_path]


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("-enable", "-disable"), "Only one of -enable or -disable may be provided"),
        (("-service=web-1",), "Service requires either -enable or -disable"),
        (("-reason=x",), "Reason may only be provided with -enable"),
        (("-disable", "-reason=x"), "Reason may only be provided with -enable"),
    ],
)
def test_flags_that_contradict_are_refused(
    run: Run, api: StubApi, args: tuple[str, ...], text: str
) -> None:
    result = run("maint", *args)
    assert (result.status, result.out, result.err) == (1, "", f"{text}\n")
    assert api.requests == []


def test_an_unknown_service_is_named(run: Run, api: StubApi) -> None:
    api.answer(SERVICE, 'No service registered with ID "web-1"', status=404)
    assert run("maint", "-enable", "-service=web-1").err == (
        "Error enabling service maintenance: Unexpected response code: 404 "
        '(No service registered with ID "web-1")\n'
    )


CHECKS = {
    "_service_maintenance:web-1": {"ServiceID": "web-1", "Notes": "x"},
    "_node_maintenance": {"ServiceID": "", "Notes": "disk swap"},
    "service:web-1": {"ServiceID": "web-1", "Notes": "y"},
}


def test_without_flags_it_lists_what_is_in_maintenance(run: Run, api: StubApi) -> None:
    api.answer("/v1/agent/self", {"Config": {"NodeName": "cli-a"}})
    api.answer("/v1/agent/checks", CHECKS)
    result = run("maint")
    assert result.status == 0
    assert result.out == (
        "Node:\n  Name:   cli-a\n  Reason: disk swap\n\nService:\n  ID:     web-1\n  Reason: x\n\n"
    )


def test_nothing_in_maintenance_prints_nothing(run: Run, api: StubApi) -> None:
    api.answer("/v1/agent/self", {"Config": {"NodeName": "cli-a"}})
    api.answer("/v1/agent/checks", {})
    assert run("maint").out == ""
    assert json.loads(run("maint", "-format=json").out) == {"Node": None, "Services": []}
