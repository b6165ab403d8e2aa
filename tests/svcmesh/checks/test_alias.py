from dataclasses import dataclass

import pytest

from svcmesh.checks.alias import alias_result, followed_services
from svcmesh.checks.definition import Alias


@dataclass(frozen=True)
class Followed:
    name: str
    status: str
    output: str = ""


GOOD, SO_SO, BAD = (
    Followed("g", "passing"),
    Followed("w", "warning", "hm"),
    Followed("b", "critical", "ow"),
)


@pytest.mark.parametrize(
    ("checks", "status", "output"),  # Consul's words
    [
        ([], "passing", "No checks found."),
        ([GOOD], "passing", "All checks passing."),
        ([GOOD, SO_SO], "warning", 'Aliased check "w" failing: hm'),
        ([SO_SO, GOOD], "warning", 'Aliased check "w" failing: hm'),
        ([SO_SO, BAD, GOOD], "critical", 'Aliased check "b" failing: ow'),
        # An external check may have any word as its status.
        ([Followed("x", "maintenance", "no")], "warning", 'Aliased check "x" failing: no'),
    ],
)
def test_an_alias_is_as_bad_as_the_worst_of_what_it_follows(
    checks: list[Followed], status: str, output: str
) -> None:
    result = alias_result(checks)
    assert (result.status, result.output) == (status, output)


def test_an_alias_follows_through_other_aliases_and_a_ring_ends() -> None:
    aliases = {"web": [Alias("db")], "db": [Alias("disk"), Alias("web")], "": [Alias("x")]}
    followed = followed_services(Alias("web"), lambda service: aliases.get(service, []))
    assert sorted(followed) == ["", "db", "disk", "web", "x"]
