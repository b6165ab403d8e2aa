import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.cli.conftest import Run, StubApi

PATH = "/v1/agent/consistency"


def ago(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds + 0.5)).isoformat()


def peer(name: str, agrees: bool | None, **more: Any) -> dict[str, Any]:  # noqa: ANN401  # JSON
    known = agrees is not None
    return {
        "Node": name, "Agrees": agrees, "Since": ago(65) if known else None,
        "Compared": ago(1) if known else None, "DifferingBuckets": 0, "Differences": [], **more,
    }  # fmt: skip


def report(agrees: bool | None, *peers: dict[str, Any], lag_s: float = 0.0) -> dict[str, Any]:
    return {
        "Node": "n1", "Agrees": agrees, "Since": ago(65), "LagSeconds": lag_s,
        "Fingerprint": "00ab", "Ready": True, "Peers": list(peers),
    }  # fmt: skip


def test_agreement_is_a_success(run: Run, api: StubApi) -> None:
    api.answer(PATH, report(True, peer("n2", True), peer("n3", True)))
    result = run("consistency")
    assert result.status == 0
    assert result.out.startswith("n1 agrees with 2 peers, since ")
    assert ", 1m5s ago (fingerprint 00ab)\n" in result.out
    header, row, _ = result.out.splitlines()[2:]
    assert header.split() == ["Peer", "Agrees", "For", "Compared", "Differs", "in"]
    assert row.split() == ["n2", "yes", "1m5s", "1s", "ago", "-"]


@pytest.mark.parametrize(
    ("difference", "text"),
    [
        (((1, 4), (1, 9), True, False), "records of n3: we lack 5 changes, since "),
        (((1, 9), (1, 8), False, False), "records of n3: n2 lacks 1 change, since "),
        (((1, 9), (2, 1), True, False), "records of n3: we lack the latest run, since "),
        (((0, 0), (0, 0), True, True), "external records by n3: other content"),
    ],
)
def test_a_difference_says_whose_records_and_who_lacks_them(
    run: Run,
    api: StubApi,
    difference: tuple[tuple[int, int], tuple[int, int], bool, bool],
    text: str,
) -> None:
    ours, theirs, we_lack, is_external = difference
    found = {
        "Node": "n3", "External": is_external, "WeLack": we_lack, "Since": ago(15),
        "Ours": {"Epoch": ours[0], "Sequence": ours[1]},
        "Theirs": {"Epoch": theirs[0], "Sequence": theirs[1]},
    }  # fmt: skip
    api.answer(PATH, report(False, peer("n2", False, Differences=[found]), lag_s=15.0))
    result = run("consistency")
    assert result.status == 2
    assert result.out.startswith("n1 differs from 1 of 1 peer; it has lacked something for 15 s\n")
    assert text in result.out


def test_what_is_being_written_is_no_disagreement(run: Run, api: StubApi) -> None:
    found = {
        "Node": "n3", "External": False, "WeLack": False, "Since": ago(1),
        "Ours": {"Epoch": 1, "Sequence": 9}, "Theirs": {"Epoch": 1, "Sequence": 8},
    }  # fmt: skip
    api.answer(PATH, report(False, peer("n2", False, Differences=[found])))
    result = run("consistency")
    assert result.status == 0
    assert result.out.startswith(
        "n1 differs from 1 of 1 peer by what was written just now; it lacks nothing itself\n"
    )


def test_a_difference_of_unknown_content_is_counted(run: Run, api: StubApi) -> None:
    api.answer(PATH, report(False, peer("n2", False, DifferingBuckets=3)))
    assert "3 of 128 parts" in run("consistency").out


def test_without_peers_there_is_nothing_to_disagree_with(run: Run, api: StubApi) -> None:
    api.answer(PATH, report(True))
    result = run("consistency")
    assert (result.status, result.out) == (0, "n1 has no peers to compare with\n")


def test_before_the_first_comparison_nothing_is_known(run: Run, api: StubApi) -> None:
    api.answer(PATH, report(None, peer("n2", None)))
    result = run("consistency")
    assert result.status == 2
    assert result.out.startswith("n1 has not been compared with any of its 1 peer yet\n")
    assert result.out.splitlines()[-1].split() == ["n2", "-", "-", "never", "-"]


def test_json_is_the_answer_of_the_api(run: Run, api: StubApi) -> None:
    found = report(True, peer("n2", True))
    api.answer(PATH, found)
    assert json.loads(run("consistency", "-format=json").out) == found
