"""When things happened to apps, seen by looking several times a second, from a thread beside the test."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterable
from types import TracebackType

from tests.e2e.world import World


class Stopwatch:
    """Seconds since it began, for each app, of the first moment at which something was seen.

    `decided`: the app had left `watching`. `gone`: none of its pods was left. `came`: there was one again.
    `ready`: a pod was Ready on `node`, where the app was to go.
    """

    def __init__(self, world: World, names: Iterable[str], node: str) -> None:
        self._world, self._names, self._node = world, tuple(names), node
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.decided: dict[str, float] = {}
        self.gone: dict[str, float] = {}
        self.came: dict[str, float] = {}
        self.ready: dict[str, float] = {}

    def __enter__(self) -> Stopwatch:
        self.began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._end.wait(0.1):
            try:
                self._once()
            except (OSError, LookupError, AssertionError, http.client.HTTPException, ValueError):
                continue

    def _once(self) -> None:
        apps = self._world.daemon.status()["apps"] if self._world.daemon.pid else {}
        for name in self._names:
            passed = time.monotonic() - self.began
            if apps.get(f"media/{name}", {}).get("phase") not in {None, "watching"}:
                self.decided.setdefault(name, passed)
            pods = self._world.pods(name)
            if not pods:
                self.gone.setdefault(name, passed)
            elif name in self.gone:
                self.came.setdefault(name, passed)
            if self._world.ready_on(name) == self._node:
                self.ready.setdefault(name, passed)
