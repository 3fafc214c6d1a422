"""What an operator's browser, a script and Prometheus see of this instance. Read-only."""

from failoverd.adapters.web.server import Server
from failoverd.adapters.web.status import Board

__all__ = ["Board", "Server"]
