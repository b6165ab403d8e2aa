"""The filter language. The oracle is what a real Consul 1.8 answered: `recorded.tsv`.

Its columns: kind of row, expression, status, and the number of rows found or the error.
"""

import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from svcmesh.api import selectors
from svcmesh.catalog.records import CheckRecord, NodeRecord, ServiceRecord, TaggedAddress
from svcmesh.catalog.view_rows import CheckRow, NodeRow, ServiceRow
from svcmesh.filters import FilterError, FilterSyntaxError, compile_filter

SCHEMAS = {
    "node-service": selectors.NODE_SERVICE,
    "health": selectors.HEALTH,
    "catalog-service": selectors.CATALOG_SERVICE,
}

RECORDED = [
    tuple(line.split("\t"))
    for line in Path(__file__).with_name("recorded.tsv").read_text("utf-8").splitlines()
]


def instance() -> ServiceRow:
    """What was registered with the Consul that the answers were recorded from."""
    node = NodeRow(None, "fx")
    node.name = "fx"
    node.record = NodeRecord(
        name="fx",
        address="10.1.1.1",
        datacenter="dc1",
        tagged_addresses={"lan": "10.1.1.1"},
        meta={"a": "1"},
    )
    row = ServiceRow(
        node,
        ServiceRecord(
            id="s1",
            name="web",
            tags=("x", "y"),
            port=80,
            tagged_addresses={"lan": TaggedAddress("1.2.3.4", 99)},
            meta={"e": "p"},
            enable_tag_override=True,
        ),
    )
    node.services["s1"] = row
    tags = ("x", "y")
    on_service = CheckRecord(
        id="c1", name="n1", status="critical", service_id="s1", service_name="web",
        service_tags=tags,
    )  # fmt: skip
    on_node = CheckRecord(id="c2", name="n2", status="passing")
    node.checks_by_service = {"s1": (CheckRow(node, on_service),), "": (CheckRow(node, on_node),)}
    return row


@pytest.mark.parametrize(("rows", "expression", "status", "said"), RECORDED)
def test_an_expression_finds_or_says_what_it_does_in_consul(
    rows: str, expression: str, status: str, said: str
) -> None:
    try:
        answer = ("200", str(int(compile_filter(expression, SCHEMAS[rows])(instance()))))
    except FilterError as error:
        answer = ("500", str(error))
    assert answer == (status, said)


def finds(expression: str) -> bool:
    return compile_filter(expression, selectors.NODE_SERVICE)(instance())


@given(st.text(max_size=60))
@example("not " * 500 + "Port == 80")
@example("\udc80")
@example('Service == "\\xff"')
@example('Service == "\\ud800"')
@example('Service == "\\U7fffffff"')
@example("Port == " + "9" * 8000)
@example("Port == 0x" + "9" * 8000)
def test_arbitrary_text_is_an_expression_or_refused(text: str) -> None:
    try:
        finds(text)
    except FilterError:
        return


WORDS = st.sampled_from(
    ["not", "and", "or", "in", "is", "empty", "contains", "matches", "==", "!=", "(", ")", "Port",
     "Meta.e", "Tags", "80", '"x"', "web", "Service", '["e"]', "`", '"'],
)  # fmt: skip


@given(st.lists(WORDS, max_size=14).map(" ".join))
def test_words_of_the_language_in_any_order_are_an_expression_or_refused(text: str) -> None:
    try:
        finds(text)
    except FilterError:
        return


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.sampled_from([" and ", " or "]))))
def test_not_binds_closer_than_and_and_and_closer_than_or(
    terms: list[tuple[bool, bool, str]],
) -> None:
    # Python has the same precedences.
    ours, theirs = "Port == 80", "True"
    for holds, is_negated, joint in terms:
        negation = "not " if is_negated else ""
        ours += f"{joint}{negation}Port == {80 if holds else 81}"
        theirs += f"{joint}{negation}{holds}"
    assert finds(ours) == eval(theirs)


def test_parentheses_may_stand_sixty_four_deep() -> None:
    assert finds("(" * 64 + "Port == 80" + ")" * 64)
    with pytest.raises(FilterSyntaxError, match="parentheses"):
        finds("(" * 65 + "Port == 80" + ")" * 65)


def test_a_very_long_expression_is_refused() -> None:
    with pytest.raises(FilterSyntaxError, match="exceeds the limit"):
        finds("Port == 80 and " * 600 + "Port == 80")


def test_many_regular_expressions_are_refused() -> None:
    with pytest.raises(FilterError, match="regular expressions"):
        finds(" or ".join(["Service matches x"] * 17))


@pytest.mark.parametrize("pattern", ["[ab]{400}[cd]{400}[ef]{400}", r"\\pL{900}", "a{1,900}" * 10])
def test_a_regular_expression_that_costs_too_much_is_refused(pattern: str) -> None:
    with pytest.raises(FilterError, match=r"error parsing regexp: .*too large"):
        finds(f'Service matches "{pattern}"')


def test_no_regular_expression_backtracks() -> None:
    row = instance()
    row.record = ServiceRecord(id="a", name="a" * 4000)
    test = compile_filter('Service matches "^(a|a)*(a|aa)*(a+)+$b"', selectors.NODE_SERVICE)
    started = time.thread_time()
    assert not test(row)
    assert time.thread_time() - started < 5


def test_a_tag_that_is_no_unicode_can_be_matched() -> None:
    row = instance()
    row.record = ServiceRecord(id="a", name="web\udcff")
    assert compile_filter('Service matches "^web"', selectors.NODE_SERVICE)(row)
    assert compile_filter('Service == "web\\xff"', selectors.NODE_SERVICE)(row)


def test_an_error_names_line_and_column() -> None:
    with pytest.raises(FilterSyntaxError, match=r"^2:6 \(16\): no match found"):
        finds("Port == 80\n and *")
