"""Convergence: all alive agents show the same live records of bound nodes, and the true ones.

The truth about a running node is what its agent wrote and has not deleted; about external nodes it
is that everybody says the same, about a failed one that everybody does who knows of it: who joins
after a member failed does not learn of it.
"""

from collections.abc import Sequence

from svcmesh.catalog.records import Body
from tests.svcmesh.catalog.replicas import Agent, Cluster, Row


def disagreements(cluster: Cluster, among: Sequence[Agent] | None = None) -> list[str]:
    """What is shown wrongly, or differently by two, of the alive ones."""
    viewers = list(cluster.running if among is None else among)
    found: list[str] = []
    first: dict[str, tuple[Agent, dict[Row, Body]]] = {}
    everything = {row[0] for viewer in viewers for row in viewer.shown.rows()}
    externals = {node for node in everything if node.startswith("external:")}
    for viewer in viewers:
        rows = viewer.shown.rows()
        known = {member.serial for member in viewer.table.values()}
        found += [f"{viewer.name} lacks {v.name}" for v in viewers if v.serial not in known]
        for member in viewer.table.values():
            if not member.is_running or member not in viewers:
                continue
            shown = {row[1:]: body for row, body in rows.items() if row[0] == member.name}
            if shown != member.own:
                lacking = sorted(set(member.own) - set(shown))[:3]
                extra = sorted(set(shown) - set(member.own))[:3]
                found.append(f"{viewer.name} of {member.name}: lacks {lacking}, extra {extra}")
            is_alive = member.name not in viewer.failed
            if viewer.shown.alive.get(member.node_id) is not is_alive:
                found.append(f"{viewer.name} of {member.name}: not shown as alive={is_alive}")
        for node in externals | set(viewer.shown.names.values()):
            theirs = {row: body for row, body in rows.items() if row[0] == node}
            other, reference = first.setdefault(node, (viewer, theirs))
            if theirs != reference:
                odd = sorted(_keys_apart(theirs, reference))
                found.append(f"{viewer.name} against {other.name}: {odd[:3]}")
    return found


def _keys_apart(one: dict[Row, Body], other: dict[Row, Body]) -> set[Row]:
    return {row for row in {*one, *other} if one.get(row) != other.get(row)}


def has_converged(cluster: Cluster, among: Sequence[Agent] | None = None) -> bool:
    return not disagreements(cluster, among)


def assert_converged(cluster: Cluster, among: Sequence[Agent] | None = None) -> None:
    found = disagreements(cluster, among)
    assert not found, f"at {cluster.clock.now:.2f} s: {found[:6]}"


def converge(cluster: Cluster, *, limit_s: float, among: Sequence[Agent] | None = None) -> float:
    """Run until everybody agrees, looking ten times a second; how long it took."""
    start = cluster.clock.now
    while not has_converged(cluster, among):
        if cluster.clock.now - start >= limit_s:
            assert_converged(cluster, among)
        cluster.run(0.1)
    return cluster.clock.now - start
