"""`failoverd fence test`: would the fence of a node work, and with `--really`: does it.

The one command that acts by itself instead of asking the leader: what it tries is the way from this very place.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from failoverd.adapters.fencing import Fence, FenceError
from failoverd.cli.cluster import connect
from failoverd.cli.configuration import loaded
from failoverd.cli.exits import Exit, Stop
from failoverd.cli.parts import part
from failoverd.cli.table import brief
from failoverd.clock import SystemClock, sleep
from failoverd.config import Config
from failoverd.config.edges import FenceType
from failoverd.config.problems import suggestion
from failoverd.core.memory import Memory
from failoverd.core.model import Guest, GuestState, Unknown

GOOD = {
    FenceType.PROXMOX_LXC: "it answers; the token may read and switch the guest and sees every task; not HA-managed",
    FenceType.PROXMOX_VM: "it answers; the token may read and switch the guest and sees every task; not HA-managed",
    FenceType.DOCKER: "it answers; the container's processes are its own; no restart policy would undo it",
    FenceType.COMMAND: "the program tells the state as agreed; whether it can switch, only --really shows",
}
"""What an empty `check` means."""
CLUSTER_WITHIN = timedelta(seconds=10)
"""How long the cluster is waited for: it may be down, and the fence is what is tested."""
EVERYTHING = "*"
SETTLED = timedelta(seconds=5)
"""A cut that was not confirmed may come through this late: longer than Docker's stop waits before it kills."""
TRIES = 3


def test(arguments: argparse.Namespace) -> int:
    """Carry out `fence test`."""
    return asyncio.run(_test(arguments))


async def _test(arguments: argparse.Namespace) -> int:
    config, node = loaded(arguments), str(arguments.node)
    if node not in config.fences:
        raise Stop(Exit.USAGE, f'no [[fencing]] is for the node "{node}"{suggestion(node, config.fences)}')
    steps = _Steps()
    fence: Fence = part("failoverd.daemon", "fence_of")(config.fences[node], SystemClock())
    print(f"{node}: {config.fences[node].type}: {fence.name}")
    try:
        good = await _check(config, node, fence, steps)
        memory = await _memory(config, arguments)
        print(f"  {'mapping':<8}{_mapping(config, node, memory)}")
        if not arguments.really:
            if good:
                print("good; nothing was switched (--really does)")
            return Exit.OK if good else Exit.REFUSED
        if not good:
            raise Stop(Exit.REFUSED, "not tried: it would not work, or not be undone")
        _ask(arguments, node, _consequence(config, node, memory))
        return await _really(node, fence, steps)
    finally:
        await fence.close()


async def _check(config: Config, node: str, fence: Fence, steps: _Steps) -> bool:
    """Whether it would work: says so, or what is wrong."""
    state = await steps.take("state", fence.state(), _state)
    wrong = await steps.take("check", fence.check(), lambda found: "\n".join(found) or GOOD[config.fences[node].type])
    return isinstance(state, Guest) and not wrong


async def _really(node: str, fence: Fence, steps: _Steps) -> int:
    """Off, and on again whatever came of it."""
    state = await fence.state()
    if not isinstance(state, Guest) or state.state is not GuestState.RUNNING:
        raise Stop(Exit.REFUSED, f"not tried: {node} is not running: {_state(state)}")
    cut = given = False
    try:
        cut = await steps.attempt("off", fence.off())
        await steps.take("state", fence.state(), _state)
    finally:
        given = await _give_back(fence, steps, sure=cut)
    if not given:
        raise Stop(Exit.REFUSED, f"{node} could not be started again: see to it by hand")
    if not cut:
        raise Stop(Exit.REFUSED, f"the fence of {node} does not work")
    print("good: it was off, and it runs again")
    return Exit.OK


async def _give_back(fence: Fence, steps: _Steps, *, sure: bool) -> bool:
    """Whether it runs again. After a cut that is not `sure` to be over it must still run a while later."""
    for _ in range(TRIES):
        given = await steps.attempt("on", fence.on())
        if sure:
            return given
        await sleep(SETTLED)
        state = await steps.take("state", fence.state(), _state)
        if isinstance(state, Guest) and state.state is GuestState.RUNNING:
            return True
    return False


class _Steps:
    """Prints each step with the time it took."""

    def __init__(self) -> None:
        self._clock = SystemClock()

    async def take(self, name: str, doing: Awaitable[Any], words: Any) -> Any:
        """What came of it."""
        began = self._clock.now().mono
        found = await doing
        self._say(name, words(found), self._clock.now().mono - began)
        return found

    async def attempt(self, name: str, doing: Awaitable[str]) -> bool:
        """Whether it succeeded; a FenceError is said."""
        began = self._clock.now().mono
        try:
            said, good = await doing, True
        except FenceError as error:
            said, good = f"FAILED: {error}", False
        self._say(name, said, self._clock.now().mono - began)
        return good

    def _say(self, name: str, text: str, took: timedelta) -> None:
        first, *more = text.split("\n")
        print(f"  {name:<8}{first} ({brief(took)})", flush=True)
        for line in more:
            print(f"  {'':<8}{line}", flush=True)


def _state(found: Guest | Unknown) -> str:
    if isinstance(found, Unknown):
        return f"unknown: {found.why}"
    up = f" for {brief(found.uptime)}" if found.uptime is not None else ""
    return f"{found.state}{up}" + (f", {found.busy}" if found.busy else "")


async def _memory(config: Config, arguments: argparse.Namespace) -> Memory | Unknown:
    try:
        async with asyncio.timeout(CLUSTER_WITHIN.total_seconds()):
            async with connect(config, arguments) as cluster:
                found = await cluster.memory()
                return replace(found, pauses=found.pauses_at(cluster.date))
    except Stop as stop:
        return Unknown(str(stop))
    except TimeoutError:
        return Unknown(f"the cluster did not answer within {brief(CLUSTER_WITHIN)}")


def _mapping(config: Config, node: str, memory: Memory | Unknown) -> str:
    if isinstance(memory, Unknown):
        return f"unknown: {memory.why}"
    known = memory.nodes.get(node)
    if known is not None and known.mapped == config.rules.fence_hash:
        return "proven: the daemon saw it run while the node's lease moved"
    return "not proven: the daemon has not seen it run while the node's lease moved, under this configuration"


def _consequence(config: Config, node: str, memory: Memory | Unknown) -> list[str]:
    lines = [f"The power of {node} is cut and given back."]
    if isinstance(memory, Unknown):
        return [*lines, f"What runs there is unknown: {memory.why}"]
    there = [
        app.key
        for app in config.rules.apps
        if (known := memory.apps.get(app.key)) and config.rules.place(app, known.active).node == node
    ]
    moving = [key for key in there if EVERYTHING not in memory.pauses and key not in memory.pauses]
    if there:
        lines.append(f"It runs: {', '.join(there)}.")
    if moving:
        lines.append(f"A daemon in mode active moves away: {', '.join(moving)}. `failoverd pause` keeps them there.")
    return lines


def _ask(arguments: argparse.Namespace, node: str, lines: list[str]) -> None:
    print("\n".join(lines), flush=True)
    if arguments.yes:
        return
    if not sys.stdin.isatty():
        raise Stop(Exit.REFUSED, "nobody is there to ask: confirm with --yes")
    if input(f"Type {node} to go on: ").strip() != node:
        raise Stop(Exit.REFUSED, "not confirmed; nothing was done")
