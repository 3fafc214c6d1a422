"""Transcripts: a story in faults and waits, and what the daemon made of it, line by line.

A file is a comment with the story, a `world` line, then blocks of commands, each followed by `----` and
what was observed. Commands: `fault …`, `run 20s`, `command switchover media/sonarr backup`, `restart
daemon`, `expect TEXT`.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from difflib import unified_diff
from pathlib import Path
from typing import get_type_hints

from failoverd.core.memory import Kind, Memory, Move
from failoverd.core.model import Action, Command, CommandKind, Decision, Now, Snapshot
from failoverd.core.rules import Failback, FenceWhen, Mode, Require, Rules, Site, Timings, WorkloadKind
from failoverd.simulator.clock import run, until
from failoverd.simulator.ports import Recorder, instance
from failoverd.simulator.world import World
from failoverd.simulator.world_data import Rhythm
from failoverd.simulator.world_faults import BadFault, duration_ms, inject
from failoverd.simulator.world_render import site_of
from failoverd.simulator.world_spec import ImpossibleWorld, WorldSpec, simple_app, simple_rules

RULE = "----"


class BadScenario(Exception):
    """A scenario file that cannot be understood; the text names the line."""


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


# -------------------------------------------------------------------- the world line


def spec_of(line: str) -> WorldSpec:
    """The world that a `world key=value …` line describes. Raises BadScenario."""
    given = dict(word.partition("=")[::2] for word in line.split()[1:])
    take = given.pop
    volumes = tuple(take("volumes", "data").split(","))
    app = replace(
        simple_app(),
        require=Require(take("require", "proof")),
        failback=Failback(take("failback", "auto")),
        kind=WorkloadKind(take("kind", "Deployment")),
        max_data_age=timedelta(milliseconds=duration_ms(take("max_data_age", "5m"))),
    )
    apps = [
        replace(app, **{n: getattr(simple_app(name, volumes=volumes), n) for n in ("key", "name", "volumes")})
        for name in take("apps", "sonarr").split(",")
    ]
    fenced = tuple(name for name in take("fence", "k3s-w1").split(",") if name != "none")
    rules = simple_rules(tuple(apps), fenced=fenced, mode=Mode(take("mode", "active")))
    if "fence_when" in given:
        rules = replace(rules, fence_when=FenceWhen(take("fence_when")))
    spec = WorldSpec(
        rules=rules,
        seed=int(take("seed", "1")),
        strategy=take("strategy", "RollingUpdate"),
        flux=take("flux", "yes") == "yes",
        boot=timedelta(milliseconds=duration_ms(take("boot", "20s"))),
        rhythm=Rhythm(off_ms=0) if take("writer", "bursts") == "restless" else Rhythm(),
        shared_access=take("access", "once") == "many",
        api_node=take("api", ""),
    )
    return replace(spec, rules=replace(rules, timings=_timings(given)))


def _timings(given: dict[str, str]) -> Timings:
    hints, changes = get_type_hints(Timings), {}
    for key, value in given.items():
        if key not in hints:
            raise BadScenario(f"the world line knows no {key!r}")
        changes[key] = timedelta(milliseconds=duration_ms(value)) if hints[key] is timedelta else int(value)
    return replace(Timings(), **changes)  # type: ignore[arg-type]


# -------------------------------------------------------------------- playing it


@dataclass(slots=True)
class Player:
    """Plays a scenario and writes down what changes."""

    world: World
    lines: list[str] = field(default_factory=list)
    _told: int = 0
    _last: dict[str, str] = field(default_factory=dict)
    _commands: int = 0
    _counts: Counter[str] = field(default_factory=Counter)
    _judged: set[str] = field(default_factory=set)

    @property
    def rules(self) -> Rules:
        """What the daemon was configured with."""
        return self.world.spec.rules

    def hear(self, decision: Decision, snapshot: Snapshot, now: Now) -> None:
        """Write down what this tick changed."""
        del now
        self.flush()
        for receipt in snapshot.receipts:
            if not receipt.ok:
                self._again(f"receipt {receipt.action.key}: {receipt.detail}")
        for name, verdict in decision.verdicts.items():
            word = f"{verdict.health}{' (proven)' if verdict.proven else ''}"
            why = f" ({'; '.join(verdict.evidence)})" if verdict.evidence else ""
            self._changed(f"verdict {name}", word, why)
        for key, app in decision.apps.items():
            self._changed(f"phase {key}", str(app.phase))
            self._waiting(key, app.waiting)
            whys = ", ".join(sorted({str(objection.why) for objection in app.objections}))
            texts = "; ".join(str(objection) for objection in app.objections)
            self._changed(f"objections {key}", whys, f": {texts}" if texts else "")
            self._changed(f"alarms {key}", "; ".join(str(alarm) for alarm in app.alarms))
        self._memory(decision.memory)
        self._judge(decision.memory)
        for action in decision.actions:
            if action.key not in snapshot.in_flight:
                self._action(action)
        for note in decision.notes:
            self._line(f"note {note.text}")

    def flush(self) -> None:
        """Write down what the world said since."""
        for at_ms, text in self.world.told[self._told :]:
            self._line(text, at_ms)
        self._told = len(self.world.told)

    def _memory(self, memory: Memory) -> None:
        for key, app in memory.apps.items():
            self._changed(f"active {key}", f"{app.active} epoch {app.epoch}")
            for name, volume in app.volumes.items():
                standing = ", ".join(f"{site} {copy.standing}" for site, copy in sorted(volume.copies.items()))
                self._changed(f"standing {key} {name}", standing)

    def _action(self, action: Action) -> None:
        if type(action).__name__ == "Scan" and self._last.get(action.key) is not None:
            return
        self._last[action.key] = action.reason
        self._again(f"action {action.key}: {action.reason}")

    def _again(self, text: str) -> None:
        """A line that may come often: written once a block, and in the end how often it came."""
        self._counts[text] += 1
        if self._counts[text] == 1:
            self._line(text)

    def end_block(self) -> list[str]:
        """What was seen since the last block ended."""
        self.flush()
        for text, count in self._counts.items():
            if count > 1:
                self._line(f"{count} times: {text}")
        self._counts.clear()
        lines, self.lines = self.lines, []
        return lines

    def _waiting(self, key: str, text: str) -> None:
        """A text that only counts on is said once."""
        bare = re.sub(r"\d+", "", text)
        if self._last.get(f"waiting {key}", "") != bare:
            self._last[f"waiting {key}"] = bare
            self._line(f"waiting {key} {text or 'for nothing'}")

    def _judge(self, memory: Memory) -> None:
        """A finished failover may have lost no more than was stated when it was decided (I4)."""
        for key, app in memory.apps.items():
            for move in app.moves:
                if move.id in self._judged or move.kind is not Kind.FAILOVER:
                    continue
                self._judged.add(move.id)
                if move.outcome == "done":
                    self._compare(key, move)

    def _compare(self, key: str, move: Move) -> None:
        truth = self.world.apps[key]
        for loss in move.losses:
            parts = [part for part in truth.lost(loss.volume, move.target) if part.pod not in self._judged]
            self._judged |= {part.pod for part in parts}
            dead = [part for part in parts if part.site is move.source and part.pod not in truth.writers(part.site)]
            lost = max((part.until_ms - part.since_ms for part in dead), default=0) / 1000
            if loss.age_seconds is not None and lost > loss.age_seconds:
                self.world.accuse("I4", f"{key} {loss.volume}: {lost:g} s lost, {loss.age_seconds:g} s stated")

    def _changed(self, what: str, value: str, extra: str = "") -> None:
        before = self._last.get(what)
        if before == value:
            return
        self._last[what] = value
        if before is None and not value:
            return
        self._line(f"{what} {before + ' -> ' if before else ''}{value or 'none'}{extra}".rstrip())

    def _line(self, text: str, at_ms: int | None = None) -> None:
        seconds, rest = divmod(self.world.time.now_ms if at_ms is None else at_ms, 1000)
        self.lines.append(f"{seconds // 60:02d}:{seconds % 60:02d}.{rest // 100} {text}")

    def do(self, line: str) -> int:
        """Carry out one command line; returns how many milliseconds to let pass."""
        word, _, rest = line.partition(" ")
        match word:
            case "fault":
                inject(self.world, rest)
            case "run":
                return duration_ms(rest)
            case "command":
                self.world.commands.append(self._command(rest.split()))
            case "truth":
                self._truth()
            case _:
                raise BadScenario(f"no command is called {line!r}")
        return 0

    def _truth(self) -> None:
        """What really became of object and data, whatever the daemon believes."""
        for key, truth in self.world.apps.items():
            same = truth.raw["spec"] == truth.git["spec"]
            live = site_of(truth.app, truth.raw)
            self._line(f"truth {key} spec {'equals Git' if same else 'differs from Git'}, live at {live}")
            for volume in truth.app.volumes:
                lost = sum(part.until_ms - part.since_ms for part in truth.lost(volume.name, live or Site.PRIMARY))
                self._line(f"truth {key} {volume.name} lost {lost / 1000:g} s of writing")
                for side in truth.pairs[volume.name].sides.values():
                    names = ", ".join(sorted(side.disk.files)) or "empty"
                    kept = f"; kept {', '.join(path for path, _ in side.disk.versions)}" if side.disk.versions else ""
                    self._line(f"truth {side.name} {side.kind}: {names}{kept}")

    def _command(self, words: list[str]) -> Command:
        self._commands += 1
        kind, app, *target = words
        return Command(
            id=f"command-{self._commands}",
            kind=CommandKind(kind),
            app=app,
            target=Site(target[0]) if target else None,
            epoch=self._epoch(app),
            expires=self.world.wall() + timedelta(minutes=5),
            by="operator",
            why="asked for",
        )

    def _epoch(self, app: str) -> int | None:
        memory = self.world.stored.memory
        return memory.apps[app].epoch if memory and app in memory.apps else None


def play(scenario: Scenario) -> Scenario:
    """Play it; returns the scenario with what was seen this time. Raises BadScenario, BadFault."""
    world = World(spec_of(scenario.world))
    player = Player(world)

    async def main() -> list[Block]:
        loop = instance(world, voice=Recorder(player.hear))
        task = asyncio.ensure_future(loop.run())
        blocks = []
        for block in scenario.blocks:
            for line in block.commands:
                if line == "restart daemon":
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
                    loop = instance(world, voice=Recorder(player.hear))
                    task = asyncio.ensure_future(loop.run())
                    continue
                wait_ms = player.do(line)
                if wait_ms:
                    await until(world, world.time.now_ms + wait_ms)
                    if task.done():
                        task.result()
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
