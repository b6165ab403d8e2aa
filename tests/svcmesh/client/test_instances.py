from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcmesh.client import BadAnswerError, HealthStatus, Instance, ServiceQuery
from svcmesh.client.instances import read_instances


def entry(*statuses: str, check_id: str = "c", **service: Any) -> dict[str, Any]:  # noqa: ANN401  # JSON
    return {
        "Node": {"Node": "n1", "Address": "10.0.0.1", "Datacenter": "dc1", "Meta": {"r": "1"}},
        "Service": {"ID": "web-1", "Service": "web", "Tags": ["a"], "Port": 80, **service},
        "Checks": [{"CheckID": check_id, "Status": status} for status in statuses],
    }


def test_an_instance_is_read_with_its_node() -> None:
    (found,) = read_instances([entry("passing", Meta={"k": "v"})])
    assert found == Instance(
        service="web", id="web-1", node="n1", address="10.0.0.1", port=80, tags=("a",),
        meta={"k": "v"}, node_meta={"r": "1"}, datacenter="dc1",
    )  # fmt: skip


def test_the_address_of_the_service_wins_over_that_of_the_node() -> None:
    (found,) = read_instances([entry(Address="fd00::1")])
    assert found.authority == "[fd00::1]:80"
    assert found.url("x", scheme="https") == "https://[fd00::1]:80/x"


@pytest.mark.parametrize(
    ("statuses", "status"),
    [
        ((), HealthStatus.PASSING),
        (("passing", "warning"), HealthStatus.WARNING),
        (("warning", "critical", "passing"), HealthStatus.CRITICAL),
    ],
)
def test_the_worst_check_decides(statuses: tuple[str, ...], status: HealthStatus) -> None:
    (found,) = read_instances([entry(*statuses)])
    assert found.status is status


@pytest.mark.parametrize("check_id", ["_node_maintenance", "_service_maintenance:web-1"])
def test_maintenance_is_told_apart_from_failure(check_id: str) -> None:
    (found,) = read_instances([entry("critical", check_id=check_id)])
    assert found.status is HealthStatus.MAINTENANCE


def test_the_weight_is_that_of_the_status() -> None:
    weights = {"Passing": 10, "Warning": 2}
    passing, warning = read_instances(
        [entry("passing", Weights=weights), entry("warning", Weights=weights)]
    )
    assert (passing.weight, warning.weight) == (10, 2)


def test_usable_are_those_that_dns_would_answer_with() -> None:
    answer = [entry("passing", ID="p"), entry("warning", ID="w"), entry("critical", ID="c")]
    assert [one.id for one in ServiceQuery("web").read(answer)] == ["p", "w"]
    assert [one.id for one in ServiceQuery("web", health="any").read(answer)] == ["p", "w", "c"]


def test_a_query_becomes_the_parameters_of_the_api() -> None:
    query = ServiceQuery(
        "web", tags=("a", "b"), health="passing", near="_agent", node_meta=(("k", "v"),),
        filter='Service.Port == "80"', datacenter="dc2",
    )  # fmt: skip
    assert query.parameters() == [
        ("tag", "a"), ("tag", "b"), ("node-meta", "k:v"), ("passing", "1"), ("near", "_agent"),
        ("filter", 'Service.Port == "80"'), ("dc", "dc2"),
    ]  # fmt: skip


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["Node", "Service", "Checks", "ID", "Port", "Weights", "Tags", "Status"]),
        inner, max_size=4,
    ),
)  # fmt: skip


@given(JSON)
def test_any_answer_is_read_or_is_a_bad_answer(answer: object) -> None:
    try:
        read_instances(answer)
    except BadAnswerError:
        return
