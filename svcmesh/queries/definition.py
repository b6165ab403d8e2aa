"""Prepared queries as JSON: reading the bodies of requests, and showing what is stored.

Consul's words for what is refused. Whether a name is free, a session there and a template sound is
the business of whoever stores the query.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final
from uuid import UUID

from svcmesh.catalog.bodies import replication_problem
from svcmesh.catalog.records import QueryRecord
from svcmesh.definitions import check_metadata
from svcmesh.errors import SvcmeshError
from svcmesh.goformats import parse_duration
from svcmesh.jsonvalues import FieldError, Fields, is_empty
from svcmesh.queries.templates import TemplateError, compiled

HIDDEN_TOKEN: Final = "<hidden>"  # noqa: S105 -- what Consul shows in place of one
UUID_LENGTH: Final = 36
NEAREST_MAX: Final = 2**63 - 1

_MESH: Final = ("Connect", "SamenessGroup", "Peer")
_ENTERPRISE: Final = ("Namespace", "Partition")

JsonObject = dict[str, object]


class QueryError(SvcmeshError):
    """A query is refused; the text is Consul's. Nothing has changed."""


def parse_query(body: object) -> tuple[QueryRecord, str]:
    """Read a definition; and the id that it gives itself, which only a stored one has.

    The record has neither id nor claim yet.

    Raises:
        FieldError: It cannot be decoded.
        QueryError: It makes no sense.
    """
    fields = Fields(body)
    given_id = fields.string("ID")
    record = QueryRecord(
        id="",
        claim=0,
        name=fields.string("Name"),
        session=fields.string("Session"),
        token=fields.string("Token"),
        service="",
    )
    record = _with_template(record, fields.nested("Template") or Fields({}))
    record = _with_service(record, fields.nested("Service") or Fields({}))
    dns = fields.nested("DNS") or Fields({})
    record = replace(record, dns_ttl=dns.string("TTL"))
    dns.finish()
    fields.skip("CreateIndex", "ModifyIndex", "NameHeldBy")
    fields.finish()
    return record, given_id


def check_query(record: QueryRecord) -> None:
    """Refuse what makes no sense by itself.

    Raises:
        QueryError: It does not.
    """
    problem = _problem(record)
    if problem is not None:
        raise QueryError(f"Invalid prepared query: {problem}")
    if (problem := replication_problem(record)) is not None:
        raise QueryError(f"Invalid prepared query: it {problem}")


def check_template(record: QueryRecord) -> None:
    """Refuse a template that cannot be compiled.

    Raises:
        QueryError: It cannot.
    """
    if not record.template_type:
        return
    try:
        compiled(record)
    except TemplateError as error:
        raise QueryError(f"failed compiling template: {error}") from None


def uuid_problem(text: str) -> str | None:
    """Why a text is no id that could be looked up, in Consul's words; None when it is one."""
    if len(text) != UUID_LENGTH:
        return f"UUID must be {UUID_LENGTH} characters"
    try:
        UUID(text)
    except ValueError:
        return "Invalid UUID"
    return None


def query_json(
    record: QueryRecord, *, create_index: int, modify_index: int, name_held_by: str = ""
) -> JsonObject:
    """A query as the API shows it.

    `name_held_by` is the id of the query that has the name in place of this one.
    """
    failover: JsonObject = {"NearestN": record.nearest_n, "Datacenters": record.datacenters}
    if record.are_targets:
        targets = [{"Datacenter": name} for name in record.datacenters or ()]
        failover = {"NearestN": 0, "Datacenters": None, "Targets": targets}
    value: JsonObject = {
        "ID": record.id,
        "Name": record.name,
        "Session": record.session,
        "Token": record.token,
        "Template": {
            "Type": record.template_type,
            "Regexp": record.template_regexp,
            "RemoveEmptyTags": record.removes_empty_tags,
        },
        "Service": {
            "Service": record.service,
            "Failover": failover,
            "OnlyPassing": record.only_passing,
            "IgnoreCheckIDs": record.ignored_checks,
            "Near": record.near,
            "Tags": record.tags,
            "NodeMeta": None if record.node_meta is None else dict(record.node_meta),
            "ServiceMeta": None if record.service_meta is None else dict(record.service_meta),
            "Connect": False,
        },
        "DNS": {"TTL": record.dns_ttl},
        "CreateIndex": create_index,
        "ModifyIndex": modify_index,
    }
    if name_held_by:
        value["NameHeldBy"] = name_held_by
    return value


