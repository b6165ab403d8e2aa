"""The arrows between the packages (docs/architecture.md, "The house")."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
IO_MODULES = {"asyncio", "socket", "time", "aiohttp", "threading", "subprocess", "os", "random"}
CORES = (
    "gossip/wire",
    "gossip/swim",
    "gossip/serf",
    "svcmesh/catalog",
    "svcmesh/consensus/raft",
    "svcmesh/consensus/store",
    "svcmesh/summaries",
)
MAY_IMPORT = {
    "gossip": {"gossip"},
    "dnsserver": {"dnsserver"},
    "svcmesh": {"svcmesh", "gossip", "dnsserver"},
    "cli": {"cli", "svcmesh", "gossip", "dnsserver"},
}


def imported_modules(path: Path) -> Iterator[tuple[str, str]]:
    """Every (module, imported name) of a file, wherever in it the import stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield from ((node.module or "", alias.name) for alias in node.names)


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_packages_import_in_one_direction_only(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in (ROOT / package).rglob("*.py")
        for module, _ in imported_modules(path)
        if module.split(".")[0] in MAY_IMPORT.keys() - MAY_IMPORT[package]
    ]
    assert wrong == []


@pytest.mark.parametrize("core", CORES)
def test_cores_use_no_clock_no_socket_and_no_shared_randomness(core: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name} of {module}"
        for path in (ROOT / core).rglob("*.py")
        for module, name in imported_modules(path)
        if module.split(".")[0] in IO_MODULES and (module, name) != ("random", "Random")
    ]
    assert wrong == []


def test_the_catalog_knows_neither_the_api_nor_the_agent() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in (ROOT / "svcmesh/catalog").rglob("*.py")
        for module, _ in imported_modules(path)
        if module.startswith(("svcmesh.api", "svcmesh.agent", "svcmesh.runtime"))
    ]
    assert wrong == []
