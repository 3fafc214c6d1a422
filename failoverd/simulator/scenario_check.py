"""Whether a scenario's commands can be understood, asked before any of them is played."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from inspect import Parameter, signature

from failoverd.config.problems import suggestion
from failoverd.core.request import CommandKind
from failoverd.core.rules import Site
from failoverd.simulator import world_guard, world_room
from failoverd.simulator.daemons import MOMENTS
from failoverd.simulator.scenario_player import Player
from failoverd.simulator.scenario_world import BadScenario
from failoverd.simulator.world import World
from failoverd.simulator.world_faults import FAULTS, BadFault, duration_ms, inject
from failoverd.simulator.world_spec import WorldSpec

RUN = "run DURATION"
RESTART = f"restart daemon [{'|'.join(MOMENTS)} [INSTANCE]]"
COMMAND = "command KIND APP [SITE]"
FEWEST = {CommandKind.SWITCHOVER: 3, CommandKind.FAILOVER: 3, CommandKind.RESTORE: 4}
"""Words of a command at least, its kind and app among them and `command` itself not; 2 where it is not listed."""


def usages() -> Iterator[str]:
    """Every command that `--fault` takes, with its arguments."""
    yield from (usage(name) for name in sorted(FAULTS))
    yield f"{COMMAND}: {', '.join(CommandKind)}"
    yield RESTART


def usage(name: str) -> str:
    """A fault's name and what it wants, in the way of a command's help."""
    return " ".join(("fault", name, *(_shown(name, one) for one in _wants(name))))


def check(spec: WorldSpec, lines: Iterable[str]) -> None:
    """Raises BadScenario or BadFault for the first of `lines` that is no command of such a world."""
    for line in lines:
        world = World(spec)  # one of its own: what a command does is not asked for, only whether it can be done
        word, *rest = line.split()
        match word:
            case "fault":
                _fault(world, line, rest)
            case "command":
                _command(world, line, rest)
            case "restart":
                _restart(world, line, rest)
            case "run":
                if len(rest) != 1:
                    raise BadScenario(f"{line!r}: write {RUN}")
                duration_ms(rest[0])
            case "truth" if not rest:
                pass
            case _:
                raise BadScenario(f"no command is called {line!r}; there are fault, run, command, restart and truth")


def _fault(world: World, line: str, rest: list[str]) -> None:
    if not rest or rest[0] not in FAULTS:
        known = suggestion(rest[0], FAULTS) if rest else ""
        named = rest[0] if rest else "nothing"
        raise BadFault(f"no fault is called {named}{known or ';'} `failoverd simulate --list` has their names")
    name, *words = rest
    wants = _wants(name)
    needed = [one for one in wants if one.kind is not Parameter.VAR_POSITIONAL and one.default is Parameter.empty]
    several = any(one.kind is Parameter.VAR_POSITIONAL for one in wants)
    if len(words) < len(needed) or (len(words) > len(wants) and not several):
        raise BadFault(f"{line!r}: write {usage(name)}")
    if name in world_guard.FAULTS and world.guards is None:
        raise BadFault(f"{line!r}: no guard is configured in this world")
    names = {"NODE": list(world.nodes), "APP": list(world.apps), "SITE": [site.value for site in Site]}
    for one, word in zip(wants, words, strict=False):
        label = _label(name, one)
        there = names.get(label, [word])
        if word not in there:
            raise BadFault(f"{line!r}: no {label.lower()} is called {word}; there are {', '.join(there)}")
    try:
        inject(world, " ".join(rest))
    except BadFault as error:
        if error.__cause__ is not None:  # what Python says of it is for nobody
            raise BadFault(f"{line!r} cannot be understood: write {usage(name)}") from error
        raise


def _command(world: World, line: str, words: list[str]) -> None:
    if not words or words[0] not in tuple(CommandKind):
        raise BadScenario(f"{line!r}: write {COMMAND}; kinds are {', '.join(CommandKind)}")
    kind = CommandKind(words[0])
    least = FEWEST.get(kind, 2)
    if not least <= len(words) <= max(least, 3):
        more = {CommandKind.RESTORE: "VOLUME PATH (or point AGE, or set NAME)", CommandKind.SWITCHOVER: "SITE"}
        more[CommandKind.FAILOVER] = "SITE"
        raise BadScenario(f"{line!r}: write command {kind} APP {more.get(kind, '[SITE]')}")
    if words[1] not in world.apps and words[1] != "*":
        raise BadScenario(f"{line!r}: no app is called {words[1]}; there are {', '.join(world.apps)}")
    if kind is not CommandKind.RESTORE and len(words) > 2 and words[2] not in tuple(Site):
        raise BadScenario(f"{line!r}: no site is called {words[2]}; there are {', '.join(Site)}")
    Player(world).do(line)


def _restart(world: World, line: str, words: list[str]) -> None:
    instances = [f"failoverd-{number}" for number in range(world.spec.instances)]
    good = 1 <= len(words) <= 3 and words[0] == "daemon"
    if not good or any(word not in known for word, known in zip(words[1:], (MOMENTS, instances), strict=False)):
        raise BadScenario(f"{line!r}: write {RESTART}; instances are {', '.join(instances)}")


def _wants(name: str) -> list[Parameter]:
    return list(signature(FAULTS[name]).parameters.values())[1:]


def _label(fault: str, one: Parameter) -> str:
    return "NODE" if fault in world_room.FAULTS and one.name == "name" else one.name.upper()


def _shown(fault: str, one: Parameter) -> str:
    label = _label(fault, one)
    if one.kind is Parameter.VAR_POSITIONAL:
        return f"[{label}...]"
    return label if one.default is Parameter.empty else f"[{label}]"
