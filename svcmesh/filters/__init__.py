"""Filter expressions: Consul's `?filter=` language, from its text to a test of one row. No I/O.

`parser.py` reads the text, `schema.py` says what can be selected in a row, `compiler.py` checks the
one against the other and makes the test. What rows there are is their owner's business.
"""

from svcmesh.filters.compiler import compile_filter
from svcmesh.filters.errors import FilterError, FilterSyntaxError
from svcmesh.filters.schema import (
    Field,
    Flag,
    Group,
    GroupList,
    Number,
    Schema,
    Text,
    TextList,
    ValueMap,
)

__all__ = [
    "Field",
    "FilterError",
    "FilterSyntaxError",
    "Flag",
    "Group",
    "GroupList",
    "Number",
    "Schema",
    "Text",
    "TextList",
    "ValueMap",
    "compile_filter",
]
