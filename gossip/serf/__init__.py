"""Serf on top of SWIM: tags, statuses and relayed rumors. Drive `Serf`, and nothing below it."""

from gossip.serf.machine import Serf
from gossip.serf.vivaldi import distance_s, is_believable

__all__ = ["Serf", "distance_s", "is_believable"]
