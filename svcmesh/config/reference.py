"""`docs/configuration.md`, written from the declarations: `python -m svcmesh.config.reference`.

A test compares the file with what this module writes.
"""

import sys
from collections.abc import Iterable, Iterator
from typing import Final

from svcmesh.config.foreign import FOREIGN, ForeignKey
from svcmesh.config.setting import Setting
from svcmesh.config.settings import SETTINGS

_OPENING: Final = """\
# Configuration

<!-- Written by `make docs` from svcmesh/config/; edit the declarations there. -->

The agent reads Consul's configuration: files and folders given by `-config-file` and
`-config-dir` (`.json` and `.hcl`; those of a folder in alphabetical order), flags, and fragments
given by `-hcl`. Later ones win, flags win over files, `-hcl` over flags; lists add up, those of
flags first. Keys are matched without regard to letter case. An unknown key is an error that names
the key.

`svcmesh validate FILE_OR_FOLDER...` says whether an agent would take them. `svcmesh reload` and
SIGHUP read them again and apply the settings marked *reload*; the others keep their value until a
restart.

Types in files are strict: durations are texts such as `"30s"`, `"1h30m"` or `"100ms"`, numbers
are numbers. In settings that take addresses, a template such as `{{ GetInterfaceIP "eth0" }}` or
`{{ GetPrivateIP }}` stands for the host's.

Services are defined by `service` and `services`; see
[operating.md](operating.md#register-services).

Flags without a setting: `-dev` (a server on loopback that keeps everything in memory),
`-config-file`, `-config-dir`, `-config-format` (`json` or `hcl`: the language of all files,
whatever their names) and `-hcl`.
"""

_REFUSED: Final = """\
## Consul's settings that are refused

These promise security, or change what others see, and are not built. Empty, or turned off, they
are a warning.
"""

_IGNORED: Final = """\
## Consul's settings that have no effect

Existing files may have them; each is a warning in the log.
"""


def reference() -> str:
    """The whole text."""
    refused = [key for key in FOREIGN if key.asks is not None]
    ignored = [key for key in FOREIGN if key.asks is None]
    parts = [_OPENING, *_sections(), _REFUSED, _foreign(refused), _IGNORED, _foreign(ignored)]
    return "\n".join(parts)


def _sections() -> Iterator[str]:
    groups: dict[str, list[Setting]] = {}
    for setting in SETTINGS:
        groups.setdefault(setting.path.rpartition(".")[0], []).append(setting)
    for title, settings in groups.items():
        yield f"## `{title}`\n" if title else "## Top level\n"
        yield from map(_entry, settings)


def _entry(setting: Setting) -> str:
    facts = [str(setting.kind)]
    if setting.default_text:
        facts.append(f"default `{setting.default_text}`")
    if setting.within and (text := setting.within.text(setting.kind)):
        facts.append(text)
    if setting.choices:
        facts.append(f"one of {', '.join(f'`{one}`' for one in setting.choices)}")
    if setting.flag:
        facts.append(f"flag `-{setting.flag}`")
    facts += [f"also `{alias}`" for alias in setting.aliases]
    if setting.reloadable:
        facts.append("*reload*")
    return f"**`{setting.path}`**: {'; '.join(facts)}. {setting.doc}\n"


def _foreign(keys: Iterable[ForeignKey]) -> str:
    by_reason: dict[str, list[str]] = {}
    for key in keys:
        by_reason.setdefault(key.about, []).append(f"`{key.path}`")
    return "\n".join(f"- {about}: {', '.join(paths)}" for about, paths in by_reason.items()) + "\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
