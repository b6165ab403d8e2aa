"""How long a session is relied on."""

from random import Random

import pytest

from svcmesh.client import LockConfig
from svcmesh.client.holding import HoldState


def test_it_is_relied_on_for_less_than_its_ttl_from_the_sending_of_the_request() -> None:
    state = HoldState(20.0, sent_at=100.0, rng=Random(1))
    assert 118.0 < state.reliable_until < 120.0
    assert state.renew_at == pytest.approx(100 + 20 / 3)
    state.handle_renewed(sent_at=110.0)
    assert 128.0 < state.reliable_until < 130.0


def test_failed_renewals_prolong_nothing_and_are_tried_again_before_the_end() -> None:
    state = HoldState(20.0, sent_at=0.0, rng=Random(1))
    end = state.reliable_until
    tries = 0
    while state.renew_at < end:
        state.handle_failure(now=state.renew_at)
        tries += 1
    assert state.reliable_until == end
    assert tries >= 4


@pytest.mark.parametrize("wrong", [{"ttl_s": 9.0}, {"ttl_s": 1e6}, {"lock_delay_s": 61.0}])
def test_what_the_servers_would_refuse_is_refused_here(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="between"):
        LockConfig(**wrong)  # type: ignore[arg-type]  # by name
