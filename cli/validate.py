"""`svcmesh validate`: whether an agent would take these configuration files."""

import click

from cli.errors import CommandError
from cli.flags import GoCommand, flag


@click.command("validate", cls=GoCommand, arguments="FILE_OR_DIRECTORY...")
@flag("quiet", kind="bool", help="Print nothing when the configuration is valid.")
@flag("config-format", metavar="json|hcl", help="Language of the files, whatever their extensions.")
def validate(args: tuple[str, ...], quiet: bool | None, config_format: str | None) -> int:
    """Read configuration files and folders as the agent would, without starting it.

    Give all files that the agent will get: parts of a configuration are not valid by themselves.
    """
    # Imported here: with the flags wrong, it is not needed.
    from svcmesh.config import load_config
    from svcmesh.errors import ConfigError

    if not args:
        raise CommandError("Must specify at least one config file or directory")
    try:
        config = load_config({"config-format": config_format}, args)
    except ConfigError as error:
        raise CommandError(f"Config validation failed: {error}") from None
    for warning in config.warnings:
        click.echo(warning, err=True)
    if not quiet:
        click.echo("Configuration is valid!")
    return 0
