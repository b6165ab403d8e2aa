import pytest

from svcmesh.client import BadAnswerError
from svcmesh.client.distances import read_coordinates, rtts_s


def place(node: str, *vec: float, height: float = 0.0, shift: float = 0.0) -> dict[str, object]:
    coord = {"Vec": list(vec), "Height": height, "Adjustment": shift, "Error": 1.5}
    return {"Node": node, "Segment": "", "Coord": coord}


def test_a_round_trip_is_the_distance_with_heights_and_adjustments() -> None:
    answer = [
        place("n1", 0.0, 0.0, height=0.001),
        place("n2", 0.003, 0.004, height=0.002, shift=0.0005),
    ]
    found = rtts_s("n1", read_coordinates(answer))
    assert found["n2"] == pytest.approx(0.0085)
    assert found["n1"] == 0.0


def test_adjustments_never_make_it_negative() -> None:
    answer = [place("n1", 0.0), place("n2", 0.001, shift=-1.0)]
    assert rtts_s("n1", read_coordinates(answer))["n2"] == pytest.approx(0.001)


def test_without_a_place_of_our_own_only_our_node_is_near() -> None:
    assert rtts_s("n1", read_coordinates([place("n2", 0.0)])) == {"n1": 0.0}


@pytest.mark.parametrize("answer", [None, 5, [{}], [{"Node": "n", "Coord": {"Vec": 3}}]])
def test_an_answer_of_another_form_is_told(answer: object) -> None:
    with pytest.raises(BadAnswerError):
        read_coordinates(answer)
