"""Gossip-based cluster membership: who is in the pool, and who failed or left.

Create a `Gossip`, join others by address, and be called with every `Event`. It speaks the protocol
of memberlist and Serf, so it shares a pool with their agents. It runs on any event loop; on a
`WatchedEventLoop` it notices its own process's stalls exactly and without waking up for it.
"""

from gossip.config import GossipConfig, PoolConfig, SerfConfig, SwimConfig, lan, local, wan
from gossip.driver import (
    Gossip,
    JoinResult,
    KeyReport,
    LoopMonitor,
    QueryAnswer,
    QueryCall,
    WatchedEventLoop,
)
from gossip.errors import ConfigError, GossipError, StateError, TooLargeError
from gossip.serf import distance_s, is_believable
from gossip.serf.events import (
    Event,
    IncomingQuery,
    KeyOperation,
    LeaveFinished,
    Member,
    MemberEvent,
    MemberFailed,
    MemberJoined,
    MemberLeft,
    MemberReaped,
    MemberStatus,
    MemberUpdated,
    NameVoteFinished,
    PeerFound,
    QueryReceived,
    UserEventReceived,
    UserPayloadReceived,
)
from gossip.serf.lamport import LamportTimes
from gossip.serf.queries import QueryOptions
from gossip.swim.effects import MessageDropped, NameConflict, PushPullFinished
from gossip.types import Address, Incarnation, LamportTime, MemberName, Peer
from gossip.wire import Keyring
from gossip.wire.messages import Coordinate

__all__ = [
    "Address",
    "ConfigError",
    "Coordinate",
    "Event",
    "Gossip",
    "GossipConfig",
    "GossipError",
    "Incarnation",
    "IncomingQuery",
    "JoinResult",
    "KeyOperation",
    "KeyReport",
    "Keyring",
    "LamportTime",
    "LamportTimes",
    "LeaveFinished",
    "LoopMonitor",
    "Member",
    "MemberEvent",
    "MemberFailed",
    "MemberJoined",
    "MemberLeft",
    "MemberName",
    "MemberReaped",
    "MemberStatus",
    "MemberUpdated",
    "MessageDropped",
    "NameConflict",
    "NameVoteFinished",
    "Peer",
    "PeerFound",
    "PoolConfig",
    "PushPullFinished",
    "QueryAnswer",
    "QueryCall",
    "QueryOptions",
    "QueryReceived",
    "SerfConfig",
    "StateError",
    "SwimConfig",
    "TooLargeError",
    "UserEventReceived",
    "UserPayloadReceived",
    "WatchedEventLoop",
    "distance_s",
    "is_believable",
    "lan",
    "local",
    "wan",
]
