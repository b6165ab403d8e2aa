"""What can be wrong with a filter expression, in the words of Consul's errors."""

from svcmesh.errors import SvcmeshError


class FilterError(SvcmeshError):
    """The expression cannot be used with these rows."""


class FilterSyntaxError(FilterError):
    """The expression is not one of the language, whatever the rows."""
