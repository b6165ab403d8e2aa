"""Which states may be merged (gossip protocol, section 7)."""

import pytest

from gossip.swim.versions import merge_obstacle, own_vsn
from tests.gossip.machines import node

SERF = bytes((1, 5, 2, 2, 5, 5))
CONSUL = bytes((1, 5, 2, 2, 5, 4))
ALIVE, SUSPECT, DEAD = 0, 1, 2


def test_ours_is_what_serf_or_consul_agents_send() -> None:
    assert own_vsn(5) == SERF
    assert own_vsn(4) == CONSUL


@pytest.mark.parametrize(
    ("vsn", "state", "refused"),
    [
        (SERF, ALIVE, False),
        (CONSUL, ALIVE, False),
        (b"", ALIVE, True),
        (b"", DEAD, True),
        (b"", SUSPECT, True),
        (bytes((3, 5, 3, 2, 5, 5)), ALIVE, True),  # its pmin is above what we speak
        (bytes((1, 1, 1, 2, 5, 5)), ALIVE, True),  # its pmax is below what we speak
        (bytes((1, 1, 1, 2, 5, 5)), DEAD, False),  # a dead one's range binds nobody
        (bytes((1, 5, 6, 2, 5, 5)), DEAD, True),  # but what it spoke must be understood
        (bytes((1, 5, 2, 2, 4, 4)), ALIVE, True),  # its dmax is below our dcur
        (bytes((1, 5, 2, 2, 5, 6)), DEAD, True),
    ],
)
def test_a_state_is_merged_only_if_everybody_understands_everybody(
    vsn: bytes, state: int, refused: bool
) -> None:
    obstacle = merge_obstacle([node(1, vsn=SERF)], [node(2, vsn=CONSUL), node(3, 1, state, vsn)])
    assert (obstacle is not None) == refused
