"""The asyncio driver: real sockets around the sans-IO machines."""

from gossip.driver.joins import JoinResult
from gossip.driver.keys import KeyReport
from gossip.driver.queries import QueryAnswer, QueryCall
from gossip.driver.shell import Gossip
from gossip.driver.stalls import LoopMonitor, WatchedEventLoop

__all__ = [
    "Gossip",
    "JoinResult",
    "KeyReport",
    "LoopMonitor",
    "QueryAnswer",
    "QueryCall",
    "WatchedEventLoop",
]
