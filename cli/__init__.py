"""The `svcmesh` command: parses, calls the HTTP API, prints. One module per command group.

A command imports what it needs and nothing else: starting, printing and ending takes less than a
quarter of a second.
"""
