"""Serf on top of SWIM: tags, statuses and relayed rumors. Drive `Serf`, and nothing below it."""

from gossip.serf.machine import Serf, as_member
from gossip.serf.vivaldi import distance_s, is_believable

__all__ = ["Serf", "as_member", "distance_s", "is_believable"]
