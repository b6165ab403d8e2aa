"""Areas of Consul's API that are not built yet: each answers with a line that says so."""

from typing import Final

from svcmesh.api.answers import ApiError
from svcmesh.api.routing import Router

UNBUILT: Final = {
    "/v1/kv/": "the key/value store",
    "/v1/session/": "sessions",
    "/v1/txn": "transactions",
    "/v1/snapshot": "snapshots",
    "/v1/operator/": "the operator API",
    "/v1/query": "prepared queries",
    "/v1/query/": "prepared queries",
    "/v1/config": "configuration entries",
    "/v1/config/": "configuration entries",
    "/v1/connect/": "the service mesh",
    "/v1/discovery-chain/": "the service mesh",
    "/v1/internal/": "the internal API of the web page",
    "/v1/catalog/gateway-services/": "the service mesh",
    "/v1/health/ingress/": "the service mesh",
    "/v1/agent/connect/": "the service mesh",
    "/v1/agent/checks": "health checks",
    "/v1/agent/check/": "health checks",
    "/v1/agent/health/": "health checks",
    "/v1/agent/maintenance": "maintenance mode",
    "/v1/agent/service/maintenance/": "maintenance mode",
    "/v1/agent/force-leave/": "force-leave",
    "/v1/agent/metrics": "metrics",
    "/v1/agent/monitor": "log streaming",
    "/v1/agent/host": "host information",
}

ACL: Final = ("/v1/acl/", "/v1/agent/token/")


def add_routes(router: Router) -> None:
    """Refuse what is not built."""
    for path, what in UNBUILT.items():
        router.refuse(path, ApiError(501, f"not supported yet: {what}"))
    for path in ACL:
        # What Consul answers without access control, and what its clients look for.
        router.refuse(path, ApiError(401, "ACL support disabled"))
