"""Network coordinates: the formulas, and whether members find their places (11.1)."""

from math import sqrt
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.serf.coordinates import Coordinates
from gossip.serf.vivaldi import COMPONENT_S_MAX, ORIGIN, Vivaldi, distance_s, is_believable
from gossip.swim.effects import MessageDropped
from gossip.types import MemberName
from gossip.wire.messages import Coordinate
from gossip.wire.serf_values import decode_coordinate_untrusted, encode_coordinate

PEER = MemberName("peer")


def at(x: float, *, height: float = 0.0, adjustment: float = 0.0) -> Coordinate:
    return Coordinate((x, 0, 0, 0, 0, 0, 0, 0), 0.5, adjustment, height)


class TestDistance:
    def test_it_is_the_way_between_and_up_and_down(self) -> None:
        assert distance_s(at(0.010, height=0.001), at(0.030, height=0.002)) == 0.023

    def test_adjustments_count(self) -> None:
        assert distance_s(at(0.01, adjustment=0.002), at(0.03, adjustment=-0.003)) == 0.019

    def test_adjustments_that_would_make_it_negative_do_not(self) -> None:
        assert distance_s(at(0.01, adjustment=-1.0), at(0.04)) == 0.03

    def test_it_is_cut_to_nanoseconds(self) -> None:
        assert distance_s(at(0.0), at(0.0000000019)) == 0.000000001


class TestOneStep:
    """Against the formulas of the protocol document, worked out by hand."""

    def test_from_the_origin_towards_a_peer_that_is_further_than_it_looks(self) -> None:
        vivaldi = Vivaldi(rng=Random(1))
        peer = Coordinate((0.03, 0.04, 0, 0, 0, 0, 0, 0), 0.5, 0.0, 1.0e-5)
        vivaldi.update(peer, 0.1)
        # d = 0.05002, w = 0.4998, q = 0.75; force = 0.25 q (0.1 - 0.05002) away from the peer.
        force = 0.25 * 0.75 * (0.1 - 0.05002)
        own = vivaldi.coordinate
        assert own.error == pytest.approx(0.25 * 0.75 * 0.4998 + 1.5 * (1 - 0.1875))
        height = 2.0e-5 * force / 0.05 + 1.0e-5
        x, y = -0.6 * force, -0.8 * force
        apart = sqrt((x - 0.03) ** 2 + (y - 0.04) ** 2)
        assert own.adjustment == pytest.approx((0.1 - apart - height - 1.0e-5) / 40)
        # Gravity is (distance to the origin / 150)^2: far below what is seen here.
        assert own.vec[:2] == pytest.approx((x, y), rel=1e-5)
        assert own.height == pytest.approx(height, rel=1e-4)

    def test_two_in_one_place_part_in_some_direction(self) -> None:
        vivaldi = Vivaldi(rng=Random(1))
        vivaldi.update(ORIGIN, 0.1)
        moved = sqrt(sum(x * x for x in vivaldi.coordinate.vec))
        assert moved == pytest.approx(0.25 * 0.5 * (0.1 - 2.0e-5), rel=1e-4)


