"""`svcmesh catalog`: data centers, nodes and services of the whole cluster."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

import click

from cli.client import Json, client_flags, client_from_flags, read_flags, read_query
from cli.errors import ApiError, CommandError
from cli.flags import GoCommand, check_arguments, flag, key_value_pairs
from cli.groups import Entry, LazyGroup
from cli.printing import say
from cli.tables import format_flag, pretty_json, print_table, wants_json

SHORT_ID_LETTERS: Final = 8
TAGS_GAP: Final = 6
"""Spaces between the longest service name and the tags."""

catalog: Final = LazyGroup(
    "catalog",
    {
        "datacenters": Entry("cli.catalog", "datacenters", "List the data centers"),
        "nodes": Entry("cli.catalog", "nodes", "List the nodes of a data center"),
        "services": Entry("cli.catalog", "services", "List the services of a data center"),
    },
    purpose="Ask about the cluster's nodes and services.",
    no_command_status=1,
)


@click.command("datacenters", cls=GoCommand)
@client_flags
@read_flags
@format_flag()
def datacenters(args: tuple[str, ...], format: str | None, **http: object) -> int:
    """List the data centers that the agent knows."""
    check_arguments(args)
    as_json = wants_json(format)
    found = _ask(http, "/v1/catalog/datacenters", what="datacenters")
    say(pretty_json(found) if as_json else "\n".join(found))
    return 0


@click.command("nodes", cls=GoCommand)
@client_flags
@read_flags
@flag("detailed", kind="bool", help="Show full ids, tagged addresses and metadata.")
@flag("near", help="Sort by the estimated round-trip time from this node; `_agent`: the agent's.")
@flag(
    "node-meta",
    kind="list",
    metavar="key=value",
    help="Show nodes with this metadata only. Can be repeated.",
)
@flag("service", metavar="id or name", help="Show nodes with an instance of this service only.")
@flag("filter", help="Show what this expression selects only.")
@format_flag()
def nodes(
    args: tuple[str, ...],
    detailed: bool | None,
    near: str | None,
    node_meta: tuple[str, ...],
    service: str | None,
    filter: str | None,
    format: str | None,
    **http: object,
) -> int:
    """List the nodes of a data center."""
    check_arguments(args)
    as_json = wants_json(format)
    query = _node_meta_query(node_meta)
    if near:
        query.append(("near", near))
    if filter:
        query.append(("filter", filter))
    path = f"/v1/catalog/service/{quote(service, safe='')}" if service else "/v1/catalog/nodes"
    found: list[dict[str, Json]] = _ask(http, path, query, what="nodes")
    if not found:
        say("No nodes match the given query - try expanding your search.", err=True)
        return 0
    if not near:
        found.sort(key=lambda node: node["Node"].lower())
    if as_json:
        say(pretty_json(found))
    elif detailed:
        rows = [_detailed_row(node, "ServiceMeta" in node) for node in found]
        print_table(("Node", "ID", "Address", "DC", "TaggedAddresses", "Meta"), rows)
    else:
        short = [
            (n["Node"], n["ID"][:SHORT_ID_LETTERS], n["Address"], n["Datacenter"]) for n in found
        ]
        print_table(("Node", "ID", "Address", "DC"), short)
    return 0


@click.command("services", cls=GoCommand)
@client_flags
@read_flags
@flag("node", metavar="id or name", help="Show services of this node only.")
@flag(
    "node-meta",
    kind="list",
    metavar="key=value",
    help="Show services of nodes with this metadata only. Can be repeated.",
)
@flag("tags", kind="bool", help="Show tags as well.")
@flag("global", kind="bool", help="Show the services of all data centers, and where they are.")
@format_flag()
def services(
    args: tuple[str, ...],
    node: str | None,
    node_meta: tuple[str, ...],
    tags: bool | None,
    format: str | None,
    **http: object,
) -> int:
    """List the services of a data center.

    With -global those of all data centers, by what these gossip to each other: each with its
    healthy instances and all of them in every data center, the nearest first.
    """
    check_arguments(args)
    as_json = wants_json(format)
    query = _node_meta_query(node_meta)
    if http.pop("global"):
        if node or tags or query:
            raise CommandError("-global cannot be combined with -node, -node-meta or -tags")
        return _global_services(http, as_json=as_json)
    found: dict[str, list[str]]
    if node:
        answer = _ask(http, f"/v1/catalog/node/{quote(node, safe='')}", query, what="services")
        found = _tags_by_name(answer)
    else:
        found = _ask(http, "/v1/catalog/services", query, what="services")
    if not found:
        say("No services match the given query - try expanding your search.", err=True)
        return 0
    names = sorted(found)
    if as_json:
        say(pretty_json({name: sorted(found[name]) for name in names}))
    elif tags:
        width = max(map(len, names)) + TAGS_GAP
        lines = [f"{name:<{width}}{','.join(sorted(found[name]))}" for name in names]
        # A name without tags is padded unless it ends the output.
        say("\n".join(lines).strip())
    else:
        say("\n".join(names))
    return 0


def _global_services(http: Mapping[str, object], *, as_json: bool) -> int:
    found: list[dict[str, Json]] = _ask(
        http, "/v1/catalog/services", [("global", "1")], what="services"
    )
    if as_json:
        say(pretty_json(found))
        return 0
    rows = [
        (
            service["Service"],
            ", ".join(
                f"{place['Datacenter']} {place['Healthy']}/{place['Instances']}"
                for place in service["Datacenters"]
            ),
        )
        for service in found
    ]
    print_table(("Service", "Healthy/Instances"), rows)
    return 0


def _ask(
    http: Mapping[str, object], path: str, query: list[tuple[str, str]] | None = None, *, what: str
) -> Json:
    try:
        return client_from_flags(http).get(path, [*(query or []), *read_query(http)])
    except ApiError as error:
        raise CommandError(f"Error listing {what}: {error}") from None


def _node_meta_query(items: tuple[str, ...]) -> list[tuple[str, str]]:
    return [("node-meta", f"{key}:{value}") for key, value in key_value_pairs("node-meta", items)]


def _detailed_row(node: dict[str, Json], is_of_service: bool) -> tuple[str, ...]:
    meta = node["NodeMeta"] if is_of_service else node["Meta"]
    addresses, pairs = _pairs(node.get("TaggedAddresses")), _pairs(meta)
    return node["Node"], node["ID"], node["Address"], node["Datacenter"], addresses, pairs


def _pairs(mapping: Mapping[str, str] | None) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted((mapping or {}).items()))


def _tags_by_name(answer: dict[str, Json] | None) -> dict[str, list[str]]:
    """Tags of a node's services, those of several instances of one name together."""
    found: dict[str, list[str]] = {}
    for service in ((answer or {}).get("Services") or {}).values():
        tags = found.setdefault(service["Service"], [])
        tags += [tag for tag in service.get("Tags") or [] if tag not in tags]
    return found
