"""Catalog rows and service definitions as Consul's API shows them, field for field."""

from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv4Address, ip_address
from itertools import chain
from typing import Final

import orjson

from svcmesh.api.lists import Shape
from svcmesh.catalog.records import CheckRecord, NodeRecord, ServiceRecord
from svcmesh.catalog.view_rows import CheckRow, NodeRow, ServiceRow
from svcmesh.definitions import ServiceDefinition

Json = dict[str, object]

NO_PROXY: Json = {"MeshGateway": {}, "Expose": {}}


def node_json(node: NodeRow) -> Json:
    """A node, as in `/v1/catalog/nodes`."""
    record = node.body
    return {
        "ID": node.id,
        "Node": node.name,
        "Address": record.address,
        "Datacenter": record.datacenter,
        "TaggedAddresses": _or_null(record, "tagged_addresses", record.tagged_addresses),
        "Meta": _or_null(record, "meta", record.meta),
        "CreateIndex": node.create_index,
        "ModifyIndex": node.modify_index,
    }


def catalog_service_json(row: ServiceRow) -> Json:
    """An instance joined with its node, as in `/v1/catalog/service/:name`."""
    node, record = row.node, row.record
    body = node.body
    value: Json = {
        "ID": node.id,
        "Node": node.name,
        "Address": body.address,
        "Datacenter": body.datacenter,
        "TaggedAddresses": _or_null(body, "tagged_addresses", body.tagged_addresses),
        "NodeMeta": _or_null(body, "meta", body.meta),
        "ServiceKind": "",
        "ServiceID": record.id,
        "ServiceName": record.name,
        "ServiceTags": record.tags,
        "ServiceAddress": record.address,
    }
    if tagged := row_addresses(row):
        value["ServiceTaggedAddresses"] = tagged
    value["ServiceWeights"] = _weights(record)
    value["ServiceMeta"] = record.meta
    value["ServicePort"] = record.port
    value["ServiceEnableTagOverride"] = record.enable_tag_override
    value["ServiceProxy"] = NO_PROXY
    value["ServiceConnect"] = {}
    value["CreateIndex"] = row.create_index
    value["ModifyIndex"] = row.modify_index
    return value


def node_service_json(row: ServiceRow) -> Json:
    """An instance by itself, as in `/v1/catalog/node/:name` and in health."""
    record = row.record
    value: Json = {
        "ID": record.id,
        "Service": record.name,
        "Tags": record.tags,
        "Address": record.address,
    }
    if tagged := row_addresses(row):
        value["TaggedAddresses"] = tagged
    value["Meta"] = _or_null(record, "meta", record.meta)
    value["Port"] = record.port
    value["Weights"] = _weights(record)
    value["EnableTagOverride"] = record.enable_tag_override
    value["Proxy"] = NO_PROXY
    value["Connect"] = {}
    value["CreateIndex"] = row.create_index
    value["ModifyIndex"] = row.modify_index
    return value


def catalog_service_stamp(row: ServiceRow) -> tuple[int, int]:
    """Differs whenever `catalog_service_json` would: indexes are never given out twice."""
    return (row.node.modify_index, row.modify_index)


def check_json(row: CheckRow) -> Json:
    """A check, as in `/v1/health/node/:name`."""
    record = row.record
    definition = orjson.Fragment(record.definition) if record.definition else {}
    return _check(row.node.name, record, definition, (row.create_index, row.modify_index))


def health_json(row: ServiceRow) -> Json:
    """An instance with its node and the checks that decide on it."""
    return {
        "Node": node_json(row.node),
        "Service": node_service_json(row),
        "Checks": [check_json(check) for check in chain(row.node.node_checks, row.checks)],
    }


def health_stamp(row: ServiceRow) -> tuple[int, ...]:
    """Differs whenever `health_json` would: indexes are never given out twice."""
    node = row.node
    return (
        node.modify_index,
        row.modify_index,
        *[check.modify_index for check in node.node_checks],
        *[check.modify_index for check in row.checks],
    )


CATALOG_SERVICE: Final = Shape(catalog_service_json, catalog_service_stamp)
HEALTH: Final = Shape(health_json, health_stamp)


def own_check_json(node: str, record: CheckRecord) -> Json:
    """A check of this agent, as in `/v1/agent/checks`."""
    return _check(node, record, {}, (0, 0))


def definition_json(definition: ServiceDefinition) -> Json:
    """A service of this agent, as in `/v1/agent/services`."""
    record = definition.record
    value: Json = {
        "ID": record.id,
        "Service": record.name,
        "Tags": record.tags,
        "Meta": record.meta,
        "Port": record.port,
        "Address": record.address,
    }
    if tagged := agent_addresses(record):
        value["TaggedAddresses"] = tagged
    value["Weights"] = _weights(record)
    value["EnableTagOverride"] = record.enable_tag_override
    return value


def _check(node: str, record: CheckRecord, definition: object, indexes: tuple[int, int]) -> Json:
    return {
        "Node": node,
        "CheckID": record.id,
        "Name": record.name,
        "Status": record.status,
        "Notes": record.notes,
        "Output": record.output,
        "ServiceID": record.service_id,
        "ServiceName": record.service_name,
        "ServiceTags": record.service_tags,
        "Type": record.type,
        "Definition": definition,
        "CreateIndex": indexes[0],
        "ModifyIndex": indexes[1],
    }


def _or_null(
    record: NodeRecord | ServiceRecord, name: str, given: Mapping[str, str]
) -> Mapping[str, str] | None:
    """A map as Consul shows it: null when it was never given."""
    return given if given or name in record.given_empty else None


def _weights(record: ServiceRecord) -> Json:
    return {"Passing": record.weight_passing, "Warning": record.weight_warning}


def row_addresses(row: ServiceRow) -> Json:
    """The tagged addresses of an instance, by tag."""
    record = row.record
    if row.node.is_own:
        return agent_addresses(record) if record.address or record.tagged_addresses else {}
    return _addresses(record)


def agent_addresses(record: ServiceRecord) -> Json:
    """An agent gives its services addresses by family too, as their own address says."""
    addresses = _addresses(record)
    if record.address and (family := _family(record.address)):
        own = {"Address": record.address, "Port": record.port}
        for network in ("lan", "wan"):
            addresses.setdefault(f"{network}_{family}", own)
    return addresses


def _addresses(record: ServiceRecord) -> Json:
    return {
        key: {"Address": tagged.address, "Port": tagged.port}
        for key, tagged in record.tagged_addresses.items()
    }


@lru_cache(maxsize=1024)
def _family(address: str) -> str:
    try:
        return "ipv4" if isinstance(ip_address(address), IPv4Address) else "ipv6"
    except ValueError:
        return ""