def test_members_find_places_that_predict_their_round_trips() -> None:
    # Nine members on a plane of 3 by 3, 10 ms apart, with 1 ms of access link each.
    rng = Random(7)
    places = [(x, y) for x in range(3) for y in range(3)]

    def rtt_s(a: int, b: int) -> float:
        (ax, ay), (bx, by) = places[a], places[b]
        return 0.010 * sqrt((ax - bx) ** 2 + (ay - by) ** 2) + 0.002

    members = [Vivaldi(rng=Random(number)) for number in range(9)]
    for _ in range(400):
        for number, member in enumerate(members):
            peer = rng.choice([other for other in range(9) if other != number])
            member.update(members[peer].coordinate, rtt_s(number, peer))
    errors = sorted(
        abs(distance_s(members[a].coordinate, members[b].coordinate) - rtt_s(a, b)) / rtt_s(a, b)
        for a in range(9)
        for b in range(a)
    )
    assert errors[len(errors) // 2] < 0.05
    assert errors[-1] < 0.3


def test_a_position_that_became_meaningless_is_begun_anew() -> None:
    vivaldi = Vivaldi(rng=Random(1))
    # A tall peer that is almost where we are: the height rises by force / distance.
    vivaldi.update(at(2.0e-6, height=1.0), 10.0)
    assert vivaldi.coordinate == ORIGIN
    assert vivaldi.resets == 1


class Fixture:
    def __init__(self) -> None:
        self.dropped: list[MessageDropped] = []
        self.coordinates = Coordinates(rng=Random(1), emit=self.dropped.append)

    def ack(self, coordinate: Coordinate, rtt_s: float = 0.01) -> None:
        self.coordinates.handle_ack(PEER, encode_coordinate(coordinate), rtt_s)


class TestCache:
    def test_an_ack_moves_us_and_its_coordinate_is_remembered(self) -> None:
        fixture = Fixture()
        fixture.ack(at(0.02))
        assert fixture.coordinates.cached(PEER) == at(0.02)
        assert fixture.coordinates.own != ORIGIN
        ours = decode_coordinate_untrusted(fixture.coordinates.ack_payload())
        assert ours == fixture.coordinates.own

    def test_one_slow_answer_among_three_moves_us_no_more_than_the_others(self) -> None:
        calm, disturbed = Fixture(), Fixture()
        for rtt_s, seen_s in ((0.01, 0.01), (0.01, 0.01), (0.01, 5.0), (0.01, 0.01)):
            calm.ack(at(0.02), rtt_s)
            disturbed.ack(at(0.02), seen_s)
        assert disturbed.coordinates.own == calm.coordinates.own

    def test_a_forgotten_member_leaves_nothing_behind(self) -> None:
        fixture = Fixture()
        fixture.ack(at(0.02), 5.0)
        fixture.coordinates.forget(PEER)
        assert fixture.coordinates.cached(PEER) is None
        # Not even its latencies: of 5.0 and 0.01 the filter would have taken 5.0, and pushed.
        before = fixture.coordinates.own
        fixture.ack(at(0.02), 0.0)
        assert distance_s(fixture.coordinates.own, at(0.02)) < distance_s(before, at(0.02))

    @pytest.mark.parametrize(
        "absurd",
        [
            at(0.0)._replace(vec=(0.0,) * 7),
            at(0.0)._replace(vec=(0.0,) * 9),
            at(1e300),
            at(COMPONENT_S_MAX * 1.01),
            at(0.0, height=-0.1),
            at(0.0)._replace(error=-0.1),
            at(0.0, adjustment=1e9),
        ],
    )
    def test_an_absurd_coordinate_is_dropped_and_counted(self, absurd: Coordinate) -> None:
        fixture = Fixture()
        fixture.ack(absurd)
        assert [drop.reason for drop in fixture.dropped] == ["serf-absurd-coordinate"]
        assert fixture.coordinates.own == ORIGIN
        assert fixture.coordinates.cached(PEER) is None

    @pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
    def test_what_is_not_finite_is_dropped_and_counted(self, bad: float) -> None:
        fixture = Fixture()
        fixture.ack(at(bad))
        assert [drop.reason for drop in fixture.dropped] == ["bad-coordinate"]

    def test_another_version_of_the_payload_is_dropped(self) -> None:
        fixture = Fixture()
        fixture.coordinates.handle_ack(PEER, b"\x02\x80", 0.01)
        assert [drop.reason for drop in fixture.dropped] == ["bad-coordinate"]

    @pytest.mark.parametrize("rtt_s", [-0.001, 10.001])
    def test_a_round_trip_out_of_range_moves_nothing(self, rtt_s: float) -> None:
        fixture = Fixture()
        fixture.ack(at(0.02), rtt_s)
        assert fixture.coordinates.own == ORIGIN


numbers = st.floats(allow_nan=True, allow_infinity=True)
claims = st.builds(
    Coordinate, st.lists(numbers, min_size=8, max_size=8).map(tuple), numbers, numbers, numbers
)


@given(st.lists(st.tuples(claims, st.floats(0, 10)), max_size=20))
def test_whatever_peers_claim_our_own_stays_one_that_others_believe(
    acks: list[tuple[Coordinate, float]],
) -> None:
    fixture = Fixture()
    for coordinate, rtt_s in acks:
        fixture.ack(coordinate, rtt_s)
        assert is_believable(fixture.coordinates.own)
