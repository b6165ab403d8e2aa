from random import Random

import pytest

from svcmesh.client.registering import Registration, RegistrationState


def state(sign_s: float = 5.0) -> RegistrationState:
    return RegistrationState(sign_s, now=100.0, rng=Random(1))


def test_it_registers_at_once() -> None:
    assert (state().is_registered, state().due_at) == (False, 100.0)


def test_a_sign_of_life_is_due_before_the_interval_is_over() -> None:
    kept = state()
    kept.handle_done(now=100.0)
    assert kept.is_registered
    assert 104.5 <= kept.due_at <= 105.0


def test_what_the_agent_forgot_is_registered_at_once() -> None:
    kept = state()
    kept.handle_done(now=100.0)
    kept.handle_forgotten(now=103.0)
    assert (kept.is_registered, kept.due_at) == (False, 103.0)


def test_pauses_after_failures_grow_but_never_beyond_the_interval() -> None:
    kept = state(sign_s=2.0)
    pauses = []
    for _ in range(8):
        kept.handle_failure(now=0.0)
        pauses.append(kept.due_at)
    assert pauses[0] <= 0.25
    assert max(pauses) <= 2.0
    assert pauses[-1] > pauses[0]


def test_the_interval_leaves_room_for_two_lost_signs() -> None:
    assert Registration("web", ttl_s=9.0).sign_s == 3.0
    assert Registration("web", ttl_s=300.0).sign_s == 5.0
    assert Registration("web", ttl_s=None).sign_s == 5.0


def test_the_body_is_what_consuls_api_takes() -> None:
    registration = Registration(
        "web", port=80, tags=("a",), meta={"k": "v"}, weights=(10, 1), ttl_s=15.0,
        deregister_after_s=90.0, checks=[{"HTTP": "http://127.0.0.1/", "Interval": "10s"}],
    )  # fmt: skip
    assert registration.body("passing", "fine") == {
        "ID": "web-80", "Name": "web", "Port": 80, "Address": "", "Tags": ["a"],
        "Meta": {"k": "v"}, "Weights": {"Passing": 10, "Warning": 1},
        "Checks": [
            {
                "CheckID": "service:web-80", "Name": "Service 'web' says that it is well",
                "TTL": "15s", "Status": "passing", "Notes": "fine",
                "DeregisterCriticalServiceAfter": "90s",
            },
            {"HTTP": "http://127.0.0.1/", "Interval": "10s"},
        ],
    }  # fmt: skip


def test_without_a_ttl_only_the_given_checks_are_registered() -> None:
    assert Registration("web", ttl_s=None).body("passing", "")["Checks"] == []


@pytest.mark.parametrize(
    ("registration", "service_id"),
    [
        (Registration("web"), "web"),
        (Registration("web", port=80), "web-80"),
        (Registration("web", port=80, id="x"), "x"),
    ],
)
def test_the_id_tells_two_processes_of_one_host_apart(
    registration: Registration, service_id: str
) -> None:
    assert registration.service_id == service_id


@pytest.mark.parametrize(("name", "ttl_s"), [("", 15.0), ("web", 0.5)])
def test_what_no_agent_would_take_is_refused(name: str, ttl_s: float) -> None:
    with pytest.raises(ValueError, match=r"a service needs a name|ttl_s is at least"):
        Registration(name, ttl_s=ttl_s)
