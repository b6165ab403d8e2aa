"""What `?filter=` can select in the rows of each list, by the names that the answers use.

Selectors about proxies are accepted, as in Consul, and find nothing: nothing here has a proxy.
"""

from typing import Final

from svcmesh.api.rows import agent_addresses, row_addresses
from svcmesh.filters import (
    Flag,
    Group,
    GroupList,
    Number,
    Schema,
    Text,
    TextList,
    ValueMap,
)


def _nothing(_: object) -> str:
    return ""


def _none(_: object) -> tuple[()]:
    return ()


_NO_TEXT: Final = Text(_nothing)
_NO_NUMBER: Final = Number(lambda _: 0)
_NO_FLAG: Final = Flag(lambda _: False)
_NO_GATEWAY: Final = Group({"Mode": _NO_TEXT})

_EXPOSED_PATH: Final[Schema] = {
    "ListenerPort": _NO_NUMBER,
    "Path": _NO_TEXT,
    "LocalPathPort": _NO_NUMBER,
    "Protocol": _NO_TEXT,
    "ParsedFromCheck": _NO_FLAG,
}
_UPSTREAM: Final[Schema] = {
    "DestinationType": _NO_TEXT,
    "DestinationNamespace": _NO_TEXT,
    "DestinationName": _NO_TEXT,
    "Datacenter": _NO_TEXT,
    "LocalBindAddress": _NO_TEXT,
    "LocalBindPort": _NO_NUMBER,
    "MeshGateway": _NO_GATEWAY,
}
_PROXY: Final = Group(
    {
        "DestinationServiceName": _NO_TEXT,
        "DestinationServiceID": _NO_TEXT,
        "LocalServiceAddress": _NO_TEXT,
        "LocalServicePort": _NO_NUMBER,
        "Upstreams": GroupList(_none, _UPSTREAM),
        "MeshGateway": _NO_GATEWAY,
        "Expose": Group({"Checks": _NO_FLAG, "Paths": GroupList(_none, _EXPOSED_PATH)}),
    }
)
_CONNECT: Final = Group({"Native": _NO_FLAG})
_ADDRESS: Final = Group(
    {
        "Address": Text(lambda tagged: tagged["Address"]),
        "Port": Number(lambda tagged: tagged["Port"]),
    }
)
_WEIGHTS: Final[Schema] = {
    "Passing": Number(lambda record: record.weight_passing),
    "Warning": Number(lambda record: record.weight_warning),
}

NODE: Final[Schema] = {
    "ID": Text(lambda node: node.id),
    "Node": Text(lambda node: node.name),
    "Address": Text(lambda node: node.body.address),
    "Datacenter": Text(lambda node: node.body.datacenter),
    "TaggedAddresses": ValueMap(lambda node: node.body.tagged_addresses, Text()),
    "Meta": ValueMap(lambda node: node.body.meta, Text()),
}
"""Rows: `NodeRow`."""

CATALOG_SERVICE: Final[Schema] = {
    "ID": Text(lambda row: row.node.id),
    "Node": Text(lambda row: row.node.name),
    "Address": Text(lambda row: row.node.body.address),
    "Datacenter": Text(lambda row: row.node.body.datacenter),
    "TaggedAddresses": ValueMap(lambda row: row.node.body.tagged_addresses, Text()),
    "NodeMeta": ValueMap(lambda row: row.node.body.meta, Text()),
    "ServiceKind": _NO_TEXT,
    "ServiceID": Text(lambda row: row.record.id),
    "ServiceName": Text(lambda row: row.record.name),
    "ServiceTags": TextList(lambda row: row.record.tags),
    "ServiceAddress": Text(lambda row: row.record.address),
    "ServiceTaggedAddresses": ValueMap(row_addresses, _ADDRESS),
    "ServiceWeights": Group(_WEIGHTS, lambda row: row.record),
    "ServiceMeta": ValueMap(lambda row: row.record.meta, Text()),
    "ServicePort": Number(lambda row: row.record.port),
    "ServiceEnableTagOverride": Flag(lambda row: row.record.enable_tag_override),
    "ServiceProxy": _PROXY,
    "ServiceConnect": _CONNECT,
}
"""Rows: `ServiceRow`, as `catalog_service_json` shows it."""

NODE_SERVICE: Final[Schema] = {
    "Kind": _NO_TEXT,
    "ID": Text(lambda row: row.record.id),
    "Service": Text(lambda row: row.record.name),
    "Tags": TextList(lambda row: row.record.tags),
    "Address": Text(lambda row: row.record.address),
    "TaggedAddresses": ValueMap(row_addresses, _ADDRESS),
    "Meta": ValueMap(lambda row: row.record.meta, Text()),
    "Port": Number(lambda row: row.record.port),
    "Weights": Group(_WEIGHTS, lambda row: row.record),
    "EnableTagOverride": Flag(lambda row: row.record.enable_tag_override),
    "Proxy": _PROXY,
    "Connect": _CONNECT,
}
"""Rows: `ServiceRow`, as `node_service_json` shows it."""

CHECK: Final[Schema] = {
    "Node": Text(lambda row: row.node.name),
    "CheckID": Text(lambda row: row.record.id),
    "Name": Text(lambda row: row.record.name),
    "Status": Text(lambda row: row.record.status),
    "Notes": Text(lambda row: row.record.notes),
    "Output": Text(lambda row: row.record.output),
    "ServiceID": Text(lambda row: row.record.service_id),
    "ServiceName": Text(lambda row: row.record.service_name),
    "ServiceTags": TextList(lambda row: row.record.service_tags),
    "Type": Text(lambda row: row.record.type),
}
"""Rows: `CheckRow`, or anything else with a `node` that has a name and a `CheckRecord`."""

HEALTH: Final[Schema] = {
    "Node": Group(NODE, lambda row: row.node),
    "Service": Group(NODE_SERVICE),
    "Checks": GroupList(lambda row: (*row.node.node_checks, *row.checks), CHECK),
}
"""Rows: `ServiceRow`, as `health_json` shows it."""

NODE_INFO: Final[Schema] = {
    **{name: selector for name, selector in NODE.items() if name != "Datacenter"},
    "Services": GroupList(lambda node: node.services.values(), NODE_SERVICE),
    "Checks": GroupList(lambda node: node.all_checks(), CHECK),
}
"""Rows: `NodeRow`, as the page of nodes shows it."""

AGENT_SERVICE: Final[Schema] = {
    **NODE_SERVICE,
    "TaggedAddresses": ValueMap(lambda definition: agent_addresses(definition.record), _ADDRESS),
}
"""Rows: `ServiceDefinition`, as `definition_json` shows it."""
