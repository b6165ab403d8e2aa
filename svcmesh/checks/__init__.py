"""Health checks: their definitions, the table of their states, and the probes that it starts."""
