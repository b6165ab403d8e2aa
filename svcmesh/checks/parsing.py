"""Check definitions, in every shape that Consul accepts them, and as JSON that is read again.

A check stands alone (`check` in a file, `/v1/agent/check/register`) or inside its service; a few
names differ between files and requests, as they do in Consul.
"""

from collections.abc import Callable, Sequence
from typing import Final

from svcmesh.catalog.records import HealthStatus
from svcmesh.checks.definition import (
    DEREGISTER_S_MIN,
    INTERVAL_S_MIN,
    PROBE_TIMEOUT_S,
    SCRIPT_TIMEOUT_S,
    Alias,
    CheckDefinition,
    GrpcProbe,
    HttpProbe,
    Maintenance,
    Probe,
    ScriptProbe,
    Source,
    TcpProbe,
    Ttl,
    UdpProbe,
)
from svcmesh.goformats import duration_string, parse_duration
from svcmesh.jsonvalues import is_empty
from svcmesh.reading import Reader, spellings

CHECKS_MAX: Final = 256
"""Of one service or registration. Differs from Consul, which has no bound: each takes a fraction of
a millisecond, and a body of 512 KiB has room for enough of them to stop the agent for seconds."""

_COMMON: Final = (
    "Name", "Notes", "Status", "Args", "ScriptArgs", "HTTP", "Header", "Method", "Body", "TCP",
    "UDP", "GRPC", "GRPCUseTLS", "TLSServerName", "TLSSkipVerify", "AliasNode", "AliasService",
    "Interval", "Timeout", "TTL", "SuccessBeforePassing", "FailuresBeforeWarning",
    "FailuresBeforeCritical", "DeregisterCriticalServiceAfter", "OutputMaxSize", "ServiceID",
    "Token",
)  # fmt: skip

_ALONE: Final = spellings((*_COMMON, "ID"))
_INSIDE_BODY: Final = spellings((*_COMMON, "CheckID"))
_INSIDE_FILE: Final = spellings((*_COMMON, "CheckID")) | {"id": "CheckID"}

_REFUSED: Final = {
    "dockercontainerid": "Docker checks",
    "docker_container_id": "Docker checks",
    "shell": "Docker checks",
    "osservice": "checks of operating system services",
    "os_service": "checks of operating system services",
    "h2ping": "HTTP/2 ping checks",
    "h2pingusetls": "HTTP/2 ping checks",
    "h2ping_use_tls": "HTTP/2 ping checks",
    "namespace": "namespaces",
    "partition": "admin partitions",
    "disableredirects": "HTTP checks without redirects",
    "disable_redirects": "HTTP checks without redirects",
    "tcpusetls": "TCP checks with TLS",
    "tcp_use_tls": "TCP checks with TLS",
}
"""Fields of Consul's that must be empty, and the feature that each belongs to."""

_IGNORED: Final = ("proxyhttp", "proxygrpc", "proxy_http", "proxy_grpc")
"""What Consul's own clients echo and nobody sets."""

_DURATIONS: Final = spellings(("Interval", "Timeout", "TTL", "DeregisterCriticalServiceAfter"))

_STATUSES: Final = frozenset(HealthStatus)

_Path = Callable[[str], str]
"""From the name of a field to its path in errors."""


def parse_check_definition(obj: object, *, where: str, strict: bool) -> CheckDefinition:
    """Read a decoded JSON value as a check that stands alone; see `Reader` for the arguments.

    Raises:
        DefinitionError: It is none, or asks for what is not built.
    """
    reader = Reader(where=where, strict=strict)
    given = reader.fields(obj, _ALONE, at="", refused=_REFUSED, ignored=_IGNORED)
    name = reader.string(given.get("Name"), at="Name")
    check_id = reader.string(given.get("ID"), at="ID") or name
    if not name:
        if not reader.is_body and check_id:
            name = check_id
        else:
            raise reader.refusal("Missing check name")
    return _definition(
        reader,
        given,
        at="",
        check_id=check_id,
        name=name,
        service_id=reader.string(given.get("ServiceID"), at="ServiceID"),
        bad_status="Bad check status",
    )


