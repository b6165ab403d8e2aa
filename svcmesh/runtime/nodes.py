"""The checks of other nodes, read from the catalog view for aliases."""

from collections.abc import Callable

from svcmesh.catalog.records import CheckRecord
from svcmesh.catalog.topics import node_checks_topic, node_topic
from svcmesh.catalog.view import CatalogView


class CatalogNodes:
    """Answers an alias check from the catalog view."""

    def __init__(self, view: CatalogView, *, own_name: str) -> None:
        self._view, self.own_name = view, own_name

    def checks(self, node: str, service_id: str) -> list[CheckRecord] | None:
        """The checks of a node, and of one of its services unless the id is empty.

        Raises:
            KeyError: The node has no such service. None: there is no such node.
        """
        row = self._view.node(node)
        if row is None:
            return None
        rows = row.node_checks
        if service_id:
            rows += row.services[service_id].checks
        return [check.record for check in rows]

    def watch(self, node: str, on_change: Callable[[], None]) -> Callable[[], None]:
        """Call `on_change` once, when the node or its checks change; returns how to forget it."""
        watch = self._view.watch((node_topic(node), node_checks_topic(node)), on_change)
        return lambda: self._view.cancel_watch(watch)
