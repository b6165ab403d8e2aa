"""Agent-to-agent calls: framed msgpack over TCP, many at once on one connection.

A frame is a length (u32, big-endian) and a msgpack array:

| first | rest | what |
| --- | --- | --- |
| 0 | id, method, body, milliseconds left | a call; the deadline travels with it |
| 1 | id, body | its answer |
| 2 | id, code, text | its error |
| 3 | method, body | a note that nobody answers and that may be lost |

Either side may call the other. Bodies are what msgpack carries; methods check them.
"""

from svcmesh.rpc.connection import Bounds, Connection, Methods
from svcmesh.rpc.errors import RpcClosedError, RpcError, RpcRefusedError, RpcTimeoutError
from svcmesh.rpc.pool import RpcPool
from svcmesh.rpc.server import RpcServer

__all__ = [
    "Bounds",
    "Connection",
    "Methods",
    "RpcClosedError",
    "RpcError",
    "RpcPool",
    "RpcRefusedError",
    "RpcServer",
    "RpcTimeoutError",
]