def _with_template(record: QueryRecord, fields: Fields) -> QueryRecord:
    record = replace(
        record,
        template_type=fields.string("Type"),
        template_regexp=fields.string("Regexp"),
        removes_empty_tags=fields.boolean("RemoveEmptyTags"),
    )
    fields.finish()
    return record


def _with_service(record: QueryRecord, fields: Fields) -> QueryRecord:
    failover = fields.nested("Failover") or Fields({})
    nearest_n, datacenters = failover.integer("NearestN"), failover.given_strings("Datacenters")
    targets = [_target(target) for target in failover.nested_list("Targets") if target is not None]
    failover.finish()
    if abs(nearest_n) > NEAREST_MAX:
        raise FieldError("Request decode failed: json: NearestN is too large")
    if targets and (nearest_n or datacenters):
        problem = "Targets cannot be populated with NearestN or Datacenters"
        raise QueryError(f"Invalid prepared query: {problem}")
    record = replace(
        record,
        service=fields.string("Service"),
        nearest_n=nearest_n,
        datacenters=tuple(targets) if targets else datacenters,
        are_targets=bool(targets),
        only_passing=fields.boolean("OnlyPassing"),
        ignored_checks=fields.given_strings("IgnoreCheckIDs"),
        near=fields.string("Near"),
        tags=fields.given_strings("Tags"),
        node_meta=_pairs(fields.given_strings_map("NodeMeta")),
        service_meta=_pairs(fields.given_strings_map("ServiceMeta")),
    )
    _refuse(fields, _MESH, "svcmesh is no service mesh")
    _refuse(fields, _ENTERPRISE, "there is no such thing")
    fields.finish()
    return record


def _target(fields: Fields) -> str:
    datacenter = fields.string("Datacenter")
    _refuse(fields, ("Peer",), "there are no peerings, only data centers joined by WAN")
    _refuse(fields, _ENTERPRISE, "there is no such thing")
    fields.finish()
    return datacenter


def _refuse(fields: Fields, keys: tuple[str, ...], why: str) -> None:
    """Accept these fields only while they ask for nothing."""
    for key, value in fields.take(key.lower() for key in keys):
        if not is_empty(value):
            raise QueryError(f"Invalid prepared query: {key}: {why}")


def _pairs(given: Mapping[str, str] | None) -> tuple[tuple[str, str], ...] | None:
    return None if given is None else tuple(sorted(given.items()))


def _problem(record: QueryRecord) -> str | None:
    if not (record.name or record.template_type or record.session):
        return "Must be bound to a session"
    if record.token == HIDDEN_TOKEN:
        return (
            f"Bad Token '{HIDDEN_TOKEN}', it looks like a query definition with a redacted token "
            "was submitted"
        )
    if not record.service:
        return "Must provide a Service name to query"
    if record.nearest_n < 0:
        return f"Bad NearestN '{record.nearest_n}', must be >= 0"
    if problem := check_metadata(dict(record.node_meta or ()), is_filter=True):
        return problem
    if record.dns_ttl:
        try:
            ttl_s = parse_duration(record.dns_ttl)
        except ValueError as error:
            return f"Bad DNS TTL '{record.dns_ttl}': {error}"
        if ttl_s < 0:
            return f"DNS TTL '{round(ttl_s * 1e9)}', must be >=0"
    return None
