"""A few random schedules of faults, by seed: whatever happens, no promise is broken.

A schedule that breaks one is printed as a scenario; it belongs into `scenarios/` under a name of its own.
"""

from random import Random

import pytest

from failoverd.simulator.scenario import parse, play

APP = "media/sonarr"


def fault(chance):
    node, site = chance.choice(["k3s-w1", "k3s-w2"]), chance.choice(["primary", "backup"])
    wait = f"run {chance.randint(5, 200)}s"
    return chance.choice(
        [
            [f"fault power_off {node}", wait, f"fault power_on {node}"],
            [f"fault reboot {node} {chance.randint(4, 60)}s"],
            [f"fault cut {node}", wait, f"fault heal {node}"],
            [f"fault kubelet_stop {node}", wait, f"fault kubelet_start {node}"],
            [f"fault stall_api {chance.randint(2, 120)}s"],
            [f"fault api_errors {chance.randint(2, 60)}s"],
            [f"fault lose_answers {chance.randint(1, 5)}"],
            [f"fault syncthing_hang {APP} data {site}", wait, f"fault syncthing_wake {APP} data {site}"],
            [f"fault syncthing_restart {APP} data {site}"],
            [f"fault set_type {APP} data {site} sendreceive"],
            [f"command switchover {APP} {site}"],
            ["restart daemon"],
            [f"fault commit {APP}"],
            [f"fault strip_hold {APP}"],
        ]
    )


def schedule(seed):
    chance = Random(seed)
    fence = chance.choice(["k3s-w1", "k3s-w1,k3s-w2", "none"])
    require = "silence" if fence == "none" else "proof"
    strategy = chance.choice(["Recreate", "RollingUpdate"])
    lines = [
        f"# Chance, by the seed {seed}.",
        f"world seed={seed} fence={fence} require={require} strategy={strategy} "
        "stable_for=60s cooldown=30s max_moves=50",
        "run 60s",
    ]
    for _ in range(5):
        lines += [*fault(chance), f"run {chance.choice([1, 3, 8, 30, 120]) * chance.randint(500, 1500)}ms"]
    return "\n".join([*lines, "run 5m", "truth", "----", ""])


@pytest.mark.parametrize("seed", range(25))
def test_whatever_happens_no_promise_is_broken(seed):
    seen = play(parse(schedule(seed))).text()
    assert "VIOLATION" not in seen, seen
