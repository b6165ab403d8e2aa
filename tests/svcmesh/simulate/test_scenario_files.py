"""Scenario files: what they say, and what they must not."""

from pathlib import Path

import pytest

from svcmesh.errors import ConfigError
from svcmesh.simulate.network import Link
from svcmesh.simulate.scenario import Action, Fault
from svcmesh.simulate.scenario_files import builtin_names, load, parse


def test_every_builtin_scenario_loads_and_says_what_it_is() -> None:
    assert len(builtin_names()) >= 5
    for name in builtin_names():
        scenario = load(name)
        assert scenario.name == name
        assert scenario.description


def test_every_key_ends_up_in_the_scenario() -> None:
    scenario = parse(
        {
            "name": "all",
            "members": 7,
            "duration_s": 30,
            "seeds": [4, 5],
            "start": "joining",
            "network": {"latency_ms": 3, "latency_tail_ms": 1, "loss": 0.25, "service_ms": 2},
            "gossip": {"profile": "wan", "suspicion_mult": 9, "reap_interval_s": 4},
            "fault": [
                {
                    "do": "pause",
                    "at_s": 1,
                    "for_s": 2,
                    "every_s": 3,
                    "until_s": 9,
                    "members": "50%",
                },
                {"do": "link", "members": ["n1", "n2"], "loss": 1},
                {"do": "slow", "service_ms": 5},
            ],
            "expect": {"converged_within_s": 5, "no_resurrection": True},
        },
        name="file",
    )
    assert (scenario.name, scenario.members, scenario.seeds) == ("all", 7, (4, 5))
    assert scenario.link == Link(0.003, 0.003, 0.001, 0.25, 0.0)
    assert scenario.service_s == 0.002
    assert scenario.gossip.swim.probe_interval_s == 5.0
    assert scenario.gossip.swim.suspicion_mult == 9
    assert scenario.gossip.serf.reap_interval_s == 4.0
    pause, link, slow = scenario.faults
    assert pause == Fault(
        do=Action.PAUSE, at_s=1.0, for_s=2.0, every_s=3.0, until_s=9.0, members=0.5
    )
    assert link.members == ("n1", "n2")
    assert link.link is not None
    assert link.link.loss == 1.0
    assert slow.service_s == 0.005
    assert scenario.expect.converged_within_s == 5.0
    assert scenario.expect.no_resurrection


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ([], "not a table"),
        ({"membres": 3}, "unknown key 'membres'"),
        ({"members": "many"}, "members: an integer"),
        ({"members": 0}, "members: 1 to"),
        ({"members": True}, "members: an integer"),
        ({"duration_s": 0}, "duration_s"),
        ({"start": "later"}, "start: one of joined, joining"),
        ({"seeds": []}, None),
        ({"seeds": ["x"]}, "seeds: integers"),
        ({"network": {"loss": 2}}, "0 to 1"),
        ({"network": {"latency_ms": [3, 1]}}, "least before most"),
        ({"network": {"latency_ms": [1]}}, "latency_ms"),
        ({"gossip": {"profile": "moon"}}, "one of lan, wan, local"),
        ({"gossip": {"suspicion_mult": 1.5}}, "suspicion_mult: int"),
        ({"gossip": {"probe_timeout_s": 2}}, "probe_timeout_s: must be below"),
        ({"gossip": {"fanout": 3}}, "unknown key 'fanout'"),
        ({"fault": [{"do": "explode"}]}, "fault: do: one of crash"),
        ({"fault": [{"do": "crash", "service_ms": 3}]}, "unknown key 'service_ms'"),
        ({"fault": [{"do": "slow"}]}, "service_ms must be positive"),
        ({"fault": [{"do": "pause", "for_s": 0}]}, "for_s must be positive"),
        ({"fault": [{"do": "crash", "members": "120%"}]}, "a share"),
        ({"fault": [{"do": "crash", "members": "x%"}]}, "no share"),
        ({"fault": [{"do": "crash", "members": []}]}, "members"),
        ({"fault": [{"do": "crash", "until_s": 9}]}, "until_s goes with every_s"),
        ({"fault": [{"do": "crash", "at_s": 999}]}, "after the end"),
        ({"fault": {}}, "fault: not a list"),
        ({"expect": {"converged": 3}}, "unknown key 'converged'"),
    ],
)
def test_what_is_wrong_is_said(table: object, complaint: str | None) -> None:
    if complaint is None:
        assert parse(table, name="x").seeds == (1,)
        return
    with pytest.raises(ConfigError, match=complaint):
        parse(table, name="x")


def test_files_are_toml_or_json(tmp_path: Path) -> None:
    toml, json = tmp_path / "one.toml", tmp_path / "two.json"
    toml.write_text("members = 3\n")
    json.write_text('{"members": 4}')
    assert (load(str(toml)).name, load(str(toml)).members) == ("one", 3)
    assert (load(str(json)).name, load(str(json)).members) == ("two", 4)


def test_a_file_that_is_none_is_an_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there are crash"):
        load(str(tmp_path / "absent.toml"))
    broken = tmp_path / "broken.toml"
    broken.write_text("members = ")
    with pytest.raises(ConfigError, match=r"broken\.toml"):
        load(str(broken))
    with pytest.raises(ConfigError):
        load(str(tmp_path))
