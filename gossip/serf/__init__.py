"""Serf on top of SWIM: tags, statuses and relayed rumors. Drive `Serf`, and nothing below it."""

from gossip.serf.machine import Serf

__all__ = ["Serf"]
