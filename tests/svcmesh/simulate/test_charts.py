"""Pictures: well-formed, with their text escaped, and the curve where the values are."""

from dataclasses import replace
from xml.etree import ElementTree

from svcmesh.simulate.charts import HEIGHT, WIDTH, Chart, Line, Span
from svcmesh.simulate.pictures import pictures
from svcmesh.simulate.running import run
from svcmesh.simulate.scenario_files import load

SVG = "{http://www.w3.org/2000/svg}"


def drawn(chart: Chart) -> ElementTree.Element:
    return ElementTree.fromstring(chart.to_svg())


def test_texts_are_escaped() -> None:
    root = drawn(Chart("a < b & 'c'", "x", "y", [Line("<l>", [(0.0, 0.0), (1.0, 1.0)])]))
    texts = [each.text for each in root.iter(f"{SVG}text")]
    assert "a < b & 'c'" in texts
    assert "<l>" in texts


def test_higher_values_are_drawn_higher_and_all_inside() -> None:
    root = drawn(Chart("t", "x", "y", [Line("l", [(0.0, 1.0), (5.0, 3.0), (9.0, 2.0)])]))
    (path,) = root.iter(f"{SVG}path")
    places = [tuple(map(float, p.split())) for p in path.attrib["d"][1:].split("L")]
    xs, ys = zip(*places, strict=True)
    assert list(xs) == sorted(xs)
    assert ys[1] < ys[2] < ys[0]
    assert all(0 <= x <= WIDTH for x in xs)
    assert all(0 <= y <= HEIGHT for y in ys)


def test_ticks_are_round_and_cover_the_values() -> None:
    root = drawn(Chart("t", "x", "y", [Line("l", [(0.0, 0.0), (730.0, 4.2)])]))
    texts = {each.text for each in root.iter(f"{SVG}text")}
    assert {"0", "200", "400", "600", "1", "2", "3", "4"} <= texts


def test_an_empty_chart_says_why() -> None:
    root = drawn(Chart("t", "x", "y", [Line("l", [])], note="nothing came"))
    assert "nothing came" in [each.text for each in root.iter(f"{SVG}text")]
    assert not list(root.iter(f"{SVG}path"))


def test_a_span_is_shaded_from_its_begin_to_its_end() -> None:
    chart = Chart("t", "x", "y", [Line("l", [(0.0, 0.0), (100.0, 1.0)])], [Span("f", 25.0, 75.0)])
    shaded = [r for r in drawn(chart).iter(f"{SVG}rect") if r.find(f"{SVG}title") is not None]
    assert len(shaded) == 1
    middle = float(shaded[0].attrib["x"]) + float(shaded[0].attrib["width"]) / 2
    assert 0.4 * WIDTH < middle < 0.65 * WIDTH


def test_every_picture_of_a_run_is_well_formed() -> None:
    scenario = replace(load("event"), members=10, duration_s=8.0)
    texts = pictures([run(scenario, 1), run(scenario, 2)])
    assert set(texts) == {
        "convergence.svg", "detection.svg", "events.svg", "false-positives.svg", "traffic.svg",
    }  # fmt: skip
    for text in texts.values():
        assert ElementTree.fromstring(text).tag == f"{SVG}svg"
