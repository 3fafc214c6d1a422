"""Transcripts: a story in faults and waits, and what the daemon made of it, line by line.

A file is a comment with the story, a `world` line, then blocks of commands, each followed by `----` and
what was observed. Commands: `fault …`, `run 20s`, `command switchover media/sonarr backup`, `restart
daemon [now|save|act|receipt [NAME]]`, `truth`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import unified_diff
from pathlib import Path

from failoverd.simulator.clock import run, until
from failoverd.simulator.daemons import Daemons
from failoverd.simulator.leap import Leaper
from failoverd.simulator.ports import Recorder
from failoverd.simulator.scenario_check import check
from failoverd.simulator.scenario_player import Player
from failoverd.simulator.scenario_world import BadScenario, spec_of
from failoverd.simulator.world import World
from failoverd.simulator.world_faults import BadFault
from failoverd.simulator.world_spec import ImpossibleWorld

RULE = "----"


@dataclass(slots=True)
class Block:
    """Some commands and what was seen after them."""

    commands: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Scenario:
    """A parsed scenario file."""

    story: list[str]
    world: str
    blocks: list[Block]

    def text(self) -> str:
        """The file as it should be."""
        lines = [*self.story, self.world]
        for block in self.blocks:
            lines += [*block.commands, RULE, *block.seen, ""]
        return "\n".join(lines).rstrip("\n") + "\n"


def parse(text: str) -> Scenario:
    """Read a scenario file. Raises BadScenario."""
    story: list[str] = []
    world, blocks, seeing = "", [Block()], False
    for line in text.splitlines():
        if not blocks[0].commands and not world and (line.startswith("#") or not line):
            story.append(line)
        elif line.startswith("world"):
            world = line
        elif line == RULE:
            seeing = True
        elif not line:
            if blocks[-1].commands:
                blocks.append(Block())
            seeing = False
        elif seeing:
            blocks[-1].seen.append(line)
        elif not line.startswith("#"):
            blocks[-1].commands.append(line)
    if not world:
        raise BadScenario("there is no `world` line")
    return Scenario(story, world, [block for block in blocks if block.commands])


def play(scenario: Scenario, *, leap: bool = True) -> Scenario:
    """Play it; returns the scenario with what was seen this time. Raises BadScenario, BadFault."""
    spec = spec_of(scenario.world)
    check(spec, [line for block in scenario.blocks for line in block.commands])
    world = World(spec)
    player = Player(world)

    async def main() -> list[Block]:
        leaper = Leaper(world) if leap else None
        daemons = Daemons(world, Recorder(player.hear), world.spec.instances, leaper)
        daemons.start()
        blocks = []
        for block in scenario.blocks:
            for line in block.commands:
                if line.startswith("restart daemon"):
                    await daemons.restart(line.split()[2:])
                    continue
                wait_ms = player.do(line)
                if wait_ms:
                    await until(world, world.time.now_ms + wait_ms)
                    daemons.check()
            blocks.append(Block(block.commands, player.end_block()))
        return blocks

    return Scenario(scenario.story, scenario.world, run(world, main()))


def differences(one: Iterable[str], other: Iterable[str]) -> str:
    """A readable difference between two transcripts."""
    return "\n".join(unified_diff(list(one), list(other), "in the file", "seen now", lineterm=""))


def main(arguments: list[str] | None = None) -> int:
    """The command line of `failoverd simulate`; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="failoverd simulate",
        description="Play a scenario file in simulated time and print what the daemon makes of it.",
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="scenario files; none: a power cut")
    given = parser.parse_args(arguments)
    texts = [(str(path), path) for path in given.files]
    try:
        for name, path in texts:
            sys.stdout.write(_played(name, path.read_text(encoding="utf-8")))
        if not texts:
            sys.stdout.write(_played("built-in story", STORY))
    except (OSError, UnicodeDecodeError, BadScenario, BadFault, ImpossibleWorld) as error:
        sys.stderr.write(f"failoverd simulate: {error}\n")
        return 2
    return 0


def _played(name: str, text: str) -> str:
    try:
        return play(parse(text)).text()
    except (BadScenario, BadFault, ImpossibleWorld) as error:
        raise BadScenario(f"{name}: {error}") from None


STORY = """\
# The primary loses power; the app moves to the backup; the primary returns and the app goes home.
world stable_for=60s cooldown=60s
run 40s
----

fault power_off k3s-w1
run 60s
----

fault power_on k3s-w1
run 8m
truth
----
"""
"""Told by `failoverd simulate` without a file."""
