"""The `world key=value …` line of a scenario: which world the story happens in."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import timedelta

from failoverd.core.rules import (
    Applier,
    ApplierKind,
    Drain,
    Failback,
    FenceWhen,
    Guarding,
    Mode,
    Placing,
    Require,
    Timings,
    WorkloadKind,
)
from failoverd.simulator.world_data import Rhythm
from failoverd.simulator.world_faults import duration_ms
from failoverd.simulator.world_spec import WorldSpec, simple_app, simple_rules


class BadScenario(Exception):
    """A scenario file that cannot be understood; the text names the line."""


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
        verify_url=take("verify_url", ""),
        place=Placing(take("place", "newest")),
        max_data_age=timedelta(milliseconds=duration_ms(take("max_data_age", "5m"))),
    )
    priorities = dict(word.partition(":")[::2] for word in take("priority", "").split(",") if word)
    apps = [
        replace(
            app,
            priority=int(priorities.get(name, 0)),
            **{n: getattr(simple_app(name, volumes=volumes), n) for n in ("key", "name", "volumes")},
        )
        for name in take("apps", "sonarr").split(",")
    ]
    if take("helm", "no") == "yes":
        kind = ApplierKind.HELM_RELEASE
        apps = [replace(one, applier=Applier(kind=kind, name=f"media/{one.name}")) for one in apps]
    if take("argo", "no") == "yes":
        applier = Applier(kind=ApplierKind.APPLICATION, name="argocd/media")
        apps = [replace(one, applier=applier) for one in apps]
    fenced = tuple(name for name in take("fence", "k3s-w1").split(",") if name != "none")
    rules = simple_rules(tuple(apps), fenced=fenced, mode=Mode(take("mode", "active")))
    rules = replace(rules, drain=Drain(take("drain", "offer")))
    if take("guard", "no") == "yes":
        rules = replace(rules, guard=Guarding())
    wanted = take("requests", "")
    if "fence_when" in given:
        rules = replace(rules, fence_when=FenceWhen(take("fence_when")))
    if "displaced_budget" in given:
        rules = replace(rules, displaced_budget=int(take("displaced_budget")))
    if take("out_of_service", "no") == "yes":
        rules = replace(rules, out_of_service=fenced)
    spec = WorldSpec(
        rules=rules,
        seed=int(take("seed", "1")),
        strategy=take("strategy", "RollingUpdate"),
        flux=take("flux", "yes") == "yes",
        boot=timedelta(milliseconds=duration_ms(take("boot", "20s"))),
        rhythm=Rhythm(off_ms=0) if take("writer", "bursts") == "restless" else Rhythm(),
        shared_access=take("access", "once") == "many",
        api_node=take("api", ""),
        requests=tuple((name, text) for name, _, text in (w.partition(":") for w in wanted.split(",") if w)),
        instances=int(take("instances", "1")),
    )
    return replace(spec, rules=replace(rules, timings=_timings(given)))


def _timings(given: dict[str, str]) -> Timings:
    usual, changes = Timings(), {}
    known = {one.name for one in fields(usual)}
    for key, value in given.items():
        if key not in known:
            raise BadScenario(f"the world line knows no {key!r}")
        lasts = isinstance(getattr(usual, key), timedelta)
        changes[key] = timedelta(milliseconds=duration_ms(value)) if lasts else int(value)
    return replace(usual, **changes)  # type: ignore[arg-type]
