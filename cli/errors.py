"""How a command fails: what is printed where, and with which exit status."""


class CommandError(Exception):
    """A command ends without success; `text` goes to standard error."""

    def __init__(self, text: str, *, status: int = 1) -> None:
        super().__init__(text)
        self.text, self.status = text, status


class FlagError(CommandError):
    """The command line is wrong. The command's usage follows the text."""


class ApiError(Exception):
    """The agent cannot be reached or has refused. The text says why, as Consul's client does."""
