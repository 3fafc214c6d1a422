"""What must be so after a move, whatever was done to the daemon in its course: judged by the world itself."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

from failoverd.core.memory import Phase, Standing
from failoverd.core.rules import Site
from tests.kill.scene import Scene
from tests.kill.stories import Story

NOT_YET = "the standby is still outdated"
"""No violation while the node it lies on is away."""


async def judge(scene: Scene, story: Story) -> list[str]:
    """Everything that is not as it must be; empty when all is well."""
    scene.truth.look()
    found = [f"{promise}: {text}" for _, promise, text in scene.served.world.accused]
    found += [life.ended for life in scene.lives if life.ended]
    if scene.unreadable:
        found.append(f"Memory was unreadable: {scene.unreadable}")
    found += list(_state(scene, story))
    found += await _history(scene, story)
    return found


def _state(scene: Scene, story: Story) -> Iterator[str]:
    app, truth = scene.app(), scene.served.world.apps[scene.key]
    if app is None:
        yield "nothing is remembered"
        return
    if (story.home or app.active is truth.app.preferred) and _text(truth.raw["spec"]) != _text(scene.spec):
        yield f"the spec is not what it was: {_text(truth.raw['spec'])}"
    marks = [name for name in truth.raw["metadata"].get("annotations", {}) if "failoverd" in name or "fluxcd" in name]
    if app.active is truth.app.preferred and marks:
        yield f"at home it still carries {', '.join(marks)}"
    if app.phase is Phase.RELEASED:
        return
    running = [site for site in Site if scene.running(site)]
    if running != [app.active]:
        yield f"it runs at {running}, remembered is {app.active}"
    for name, pair in truth.pairs.items():
        for site, side in pair.sides.items():
            wanted = "sendonly" if site is app.active else "receiveonly"
            # one that lost comes back as it was, and hears nothing of its peer's until it is taken back
            lost = app.volumes[name].copies[site].standing is Standing.OUTDATED
            if not lost and side.kind.value != wanted:
                yield f"{name} at {site} is {side.kind.value}"
    for promise, text in scene.truth._unrest(scene.key, truth, app):
        if NOT_YET not in text:
            yield f"{promise}: {text}"


async def _history(scene: Scene, story: Story) -> list[str]:
    app = scene.app()
    assert app is not None
    entries = await scene.history()
    found = []
    counts = Counter(str(entry["id"]) for entry in entries)
    found += [f"{count} history entries of {name}" for name, count in counts.items() if count > 1]
    missing = [move.id for move in app.moves if move.id not in counts]
    if missing:
        found.append(f"no history entry of {', '.join(missing)}")
    if story.kind is not None:
        mine = [one for one in entries if one["kind"] == story.kind.value and str(one["id"]) not in scene.known]
        done = [entry for entry in mine if entry["outcome"] == "done"]
        given_up = not done and (bool(mine) or scene.refused())
        if len(done) != 1 and not (story.may_abort and given_up):
            told = [f"{entry['id']} {entry['outcome']}" for entry in mine]
            found.append(f"{len(done)} finished moves in the history: {', '.join(told)}")
    return found


def _text(spec: object) -> str:
    return json.dumps(spec, sort_keys=True)