def parse_service_checks(
    reader: Reader, check: object, checks: object, *, service_id: str, service_name: str
) -> tuple[CheckDefinition, ...]:
    """Read the `Check` and `Checks` of a service's definition.

    Those without an id get one: `service:ID`, or `service:ID:N` with several checks. Of two with
    one id the later one counts.

    Raises:
        DefinitionError: One is wrong.
    """
    items: list[tuple[str, object]] = []
    if not _asks_for_nothing(reader, check):
        items.append(("Check", check))
    items += [("Checks", item) for item in reader.items(checks, "objects", at="Checks")]
    if len(items) > CHECKS_MAX:
        raise reader.refusal(f"Checks: at most {CHECKS_MAX} may be given, got {len(items)}")
    known = _INSIDE_BODY if reader.is_body else _INSIDE_FILE
    found = {}
    for number, (at, item) in enumerate(items, 1):
        given = reader.fields(item, known, at=at, refused=_REFUSED, ignored=_IGNORED)
        default_id = f"service:{service_id}" + (f":{number}" if len(items) > 1 else "")
        check_id = reader.string(given.get("CheckID"), at=f"{at}.CheckID") or default_id
        found[check_id] = _definition(
            reader,
            given,
            at=at,
            check_id=check_id,
            name=reader.string(given.get("Name"), at=f"{at}.Name")
            or f"Service '{service_name}' check",
            service_id=service_id,
            bad_status="Status for checks must 'passing', 'warning', 'critical'",
        )
    return tuple(found.values())


def check_to_json(
    definition: CheckDefinition, *, inside_service: bool = False
) -> dict[str, object]:
    """The definition as a JSON object that is read again, as a body, with nothing that is empty."""
    durations = {
        "Interval": definition.interval_s,
        "Timeout": definition.timeout_s,
        "DeregisterCriticalServiceAfter": definition.deregister_after_s,
    }
    value: dict[str, object] = {
        "CheckID" if inside_service else "ID": definition.id,
        "Name": definition.name,
        "Notes": definition.notes,
        "ServiceID": "" if inside_service else definition.service_id,
        "Status": definition.status.value,
        "SuccessBeforePassing": definition.success_before_passing,
        "FailuresBeforeWarning": definition.failures_before_warning,
        "FailuresBeforeCritical": definition.failures_before_critical,
        "OutputMaxSize": definition.output_bytes_max,
        **{key: duration_string(given_s) for key, given_s in durations.items() if given_s},
        **_source_to_json(definition.source),
    }
    return {key: inner for key, inner in value.items() if not is_empty(inner)}


def _source_to_json(source: Source) -> dict[str, object]:
    match source:
        case HttpProbe():
            return {
                "HTTP": source.url,
                "Method": source.method,
                "Header": {name: list(values) for name, values in source.header},
                "Body": source.body,
                "TLSServerName": source.tls_server_name,
                "TLSSkipVerify": source.tls_skip_verify,
            }
        case TcpProbe():
            return {"TCP": source.address}
        case UdpProbe():
            return {"UDP": source.address}
        case GrpcProbe():
            return {
                "GRPC": source.target,
                "GRPCUseTLS": source.uses_tls,
                "TLSServerName": source.tls_server_name,
                "TLSSkipVerify": source.tls_skip_verify,
            }
        case ScriptProbe():
            return {"Args": list(source.args)}
        case Ttl():
            return {"TTL": duration_string(source.ttl_s)}
        case Alias():
            return {"AliasNode": source.node, "AliasService": source.service_id}
        case Maintenance():
            return {}


def _asks_for_nothing(reader: Reader, check: object) -> bool:
    """Whether a service's `Check` is as good as absent, as some clients send it."""
    if not isinstance(check, dict):
        return check is None
    return all(
        _is_zero_duration(value) if key.lower() in _DURATIONS else is_empty(value)
        for key, value in check.items()
    )


def _is_zero_duration(value: object) -> bool:
    if not isinstance(value, str):
        return is_empty(value)
    try:
        return parse_duration(value) == 0
    except ValueError:
        return False


