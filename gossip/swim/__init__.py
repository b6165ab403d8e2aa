"""SWIM with Lifeguard: who is in the pool, and who stopped answering. No I/O."""

from gossip.swim.carrier import packet_room_bytes, user_rumor_bytes_max
from gossip.swim.machine import Swim

__all__ = ["Swim", "packet_room_bytes", "user_rumor_bytes_max"]
