"""`failoverd simulate`: the user's own rules, or simple ones, in the simulated world, and what comes of a fault."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, NoReturn

from failoverd.config import ConfigError, load
from failoverd.core.rules import Mode, Rules
from failoverd.simulator import sweep
from failoverd.simulator.clock import run
from failoverd.simulator.scenario import parse, play
from failoverd.simulator.scenario_check import check, usages
from failoverd.simulator.scenario_world import BadScenario
from failoverd.simulator.story import Story
from failoverd.simulator.sweep import BadSweep
from failoverd.simulator.world import World
from failoverd.simulator.world_faults import BadFault, duration_ms
from failoverd.simulator.world_spec import ImpossibleWorld, WorldSpec, simple_rules

FIRST_MS = 120_000
"""When the first fault happens: by then the copies are adopted."""
APART, SEED = "30m", 1
"""What `--apart` and `--seed` are where they are not given."""
HEADING = "What happened, line by line (minutes and seconds):"


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0, 1 when a promise was broken, 2 for what cannot be understood."""
    parser = _parser()
    given = parser.parse_args(arguments)
    wrong = _without_effect(given)
    if wrong:
        parser.error(wrong)
    if given.list:
        sys.stdout.write("".join(f"{named.text}\n" for named in NAMED))
        sys.stdout.write("\nor one of these commands:\n" + "".join(f"{text}\n" for text in usages()))
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


def _without_effect(given: argparse.Namespace) -> str:
    """What is wrong with options that would change nothing beside the others; empty where each has its use."""
    kind = "--sweep" if given.sweep else "scenario files" if given.scenario or given.files else ""
    of_sweep = [name for name in ("points", "years", "trouble", "plot") if getattr(given, name)]
    of_story = [name for name in ("fault", "apart", "summary") if getattr(given, name)]
    if kind == "scenario files":
        of_story += [name for name in ("config", "seed") if getattr(given, name) is not None]
    if of_sweep and kind != "--sweep":
        return f"{_options(of_sweep)} to --sweep"
    if of_story and kind:
        return f"{_options(of_story)} to faults of your own choice, not to {kind}"
    return "scenario files are not swept" if given.sweep and (given.scenario or given.files) else ""


def _options(names: list[str]) -> str:
    return " and ".join(f"--{name}" for name in names) + (" belongs" if len(names) == 1 else " belong")


def _sweep(given: argparse.Namespace) -> int:
    config = _config(given.config)
    if config is None:
        raise BadSweep("--sweep tries values of a key of your configuration: name it with --config")
    troubles = [sweep.trouble(text) for text in given.trouble]
    swept = sweep.parse(given.sweep, sweep.POINTS if given.points is None else given.points)
    years = 1.0 if given.years is None else given.years
    return sweep.main(config, swept, troubles, years, SEED if given.seed is None else given.seed, given.plot)


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
    parser.add_argument("--apart", metavar="DURATION", help="from one fault to the next (30m)")
    parser.add_argument("--seed", type=int, metavar="N", help="chance in the world (1)")
    parser.add_argument("--summary", action="store_true", help="only what it came to, without the transcript")
    parser.add_argument("--list", action="store_true", help="list named faults, and commands with their arguments")
    parser.add_argument(
        "--sweep", metavar="KEY=A..B", help="a duration of the configuration over a range: silence_after=30s..180s"
    )
    parser.add_argument("--points", type=int, metavar="N", help="values of the range (6)")
    parser.add_argument("--years", type=float, metavar="N", help="years of troubles for each value (1)")
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
    rules, apart_ms = _rules(given.config), duration_ms(given.apart or APART)
    if not rules.apps:
        raise BadScenario("the configuration names no apps: there is nothing to move")
    happenings = []
    for number, name in enumerate(given.fault or [NAMED[0].text]):
        begins = FIRST_MS + number * apart_ms
        happenings += [(begins + after, command) for after, command in commands(rules, name)]
    spec = WorldSpec(rules=rules, seed=SEED if given.seed is None else given.seed)
    check(spec, [command for _, command in happenings])
    world = World(spec)
    happenings.sort(key=lambda one: one[0])
    story = Story(world, happenings, happenings[-1][0] + apart_ms)
    told: list[str] = []
    try:
        run(world, story.tell())
        told = story.summary()
    finally:  # what happened until something could not be played is part of the answer
        if not given.summary:
            told += ["", HEADING, *story.transcript]
        sys.stdout.write("".join(f"{line}\n" for line in told))
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
                nodes = f"{pair.primary.node} or {pair.backup.node}"
                raise BadScenario(f"{name!r} needs a node with a fence: there is no [[fencing]] for {nodes}")
            return tuple((after, command.format(**words)) for after, command in named.commands)
    if name.partition(" ")[0] in ("fault", "command", "restart"):
        return ((0, name),)
    known = ", ".join(repr(named.text) for named in NAMED)
    raise BadScenario(f"no fault is called {name!r}; there are {known}; or write a scenario command")
