"""`svcmesh simulate`."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run

SMALL = """
description = "One of six dies."
members = 6
duration_s = 30
[[fault]]
do = "crash"
at_s = 2
[expect]
detected_within_s = {limit}
"""


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(SMALL.format(limit=25))
    return path


def test_it_reports_what_came_of_a_scenario(run: Run, scenario: Path) -> None:
    done = run("simulate", "-seed", "1", "-seed", "2", str(scenario))
    assert done.status == 0
    assert "small: One of six dies." in done.out
    assert "6 members, 30 s, 2 runs" in done.out
    assert "failures told of members that had gone  10" in done.out
    assert "full dissemination" in done.out


def test_an_expectation_that_does_not_come_is_status_2(run: Run, scenario: Path) -> None:
    scenario.write_text(SMALL.format(limit=1))
    done = run("simulate", str(scenario))
    assert done.status == 2
    assert "Expected, and did not come:" in done.out


def test_json_is_everything_and_nothing_else(run: Run, scenario: Path) -> None:
    done = run("simulate", "-format=json", str(scenario))
    value = json.loads(done.out)
    assert value["summary"]["detections"] == 5
    assert len(value["runs"][0]["samples"]) == 31


def test_flags_take_the_place_of_what_the_scenario_says(run: Run, scenario: Path) -> None:
    done = run("simulate", "-members=4", "-duration=20", "-format=json", str(scenario))
    value = json.loads(done.out)
    assert (value["scenario"]["members"], value["scenario"]["duration_s"]) == (4, 20.0)


def test_results_and_pictures_are_written(run: Run, scenario: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    assert run("simulate", "-out", str(out), str(scenario)).status == 0
    names = {path.name for path in out.iterdir()}
    assert names == {
        "results.json", "convergence.svg", "detection.svg", "false-positives.svg", "traffic.svg",
    }  # fmt: skip
    assert json.loads((out / "results.json").read_text())["runs"]


def test_builtin_scenarios_are_listed(run: Run) -> None:
    done = run("simulate", "-list")
    assert done.status == 0
    assert "split " in done.out


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        ((), "Give one scenario"),
        (("crash", "-seed", "1"), "Give one scenario, after the flags"),
        (("no-such",), "no scenario and no file no-such"),
        (("-seed", "x", "crash"), "-seed: an integer"),
        (("-format", "xml", "crash"), "Invalid format: xml"),
        (("-members", "0", "crash"), "members: 1 to"),
    ],
)
def test_what_is_wrong_is_said(run: Run, args: tuple[str, ...], complaint: str) -> None:
    done = run("simulate", *args)
    assert done.status == 1
    assert complaint in done.err
