"""Plays one scenario's commands and writes down what changes, in words an operator can read."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta

from failoverd.core.memory import Kind, Memory, Move, Restore
from failoverd.core.model import Action, Command, CommandKind, Decision, Now, Scan, ScanPoints, Snapshot
from failoverd.core.recall import Recall
from failoverd.core.rules import Site
from failoverd.simulator.scenario_world import BadScenario
from failoverd.simulator.world import World
from failoverd.simulator.world_faults import duration_ms, inject
from failoverd.simulator.world_render import notes, site_of


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
        if isinstance(action, Scan | ScanPoints) and self._last.get(action.key) is not None:
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
                if move.kind is Kind.RESTORE and move.renewed and move.id not in self._judged:
                    # what databases held that were put back to an earlier state is lost to nobody's surprise
                    truth = self.world.apps[key]
                    gone = [part.pod for name in truth.pairs for part in truth.lost(name, move.target)]
                    self._judged |= {move.id, *gone}
                if move.id in self._judged or move.kind is not Kind.FAILOVER:
                    continue
                self._judged.add(move.id)
                # away from a node that may live nothing bounds what is lost, and the statement says so
                bounded = not move.forced or any(name == "dead" for name, _ in move.marks)
                if move.outcome == "done" and bounded:
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
        for applier in self.world.appliers.values():
            same = applier.raw["spec"] == applier.git
            marks = ", ".join(sorted(notes(applier.raw))) or "no annotations"
            self._line(f"truth {applier.which} spec {'equals Git' if same else 'differs from Git'}, {marks}")
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
        restore = None
        if kind == CommandKind.RESTORE:
            restore, target = self._restore(*target), [self._active(app)]
        return Command(
            id=f"command-{self._commands}",
            kind=CommandKind(kind),
            app=app,
            target=Site(target[0]) if target else None,
            epoch=self._epoch(app),
            expires=self.world.wall() + timedelta(minutes=5),
            by="operator",
            why="asked for",
            restore=restore,
            seen=self._shown(app) if kind == CommandKind.ACK else (),
        )

    def _restore(self, volume: str, what: str) -> Restore:
        """A file of a volume; or databases, by `point 7s` as of so long ago, by `set NAME` out of a folder."""
        if volume == "point":
            return Restore(recall=Recall(at=self.world.wall() - timedelta(milliseconds=duration_ms(what))))
        if volume == "set":
            return Restore(recall=Recall(moved=what))
        return Restore(volume=volume, path=what)

    def _active(self, app: str) -> str:
        memory = self.world.stored.memory
        return memory.apps[app].active if memory and app in memory.apps else Site.PRIMARY

    def _shown(self, app: str) -> tuple[str, ...]:
        """The marks that `failoverd ack` would name at this moment."""
        memory = self.world.stored.memory
        was = memory.apps.get(app) if memory else None
        return tuple(one.mark for one in was.alarms if one.acknowledged_at is None) if was else ()

    def _epoch(self, app: str) -> int | None:
        memory = self.world.stored.memory
        return memory.apps[app].epoch if memory and app in memory.apps else None
