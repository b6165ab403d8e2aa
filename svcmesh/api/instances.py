"""Lists of a service's instances, which the catalog and health answer from the same rows."""

from typing import Final

from svcmesh.api.answers import ApiError
from svcmesh.api.lists import Rows, RowTest, Shape, has_shown_node
from svcmesh.api.query import all_of, near, node_meta, row_filter
from svcmesh.api.reads import Read, known
from svcmesh.api.routing import Call
from svcmesh.catalog.health import has_tags
from svcmesh.catalog.topics import Topic
from svcmesh.filters import Schema

_MISSING: Final = "Missing service name"


def service_name(call: Call) -> str:
    """The service that the path names.

    Raises:
        ApiError: 400, it names none.
    """
    if not call.rest:
        raise ApiError(400, _MISSING)
    return call.rest


def instances(
    call: Call,
    topics: tuple[Topic, ...],
    shape: Shape,
    schema: Schema,
    *,
    also: RowTest | None = None,
) -> Read:
    """The instances that have the tags, node metadata and whatever else the query asks for."""
    name, view = service_name(call), call.facade.view
    keep = all_of(has_shown_node, _with_tags(call), _on_nodes(call), also, row_filter(call, schema))
    distance = near(call)
    return Read(
        topics,
        lambda: Rows(
            known(call, view.service(name)),
            shape.render,
            stamp=shape.stamp,
            keep=keep,
            distance=None if distance is None else lambda row: distance(row.node.name),
        ),
        is_kept=distance is None,
    )


def _with_tags(call: Call) -> RowTest | None:
    tags = tuple(tag.lower() for tag in call.params.get("tag", ()))
    return (lambda row: has_tags(row, tags)) if tags else None


def _on_nodes(call: Call) -> RowTest | None:
    on_node = node_meta(call)
    return None if on_node is None else lambda row: on_node(row.node)
