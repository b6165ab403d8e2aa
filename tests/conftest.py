"""What holds for every test: how long an example takes is no verdict, a machine may be busy."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "svcmesh", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("svcmesh")
