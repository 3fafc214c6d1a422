"""`failoverd simulate`: the user's own rules, or simple ones, in the simulated world, and what comes of a fault."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, NoReturn

from failoverd.config import ConfigError, load
from failoverd.core import say
from failoverd.core.model import Decision, Now, Snapshot, Why
from failoverd.core.rules import Mode, Rules
from failoverd.simulator import sweep
from failoverd.simulator.clock import run, until
from failoverd.simulator.daemons import Daemons
from failoverd.simulator.leap import Leaper
from failoverd.simulator.ports import Recorder
from failoverd.simulator.scenario import parse, play
from failoverd.simulator.scenario_player import Player
from failoverd.simulator.scenario_world import BadScenario
from failoverd.simulator.sweep import BadSweep
from failoverd.simulator.world import World
from failoverd.simulator.world_faults import BadFault, duration_ms
from failoverd.simulator.world_spec import ImpossibleWorld, WorldSpec, simple_rules

FIRST_MS = 120_000
"""When the first fault happens: by then the copies are adopted."""


class Named(NamedTuple):
    """A fault in words, and what it is in commands: (milliseconds after its beginning, command)."""

    text: str
    commands: tuple[tuple[int, str], ...]


NAMED: tuple[Named, ...] = (
    Named("primary loses power", ((0, "fault power_off {primary}"), (600_000, "fault power_on {primary}"))),
    Named("primary loses power for good", ((0, "fault power_off {primary}"),)),
    Named("primary reboots", ((0, "fault reboot {primary} 25s"),)),
    Named("primary is cut off", ((0, "fault cut {primary}"), (300_000, "fault heal {primary}"))),
    Named("primary is cut off for 45 s", ((0, "fault cut {primary}"), (45_000, "fault heal {primary}"))),
    Named("backup loses power", ((0, "fault power_off {backup}"), (600_000, "fault power_on {backup}"))),
    Named("network flaps", tuple((at, "fault " + ("heal" if at % 60_000 else "cut") + " {primary}")
                                 for at in range(0, 600_000, 30_000))),
    Named("API server stalls for 28 s", ((0, "fault stall_api 28s"),)),
    Named("API server is gone for 10 min", ((0, "fault api_errors 10m"),)),
    Named("hypervisor is gone and primary loses power", (
        (0, "fault hypervisor {fenced} down"), (1_000, "fault power_off {primary}"),
        (600_000, "fault hypervisor {fenced} up"), (600_000, "fault power_on {primary}"))),
    Named("daemon is killed in the middle of a failover", (
        (0, "restart daemon save"), (0, "fault power_off {primary}"), (600_000, "fault power_on {primary}"))),
    Named("mover of the standby hangs", (
        (0, "fault syncthing_hang {app} {volume} backup"), (300_000, "fault syncthing_wake {app} {volume} backup"))),
    Named("planned switchover", ((0, "command switchover {app} backup"),)),
)  # fmt: skip
"""What `--list` shows."""


@dataclass(slots=True)
class Story:
    """A world, what happens in it, and what was said."""

    world: World
    player: Player
    happenings: list[tuple[int, str]]
    end_ms: int
    refusals: list[str] = field(default_factory=list)
    transcript: list[str] = field(default_factory=list)

    def hear(self, decision: Decision, snapshot: Snapshot, now: Now) -> None:
        """Take one tick in."""
        self.player.hear(decision, snapshot, now)
        self.refusals += [note.text for note in decision.notes if "is not moved" in note.text]
        for key, app in decision.apps.items():  # of what nobody is told of: a way home that waits, day after day
            spent = [str(one) for one in app.objections if one.why is Why.BUDGET]
            self.refusals += [f"{key}: no {app.wanted}: {text}" for text in spent if not self._told(text)]

    def _told(self, text: str) -> bool:
        return any(text in refusal for refusal in self.refusals)

    async def tell(self) -> None:
        """Let it happen."""
        daemons = Daemons(self.world, Recorder(self.hear), self.world.spec.instances, Leaper(self.world))
        daemons.start()
        for at_ms, command in [*self.happenings, (self.end_ms, "truth")]:
            await until(self.world, max(at_ms, self.world.time.now_ms))
            daemons.check()
            self.transcript += [*self.player.end_block(), f">>> {command}"]
            if command.startswith("restart daemon"):
                await daemons.restart(command.split()[2:])
            else:
                self.player.do(command)
        self.transcript += self.player.end_block()

    def summary(self) -> list[str]:
        """Moves with their RTO in parts, data at risk and really lost, refusals, violations."""
        memory = self.world.stored.memory
        moves = [(key, move) for key, was in memory.apps.items() for move in was.moves] if memory else []
        lines = [f"{len(moves)} {'move' if len(moves) == 1 else 'moves'}"]
        for _, move in moves:
            parts = say.rto(move)
            spent = ", ".join(f"{name} {value:.1f} s" for name, value in parts.items()) or "nothing"
            lines.append(f"  {say.headline(move)}: {move.outcome}; RTO {sum(parts.values()):.1f} s ({spent})")
            if move.losses:
                lines.append(f"    data at risk, as stated: {say.losses(move)}")
        for key, truth in self.world.apps.items():
            active = memory.apps[key].active if memory and key in memory.apps else truth.app.preferred
            for volume in truth.app.volumes:
                lost = sum(part.until_ms - part.since_ms for part in truth.lost(volume.name, active)) / 1000
                lines.append(f"{key} is at {active}; {volume.name}: {lost:g} s of writing are not in the live copy")
        refusals = list(dict.fromkeys(self.refusals))
        lines.append(f"{len(refusals)} {'refusal' if len(refusals) == 1 else 'refusals'}" + (":" if refusals else ""))
        lines += [f"  {text}" for text in refusals]
        lines += [f"BROKEN {promise} at {at / 1000:.1f} s: {text}" for at, promise, text in self.world.accused]
        return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0, 1 when a promise was broken, 2 for what cannot be understood."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if not given.sweep and (given.trouble or given.plot):
        parser.error("--trouble and --plot belong to --sweep")
    if given.list:
        sys.stdout.write("".join(f"{named.text}\n" for named in NAMED))
        return 0
    try:
        if given.sweep:
            return _sweep(given)
        if given.scenario or given.files:
            return _scenarios([*given.files, *given.scenario])
        return _story(given)
    except (OSError, UnicodeDecodeError, BadScenario, BadFault, BadSweep, ImpossibleWorld, ConfigError) as error:
        text = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
        sys.stderr.write("".join(f"failoverd simulate: {line}\n" for line in text.splitlines()))
        return 2


def _sweep(given: argparse.Namespace) -> int:
    config = _config(given.config)
    if config is None:
        raise BadSweep("--sweep tries values of a key of your configuration: name it with --config")
    troubles = [sweep.trouble(text) for text in given.trouble]
    swept = sweep.parse(given.sweep, given.points)
    return sweep.main(config, swept, troubles, given.years, given.seed, given.plot)


def _config(named: Path | None) -> Path | None:
    return named or (Path(os.environ["FAILOVERD_CONFIG"]) if "FAILOVERD_CONFIG" in os.environ else None)


class _Parser(argparse.ArgumentParser):
    """One line for a wrong command line."""

    def error(self, message: str) -> NoReturn:
        """Ends with 2."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="failoverd simulate",
        description="Play faults in a simulated world, by your own configuration, and print what the daemon does.",
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="scenario files to play")
    parser.add_argument("--scenario", action="append", type=Path, default=[], metavar="FILE", help="the same")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="whose rules; else $FAILOVERD_CONFIG, else simple ones"
    )
    parser.add_argument(
        "--fault", action="append", default=[], metavar="NAME",
        help="a named fault, or a command as in scenario files; several follow each other (primary loses power)",
    )  # fmt: skip
    parser.add_argument("--apart", default="30m", metavar="DURATION", help="from one fault to the next (30m)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="chance in the world (1)")
    parser.add_argument("--list", action="store_true", help="list the named faults")
    parser.add_argument(
        "--sweep", metavar="KEY=A..B", help="a duration of the configuration over a range: silence_after=30s..180s"
    )
    parser.add_argument("--points", type=int, default=sweep.POINTS, metavar="N", help="values of the range (6)")
    parser.add_argument("--years", type=float, default=1.0, metavar="N", help="years of troubles for each value (1)")
    parser.add_argument(
        "--trouble", action="append", default=[], metavar="NAME=N[:A..B]",
        help="how often a year, and how long: cut=52:5s..3m (power, reboot, cut, stall)",
    )  # fmt: skip
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw the sweep")
    return parser


def _scenarios(files: list[Path]) -> int:
    broken = False
    for path in files:
        try:
            text = play(parse(path.read_text(encoding="utf-8"))).text()
        except (BadScenario, BadFault, ImpossibleWorld) as error:
            raise BadScenario(f"{path}: {error}") from None
        broken = broken or "VIOLATION" in text
        sys.stdout.write(text)
    return 1 if broken else 0


def _rules(config: Path | None) -> Rules:
    named = _config(config)
    if named is None:
        return simple_rules(fenced=("k3s-w1", "k3s-w2"))
    rules = load(named, files=False).rules
    if rules.mode is not Mode.ACTIVE:
        sys.stdout.write(f"{named} says mode {rules.mode}; simulated is what it would do in mode active\n")
    return replace(rules, mode=Mode.ACTIVE)


def _story(given: argparse.Namespace) -> int:
    rules, apart_ms = _rules(given.config), duration_ms(given.apart)
    if not rules.apps:
        raise BadScenario("the configuration names no apps: there is nothing to move")
    happenings = []
    for number, name in enumerate(given.fault or [NAMED[0].text]):
        begins = FIRST_MS + number * apart_ms
        happenings += [(begins + after, command) for after, command in commands(rules, name)]
    world = World(WorldSpec(rules=rules, seed=given.seed))
    happenings.sort(key=lambda one: one[0])
    story = Story(world, Player(world), happenings, happenings[-1][0] + apart_ms)
    told: list[str] = []
    try:
        run(world, story.tell())
        told = [*story.summary(), ""]
    finally:  # what happened until something could not be played is part of the answer
        sys.stdout.write("".join(f"{line}\n" for line in [*told, *story.transcript]))
    return 1 if world.accused else 0


def commands(rules: Rules, name: str) -> tuple[tuple[int, str], ...]:
    """The commands of a fault: one of `NAMED`, or a scenario command itself. Raises BadScenario."""
    app = rules.apps[0]
    pair = rules.pair(app)
    words = {
        "primary": pair.primary.node,
        "backup": pair.backup.node,
        "fenced": next((place.node for place in (pair.primary, pair.backup) if place.fence), ""),
        "app": app.key,
        "volume": app.volumes[0].name,
    }
    for named in NAMED:
        if named.text == name:
            if any("{fenced}" in command for _, command in named.commands) and not words["fenced"]:
                raise BadScenario(f"{name!r} needs a node with a fence, and {pair.name} has none")
            return tuple((after, command.format(**words)) for after, command in named.commands)
    if name.partition(" ")[0] in ("fault", "command", "restart"):
        return ((0, name),)
    known = ", ".join(repr(named.text) for named in NAMED)
    raise BadScenario(f"no fault is called {name!r}; there are {known}; or write a scenario command")
