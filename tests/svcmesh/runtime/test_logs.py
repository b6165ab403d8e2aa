import io
import logging
import re
from collections.abc import Iterator

import pytest

from svcmesh.runtime.logs import set_up_logging


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    """The root logger, given back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield root
    root.handlers, root.level = handlers, level


def test_a_line_has_time_level_component_and_message(root_logger: logging.Logger) -> None:
    out = io.StringIO()
    set_up_logging("info", out)
    logging.getLogger("agent.serf").warning("member %s failed", "n7")
    assert re.fullmatch(
        r"    \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \[WARN\]  agent\.serf: member n7 failed\n",
        out.getvalue(),
    )


def test_lines_below_the_level_are_left_out(root_logger: logging.Logger) -> None:
    out = io.StringIO()
    set_up_logging("WARN", out)
    logging.getLogger("agent").info("quiet")
    assert out.getvalue() == ""


def test_control_codes_and_broken_names_of_strangers_are_made_visible(
    root_logger: logging.Logger,
) -> None:
    out = io.StringIO()
    set_up_logging("info", out)
    logging.getLogger("agent").info("member joined: %s", "n\x1b[2J\n\udcff7")
    assert out.getvalue().endswith("member joined: n?[2J??7\n")
