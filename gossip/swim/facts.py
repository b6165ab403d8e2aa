"""What SWIM tells the layer above, beside the effects that go on to the shell (8.4 to 8.6, 6.1)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gossip.swim.effects import (
    MessageDropped,
    NameConflict,
    PushPullFinished,
    ShellRequest,
    StallNoticed,
)
from gossip.types import Address, MemberName
from gossip.wire.messages import PushPullNode


@dataclass(frozen=True, slots=True)
class NodeJoined:
    """A member is alive that was unknown, dead or left before."""

    node: PushPullNode


@dataclass(frozen=True, slots=True)
class NodeUpdated:
    """A member that was present has new metadata."""

    node: PushPullNode


@dataclass(frozen=True, slots=True)
class NodeGone:
    """A member is dead, or left as its `state` says."""

    node: PushPullNode


@dataclass(frozen=True, slots=True)
class UserMessageReceived:
    payload: bytes
    source: Address


@dataclass(frozen=True, slots=True)
class UserStateReceived:
    """The layer above's part of a push/pull that was merged."""

    state: bytes
    own_join: bool
    """It came in answer to a join of ours."""


SwimFact = NodeJoined | NodeUpdated | NodeGone | UserMessageReceived | UserStateReceived
SwimEffect = (
    ShellRequest | PushPullFinished | MessageDropped | NameConflict | StallNoticed | SwimFact
)

Emit = Callable[[SwimEffect], None]
Admit = Callable[[Sequence[PushPullNode]], str | None]
"""The admission hook: the reason to refuse these members, None to let them in (8.4, 12)."""
PingAnswered = Callable[[MemberName, bytes, float], None]
"""Told when a member has answered our direct ping in time: who, the payload that its upper layer
added, and the round trip in seconds. No fact like the others, because it is the most common by far.
"""
