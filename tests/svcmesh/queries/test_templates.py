"""Query templates: what is filled in, and what is refused."""

from dataclasses import replace

import pytest

from svcmesh.queries.templates import Template, TemplateError
from tests.svcmesh.queries.records import query_record

GEO = query_record(
    "geo-",
    template_type="name_prefix_match",
    template_regexp=r"^geo-(.*?)-([^\-]+?)$",
    removes_empty_tags=True,
    service="${match(1)}",
    tags=("${match(2)}", "${match(9)}", "a${name.prefix}b"),
    node_meta=(("k", "${name.full}"),),
    service_meta=(("s", "${name.suffix}"),),
    near="${agent.segment}",
    datacenters=("${name.suffix}",),
    ignored_checks=("${name.full}",),
)


def test_every_text_of_the_service_part_is_filled_in() -> None:
    found = Template(GEO).render("geo-web-prod")
    assert found.service == "web"
    assert found.tags == ("prod", "ageo-b")
    assert found.node_meta == (("k", "geo-web-prod"),)
    assert found.service_meta == (("s", "web-prod"),)
    assert found.near == ""
    assert found.datacenters == ("web-prod",)
    assert found.ignored_checks == ("geo-web-prod",)
    assert found.name == "geo-"


def test_a_prefix_in_other_letter_case_is_no_prefix_and_the_expression_does_not_match() -> None:
    found = Template(GEO).render("GEO-Web-Prod")
    assert (found.service, found.tags) == ("", ("ageo-b",))
    assert found.service_meta == (("s", "GEO-Web-Prod"),)


def test_empty_tags_stay_unless_they_are_to_go() -> None:
    record = query_record("t-", template_type="name_prefix_match", tags=("${name.suffix}",))
    assert Template(record).render("t-").tags == ("",)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"template_type": "x"}, "Bad Template.Type 'x'"),
        (
            {"template_regexp": "("},
            "Bad Regexp: error parsing regexp: missing closing ): `(`",
        ),
        (
            {"service": "${nope}"},
            "Bad evaluation for '${nope}' in Service.Service: 1:3: unknown variable accessed: nope",
        ),
        (
            {"tags": ("a", "${")},
            "Bad format '${' in Service.Tags[1]: parse error: syntax error",
        ),
    ],
)
def test_a_template_that_makes_no_sense_is_refused(fields: dict[str, object], problem: str) -> None:
    with pytest.raises(TemplateError) as caught:
        Template(query_record("q", **{"template_type": "name_prefix_match", **fields}))
    assert str(caught.value) == problem


def test_where_empty_tags_are_to_go_there_is_a_list_of_tags_be_it_empty() -> None:
    assert Template(replace(GEO, tags=None)).render("geo-web-prod").tags == ()
    assert Template(replace(GEO, tags=None, removes_empty_tags=False)).render("geo-x").tags is None