def _definition(
    reader: Reader,
    given: dict[str, object],
    *,
    at: str,
    check_id: str,
    name: str,
    service_id: str,
    bad_status: str,
) -> CheckDefinition:
    def path(key: str) -> str:
        return f"{at}.{key}" if at else key

    def duration_s(key: str) -> float:
        return reader.duration_s(given.get(key), at=path(key))

    # Only its kind matters: there is no access control.
    reader.string(given.get("Token"), at=path("Token"))

    def integer(key: str) -> int:
        return reader.integer(given.get(key), at=path(key))

    notes = reader.string(given.get("Notes"), at=path("Notes"))
    status = reader.string(given.get("Status"), at=path("Status"))
    interval_s, timeout_s, ttl_s = duration_s("Interval"), duration_s("Timeout"), duration_s("TTL")
    deregister_s = duration_s("DeregisterCriticalServiceAfter")
    output_bytes_max = integer("OutputMaxSize")
    counts = [
        max(0, integer(key))
        for key in ("SuccessBeforePassing", "FailuresBeforeWarning", "FailuresBeforeCritical")
    ]
    probes, alias = _probes(reader, given, path), _alias(reader, given, path)
    if status and status not in _STATUSES:
        raise reader.refusal(bad_status)
    if problem := _problem(probes, alias, interval_s, ttl_s):
        raise reader.refusal(f"Invalid check: {problem}")
    if output_bytes_max < 0:
        raise reader.refusal("Invalid check: MaxOutputMaxSize must be positive")
    source: Source
    if probes:
        # Of several the first counts, as in Consul.
        source = probes[0]
        interval_s = max(interval_s, INTERVAL_S_MIN)
        if timeout_s <= 0:
            is_script = isinstance(source, ScriptProbe)
            timeout_s = SCRIPT_TIMEOUT_S if is_script else PROBE_TIMEOUT_S
    else:
        source = alias or Ttl(ttl_s)
        interval_s = timeout_s = 0.0
    return CheckDefinition(
        id=check_id,
        name=name,
        source=source,
        notes=notes,
        service_id=service_id,
        status=HealthStatus(status or HealthStatus.CRITICAL),
        interval_s=interval_s,
        timeout_s=timeout_s,
        success_before_passing=counts[0],
        failures_before_warning=counts[1],
        failures_before_critical=counts[2],
        deregister_after_s=max(deregister_s, DEREGISTER_S_MIN) if deregister_s > 0 else 0.0,
        output_bytes_max=output_bytes_max,
    )


def _problem(
    probes: Sequence[Probe], alias: Alias | None, interval_s: float, ttl_s: float
) -> str | None:
    if interval_s > 0 and ttl_s > 0:
        return "Interval and TTL cannot both be specified"
    if probes and interval_s <= 0:
        return "Interval must be > 0 for Script, HTTP, or TCP checks"
    if probes and alias:
        return "Interval cannot be set for Alias checks"
    if alias and ttl_s > 0:
        return "TTL must be not be set for Alias checks"
    if not probes and not alias and ttl_s <= 0:
        return "TTL must be > 0 for TTL checks"
    return None


def _probes(reader: Reader, given: dict[str, object], path: _Path) -> list[Probe]:
    """Every probe that the definition asks for, the one that counts first."""

    def string(key: str) -> str:
        return reader.string(given.get(key), at=path(key))

    def boolean(key: str) -> bool:
        return reader.boolean(given.get(key), at=path(key))

    header = tuple(
        (name, reader.strings(values, at=path(f"Header.{name}")))
        for name, values in reader.mapping(given.get("Header"), at=path("Header")).items()
    )
    method, body = string("Method"), string("Body")
    server_name, skip_verify = string("TLSServerName"), boolean("TLSSkipVerify")
    uses_tls = boolean("GRPCUseTLS")
    args = tuple(
        arg
        for key in ("Args", "ScriptArgs")
        for arg in reader.strings(given.get(key), at=path(key))
    )
    found: list[Probe] = []
    if url := string("HTTP"):
        found.append(HttpProbe(url, method or "GET", header, body, server_name, skip_verify))
    if address := string("TCP"):
        found.append(TcpProbe(address))
    if address := string("UDP"):
        found.append(UdpProbe(address))
    if target := string("GRPC"):
        found.append(GrpcProbe(target, uses_tls, server_name, skip_verify))
    if args:
        found.append(ScriptProbe(args))
    return found


def _alias(reader: Reader, given: dict[str, object], path: _Path) -> Alias | None:
    service = reader.string(given.get("AliasService"), at=path("AliasService"))
    node = reader.string(given.get("AliasNode"), at=path("AliasNode"))
    return Alias(service, node) if service or node else None
