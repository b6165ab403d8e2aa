"""`/v1/agent/metrics`: as go-metrics shows them in JSON, or in Prometheus' text format."""

import asyncio
import gc
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from resource import getpagesize
from typing import TYPE_CHECKING, Final, TypeVar

from aiohttp import web

from gossip.serf.events import MemberStatus
from svcmesh.api.answers import BASE_HEADERS
from svcmesh.api.facade import AgentFacade
from svcmesh.api.responses import json_response
from svcmesh.api.routing import Call, Router
from svcmesh.catalog.records import HealthStatus
from svcmesh.metrics import INTERVAL_S, Series, Summary

if TYPE_CHECKING:
    from prometheus_client.core import Metric

PREFIX: Final = "consul"
"""Consul's default, so that dashboards made for it find what they know."""

Json = dict[str, object]
_Value = TypeVar("_Value")

_NOT_IN_A_NAME: Final = re.compile(r"[^a-zA-Z0-9_]")
_MEMORY: Final = Path("/proc/self/statm")


def add_routes(router: Router) -> None:
    """Add this area's routes."""
    router.add("GET", "/v1/agent/metrics", metrics)


async def metrics(call: Call) -> web.Response:
    """The last interval; with `format=prometheus` everything since the start."""
    facade = call.facade
    facade.metrics.refresh()
    if call.param("format") == "prometheus":
        return _prometheus(facade)
    interval = facade.metrics.interval
    began_at = datetime.fromtimestamp(interval.began_at_utc, tz=UTC)
    return await json_response(
        call,
        {
            "Timestamp": f"{began_at:%Y-%m-%d %H:%M:%S} +0000 UTC",
            "Gauges": [
                {**_named(series), "Value": value, "Labels": dict(series.labels)}
                for series, value in sorted(gauges(facade).items())
            ],
            "Points": [],
            "Counters": [_summary(*entry) for entry in sorted(interval.counters.items(), key=_key)],
            "Samples": [_summary(*entry) for entry in sorted(interval.samples.items(), key=_key)],
        },
    )


def gauges(facade: AgentFacade) -> dict[Series, float]:
    """What is the case at this moment."""
    view, gossip = facade.view, facade.gossip_stats()
    nodes = view.nodes()
    values: dict[str, float] = {
        "catalog.index": view.index,
        "catalog.lag_s": facade.consistency.lag_s,
        "catalog.ready": int(facade.is_ready),
        "http.blocking_queries": view.watch_count,
        "runtime.alloc_bytes": _resident_bytes(),
        "runtime.num_tasks": len(asyncio.all_tasks()),
        "runtime.total_gc_runs": sum(generation["collections"] for generation in gc.get_stats()),
        "state.nodes": len(nodes),
        "state.services": len(view.service_tags()),
        "state.service_instances": sum(len(node.services) for node in nodes),
    }
    # Those of the member table come with their status below.
    gossip = {name: gossip[name] for name in gossip if name not in ("members", "failed", "left")}
    known = {"health_score": "memberlist.health.score", "event_queue": "serf.queue.Event",
             "intent_queue": "serf.queue.Intent", "query_queue": "serf.queue.Query"}  # fmt: skip
    values |= {known.get(name, f"serf.{name}"): value for name, value in gossip.items()}
    shown = {Series(name): value for name, value in values.items()}
    callers, expires = facade.calls.callers(), facade.calls.certificate_expires_utc
    plain = len(callers.plain_hosts)
    for is_encrypted, count in (("true", callers.connections - plain), ("false", plain)):
        shown[Series("rpc.connections", (("encrypted", is_encrypted),))] = count
    if expires is not None:
        left_s = (expires - datetime.now(UTC)).total_seconds()
        shown[Series("agent.tls.cert.expiry")] = round(left_s)
    members = dict.fromkeys(MemberStatus, 0)
    for member in facade.members():
        members[member.status] += 1
    for status, count in members.items():
        if status is not MemberStatus.NONE:
            shown[Series("serf.members", (("status", status.value),))] = count
    for state in (HealthStatus.WARNING, HealthStatus.CRITICAL):
        count = sum(1 for _ in view.checks_in_state(state))
        shown[Series("state.checks", (("status", state.value),))] = count
    return shown


def _key(entry: tuple[Series, Summary]) -> Series:
    return entry[0]


def _named(series: Series) -> Json:
    return {"Name": f"{PREFIX}.{series.name}"}


def _summary(series: Series, summary: Summary) -> Json:
    return {
        **_named(series),
        "Count": summary.count,
        "Rate": summary.total / INTERVAL_S,
        "Sum": summary.total,
        "Min": summary.least,
        "Max": summary.most,
        "Mean": summary.mean,
        "Stddev": summary.deviation,
        "Labels": dict(series.labels),
    }


def _prometheus(facade: AgentFacade) -> web.Response:
    # Not at the top: agents that nobody scrapes do without it.
    from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
    from prometheus_client.registry import CollectorRegistry

    class Everything:
        def collect(self) -> Iterator["Metric"]:
            return _families(facade)

    registry = CollectorRegistry()
    registry.register(Everything())
    headers = {**BASE_HEADERS, "Content-Type": CONTENT_TYPE_PLAIN_0_0_4}
    return web.Response(body=generate_latest(registry), headers=headers)


def _families(facade: AgentFacade) -> Iterator["Metric"]:
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        SummaryMetricFamily,
    )

    for name, rows in _by_name(gauges(facade)).items():
        labels = _label_names(rows)
        gauge = GaugeMetricFamily(_flat(name), name, labels=labels)
        for series, value in rows:
            gauge.add_metric(_label_values(series, labels), value)
        yield gauge
    for name, counted in _by_name(facade.metrics.counted).items():
        labels = _label_names(counted)
        counter = CounterMetricFamily(_flat(name), name, labels=labels)
        for series, count in counted:
            counter.add_metric(_label_values(series, labels), count)
        yield counter
    for name, sampled in _by_name(facade.metrics.sampled).items():
        labels = _label_names(sampled)
        summary = SummaryMetricFamily(_flat(name), name, labels=labels)
        for series, each in sampled:
            summary.add_metric(_label_values(series, labels), each.count, each.total)
        yield summary


def _by_name(values: Mapping[Series, _Value]) -> dict[str, list[tuple[Series, _Value]]]:
    grouped: dict[str, list[tuple[Series, _Value]]] = {}
    for series, value in sorted(values.items(), key=lambda entry: entry[0]):
        grouped.setdefault(series.name, []).append((series, value))
    return grouped


def _flat(name: str) -> str:
    return f"{PREFIX}_{_NOT_IN_A_NAME.sub('_', name)}"


def _label_names(rows: Sequence[tuple[Series, object]]) -> list[str]:
    """The labels that any series of a metric has."""
    return sorted({name for series, _ in rows for name, _ in series.labels})


def _label_values(series: Series, names: Sequence[str]) -> list[str]:
    given = dict(series.labels)
    return [given.get(name, "") for name in names]


def _resident_bytes() -> int:
    try:
        return int(_MEMORY.read_text().split()[1]) * getpagesize()
    except (OSError, IndexError, ValueError):
        # No /proc here: what is not known is left at zero.
        return 0
