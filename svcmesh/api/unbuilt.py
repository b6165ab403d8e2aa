"""Paths of Consul's API that answer with a refusal: what is not built yet, and what never will be.

Consul's service mesh (Connect, intentions, configuration entries) is no part of svcmesh. Where
Consul without a mesh would answer with an empty list, so do we, in `catalog.py` and `health.py`;
whatever else belongs to it says so here.
"""

from typing import Final

from aiohttp import web

from svcmesh.api.answers import ApiError
from svcmesh.api.routing import Call, Handler, Router

NO_MESH: Final = "svcmesh is no service mesh"

UNBUILT: Final = {
    "/v1/config": ("PUT", f"{NO_MESH}: there are no configuration entries"),
    "/v1/config/": ("GET DELETE", f"{NO_MESH}: there are no configuration entries"),
    "/v1/connect/ca/configuration": ("GET PUT", f"{NO_MESH}: there is no certificate authority"),
    "/v1/connect/ca/roots": ("GET", f"{NO_MESH}: there is no certificate authority"),
    "/v1/connect/intentions": ("GET POST", f"{NO_MESH}: there are no intentions"),
    "/v1/connect/intentions/": ("GET PUT DELETE", f"{NO_MESH}: there are no intentions"),
    "/v1/connect/intentions/match": ("GET", f"{NO_MESH}: there are no intentions"),
    "/v1/connect/intentions/check": ("GET", f"{NO_MESH}: there are no intentions"),
    "/v1/discovery-chain/": ("GET POST", f"{NO_MESH}: there are no discovery chains"),
    "/v1/internal/ui/gateway-intentions/": ("GET", f"{NO_MESH}: there are no intentions"),
    "/v1/agent/connect/authorize": ("POST", f"{NO_MESH}: there are no intentions"),
    "/v1/agent/connect/ca/roots": ("GET", f"{NO_MESH}: there is no certificate authority"),
    "/v1/agent/connect/ca/leaf/": ("GET", f"{NO_MESH}: there is no certificate authority"),
}
"""By path, or prefix that ends in a slash: the methods that Consul knows, and why we refuse."""

ACL: Final = {
    "/v1/acl/bootstrap": "PUT",
    "/v1/acl/create": "PUT",
    "/v1/acl/update": "PUT",
    "/v1/acl/destroy/": "PUT",
    "/v1/acl/info/": "GET",
    "/v1/acl/clone/": "PUT",
    "/v1/acl/list": "GET",
    "/v1/acl/login": "POST",
    "/v1/acl/logout": "POST",
    "/v1/acl/replication": "GET",
    "/v1/acl/policies": "GET",
    "/v1/acl/policy": "PUT",
    "/v1/acl/policy/": "GET PUT DELETE",
    "/v1/acl/policy/name/": "GET",
    "/v1/acl/roles": "GET",
    "/v1/acl/role": "PUT",
    "/v1/acl/role/name/": "GET",
    "/v1/acl/role/": "GET PUT DELETE",
    "/v1/acl/binding-rules": "GET",
    "/v1/acl/binding-rule": "PUT",
    "/v1/acl/binding-rule/": "GET PUT DELETE",
    "/v1/acl/auth-methods": "GET",
    "/v1/acl/auth-method": "PUT",
    "/v1/acl/auth-method/": "GET PUT DELETE",
    "/v1/acl/rules/translate": "POST",
    "/v1/acl/rules/translate/": "GET",
    "/v1/acl/tokens": "GET",
    "/v1/acl/token": "PUT",
    "/v1/acl/token/self": "GET",
    "/v1/acl/token/": "GET PUT DELETE",
    "/v1/agent/token/": "PUT",
    "/v1/internal/acl/authorize": "POST",
}
"""Without access control Consul answers these with 401; its clients look at the words."""

ACL_DISABLED: Final = "ACL support disabled"


def add_routes(router: Router) -> None:
    """Refuse what is not built."""
    for path, (methods, why) in UNBUILT.items():
        for method in methods.split():
            router.add(method, path, _refusal(501, why))
    for path, methods in ACL.items():
        for method in methods.split():
            router.add(method, path, _refusal(401, ACL_DISABLED))


def _refusal(status: int, text: str) -> Handler:
    async def refuse(_: Call) -> web.Response:
        raise ApiError(status, text)

    return refuse
