"""Probes, one module a kind: what is asked, and what the answer says about health."""
