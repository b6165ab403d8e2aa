"""Who waits for what: callbacks by topic. No I/O."""

from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

Topic = TypeVar("Topic", bound=Hashable)


class Watch(Generic[Topic]):
    """One waiter. `on_change` is called once, at the first change of one of the topics."""

    __slots__ = ("on_change", "topics")

    def __init__(self, topics: tuple[Topic, ...], on_change: Callable[[], None]) -> None:
        self.topics, self.on_change = topics, on_change


class WatchRegistry(Generic[Topic]):
    """Watches by topic. A watch that has fired or was cancelled is forgotten."""

    __slots__ = ("_by_topic", "_waiting")

    def __init__(self) -> None:
        self._by_topic: dict[Topic, dict[Watch[Topic], None]] = {}
        self._waiting: set[Watch[Topic]] = set()

    def __len__(self) -> int:
        """The number of watches that wait."""
        return len(self._waiting)

    def add(self, topics: Iterable[Topic], on_change: Callable[[], None]) -> Watch[Topic]:
        """Call `on_change` once, at the first change of any of `topics`."""
        watch = Watch(tuple(topics), on_change)
        self._waiting.add(watch)
        for topic in watch.topics:
            self._by_topic.setdefault(topic, {})[watch] = None
        return watch

    def cancel(self, watch: Watch[Topic]) -> None:
        """Forget a watch; one that has fired already is fine."""
        self._waiting.discard(watch)
        for topic in watch.topics:
            waiting = self._by_topic.get(topic)
            if waiting is None:
                continue
            waiting.pop(watch, None)
            if not waiting:
                del self._by_topic[topic]

    def topics(self) -> list[Topic]:
        """Everything that somebody waits for."""
        return list(self._by_topic)

    def fire(self, topics: Iterable[Topic]) -> None:
        """Call the watches of `topics`, each once, in the order in which they were added."""
        fired: dict[Watch[Topic], None] = {}
        for topic in topics:
            fired.update(self._by_topic.get(topic, {}))
        for watch in fired:
            self.cancel(watch)
        for watch in fired:
            watch.on_change()
