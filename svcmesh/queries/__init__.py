"""Prepared queries: definitions, templates, what they select, and whom they fail over to."""
