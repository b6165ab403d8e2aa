"""`svcmesh`, with mutual TLS wherever it is an agent: for benchmarks that take `--bin`.

bench/raft_chaos.py --bin ".venv/bin/python bench/with_tls.py --folder /tmp/certificates"

Authority and certificates are made in the folder as they are needed, one for each data center and
role.
"""

import fcntl
import sys
from collections.abc import Sequence
from pathlib import Path

from cli.main import main as svcmesh
from svcmesh.certificates import Pair, Purpose, Subject, make_authority, make_certificate

DOMAIN = "consul"
DAYS = 60


def pair_in(folder: Path, name: str, subject: Subject | None) -> Pair:
    """Read it, or make it: an authority without a subject."""
    paths = folder / f"{name}.pem", folder / f"{name}-key.pem"
    if not paths[0].exists():
        if subject is None:
            made = make_authority(days=DAYS)
        else:
            made = make_certificate(pair_in(folder, "ca", None), subject, days=DAYS)
        paths[1].write_bytes(made.key)
        paths[0].write_bytes(made.certificate)
    return Pair(*(path.read_bytes() for path in paths))


def flag_value(arguments: Sequence[str], name: str, default: str) -> str:
    """What a flag is given as `-name value` or `-name=value`."""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        key, equals, value = argument.lstrip("-").partition("=")
        if argument.startswith("-") and key == name:
            return value if equals else following
    return default


def main(arguments: list[str]) -> int:
    if arguments[:1] != ["--folder"]:
        sys.exit(__doc__)
    folder, command = Path(arguments[1]).absolute(), arguments[2:]
    if command[:1] == ["agent"]:
        folder.mkdir(parents=True, exist_ok=True)
        purpose = Purpose.SERVER if "-server" in command else Purpose.CLIENT
        datacenter = flag_value(command, "datacenter", "dc1")
        name = f"{datacenter}-{purpose.value}"
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            pair_in(folder, name, Subject(purpose=purpose, datacenter=datacenter, domain=DOMAIN))
        command += [
            *("-hcl", f'ca_file = "{folder}/ca.pem" cert_file = "{folder}/{name}.pem"'),
            *("-hcl", f'key_file = "{folder}/{name}-key.pem" verify_incoming = true'),
            *("-hcl", "verify_outgoing = true verify_server_hostname = true"),
        ]
    return svcmesh(command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
