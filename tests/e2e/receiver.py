"""Where the daemon's chat goes: an HTTP server that writes down every message whose signature is right.

`python -m tests.e2e.receiver PORT FILE SECRET` serves on loopback until it is killed.
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from failoverd.adapters.notify.webhook import SIGNATURE, TIMESTAMP, sign


def serve(port: int, file: Path, secret: bytes) -> None:
    """One JSON object a line: the message, or what was wrong with it."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            right = self.headers.get(SIGNATURE) == sign(secret, self.headers.get(TIMESTAMP, ""), body)
            said = json.loads(body) if right else {"forged": body.decode(errors="replace")}
            with file.open("a") as lines:
                lines.write(json.dumps(said) + "\n")
            self.send_response(204 if right else 403)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3].encode())
