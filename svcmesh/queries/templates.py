"""Query templates: one definition for all names that begin with its own.

The texts of its `Service` part may refer to the name that was asked and to what a regular
expression finds in it. Templates are compiled once and kept by what they say.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import lru_cache
from typing import Final

from svcmesh.catalog.records import QueryRecord
from svcmesh.errors import SvcmeshError
from svcmesh.goregex import GoRegexError, compile_go_groups
from svcmesh.queries.interpolation import (
    EvaluationError,
    SyntaxProblemError,
    Text,
    evaluate,
    parse,
)

NAME_PREFIX_MATCH: Final = "name_prefix_match"
"""The one type of templates that there is."""

TEMPLATES_MAX: Final = 1024
"""Templates kept compiled; the least recently used goes first."""


class TemplateError(SvcmeshError):
    """A template cannot be compiled, or not be rendered for a name."""


class Template:
    """A compiled template."""

    def __init__(self, record: QueryRecord) -> None:
        """Compile, and render for the template's own name to see whether it can be.

        Raises:
            TemplateError: It makes no sense.
        """
        if record.template_type != NAME_PREFIX_MATCH:
            raise TemplateError(f"Bad Template.Type '{record.template_type}'")
        self._record = record
        self._texts: dict[str, tuple[str, Text]] = {}
        """Every text that is not as plain as it looks, with what it was read as, by its field."""
        _fill(record, self._compile)
        self._groups: Callable[[str], tuple[str, ...]] = lambda _: ()
        if record.template_regexp:
            try:
                self._groups = compile_go_groups(record.template_regexp)
            except GoRegexError as error:
                raise TemplateError(f"Bad Regexp: {error}") from None
        self.render(record.name)

    def render(self, name: str) -> QueryRecord:
        """The query for a name that begins with the template's.

        Raises:
            TemplateError: A text has no value for this name.
        """
        prefix, groups = self._record.name, self._groups(name)
        names = {
            "name.full": name,
            "name.prefix": prefix,
            "name.suffix": name.removeprefix(prefix),
            # Network segments are a feature that only a paid Consul has.
            "agent.segment": "",
        }

        def match(number: int) -> str:
            return groups[number] if 0 <= number < len(groups) else ""

        def render(at: str, text: str) -> str:
            if at not in self._texts:
                return text
            try:
                return evaluate(self._texts[at][1], names, {"match": match})
            except EvaluationError as error:
                problem = f"Bad evaluation for '{text}' in Service.{at}: {error}"
                raise TemplateError(problem) from None

        query = _fill(self._record, render)
        if query.removes_empty_tags:
            # As in Consul: what is left is a list, be it empty, where there was none.
            query = replace(query, tags=tuple(tag for tag in query.tags or () if tag))
        return query

    def _compile(self, at: str, text: str) -> str:
        if "$" in text:
            try:
                self._texts[at] = text, parse(text)
            except SyntaxProblemError as error:
                problem = f"Bad format '{text}' in Service.{at}: {error}"
                raise TemplateError(problem) from None
        return text


@lru_cache(maxsize=TEMPLATES_MAX)
def compiled(record: QueryRecord) -> Template:
    """The template that a record describes.

    Raises:
        TemplateError: It makes no sense.
    """
    return Template(record)


def _fill(record: QueryRecord, new: Callable[[str, str], str]) -> QueryRecord:
    """The record with `new(field, text)` in place of every text of its `Service` part."""

    def texts(at: str, given: Iterable[str] | None) -> tuple[str, ...] | None:
        if given is None:
            return None
        return tuple(new(f"{at}[{place}]", text) for place, text in enumerate(given))

    def pairs(
        at: str, given: tuple[tuple[str, str], ...] | None
    ) -> tuple[tuple[str, str], ...] | None:
        if given is None:
            return None
        return tuple((key, new(f"{at}[{key}]", value)) for key, value in given)

    return replace(
        record,
        service=new("Service", record.service),
        datacenters=texts("Failover.Datacenters", record.datacenters),
        ignored_checks=texts("IgnoreCheckIDs", record.ignored_checks),
        near=new("Near", record.near),
        tags=texts("Tags", record.tags),
        node_meta=pairs("NodeMeta", record.node_meta),
        service_meta=pairs("ServiceMeta", record.service_meta),
    )
