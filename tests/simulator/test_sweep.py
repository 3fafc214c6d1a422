"""`failoverd simulate --sweep`: what a duration buys and costs, over the same years."""

from datetime import timedelta
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from failoverd.core.rules import Require
from failoverd.simulator import sweep
from failoverd.simulator.simulate import main
from failoverd.simulator.world_spec import simple_app, simple_rules
from failoverd.simulator.year import SLOT_MS, TROUBLES, YEAR_MS, Happening, draw, play

KINDS = {one.name: one for one in TROUBLES}
CONFIG = """\
mode = "observe"
[sites.primary]
node = "k3s-w1"
node_selector = { role = "primary" }
domain = "pve"
[sites.backup]
node = "k3s-w2"
node_selector = { role = "backup" }
domain = "unraid"
[[witness]]
node = "k3s-cp1"
domain = "vm"
[failover]
require = "silence"
[[apps]]
name = "sonarr"
namespace = "media"
"""


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.delenv("FAILOVERD_CONFIG", raising=False)
    path = tmp_path / "config.toml"
    path.write_text(CONFIG)
    return path


def silent(seconds):
    """Rules by which silence is enough after so long."""
    rules = simple_rules((simple_app(),), fenced=())
    (app,) = rules.apps
    return simple_rules(
        (type(app)(**{**{name: getattr(app, name) for name in app.__slots__}, "require": Require.SILENCE}),),
        fenced=(),
        timings=type(rules.timings)(silence_after=timedelta(seconds=seconds)),
    )


def test_a_year_holds_what_was_said_and_one_trouble_at_a_time():
    found = draw(TROUBLES, 2, seed=3)
    assert {name: sum(one.trouble.name == name for one in found) for name in KINDS} == {
        name: round(2 * one.a_year) for name, one in KINDS.items()
    }
    assert all(one.trouble.shortest_ms <= one.takes_ms <= one.trouble.longest_ms for one in found)
    assert found[0].at_ms > 0
    assert found[-1].at_ms < 2 * YEAR_MS
    gaps = [after.at_ms - before.at_ms - before.takes_ms for before, after in pairwise(found)]
    assert min(gaps) >= SLOT_MS // 2 - 60_000
    assert draw(TROUBLES, 2, seed=3) == found != draw(TROUBLES, 2, seed=4)


def test_more_than_fits_is_refused():
    with pytest.raises(ValueError, match="at most 2190, one in 4 hours"):
        draw([sweep.trouble("cut=3000")], 1, seed=1)


def test_a_cut_shorter_than_the_silence_is_waited_out_and_a_longer_one_is_a_needless_move():
    cut = Happening(trouble=KINDS["cut"], at_ms=600_000, takes_ms=100_000)
    (waited,) = play(silent(150), [cut], seed=1)
    assert (waited.moved, waited.outage_ms) == (False, 100_000)
    (moved,) = play(silent(60), [cut], seed=1)
    assert moved.moved
    assert 50_000 < moved.ready_ms[0] < 75_000
    assert moved.outage_ms == moved.ready_ms[0]
    assert moved.at_risk is not None
    assert moved.at_risk > 0


def test_a_death_is_moved_for_later_where_more_silence_is_asked():
    died = Happening(trouble=KINDS["power"], at_ms=600_000, takes_ms=600_000)
    (soon,), (late,) = play(silent(60), [died], seed=1), play(silent(120), [died], seed=1)
    assert late.ready_ms[0] - soon.ready_ms[0] == pytest.approx(60_000, abs=4_000)


def test_a_stalled_api_server_takes_nothing_away():
    stalled = Happening(trouble=KINDS["stall"], at_ms=600_000, takes_ms=60_000)
    (made,) = play(silent(60), [stalled], seed=1)
    assert (made.moved, made.outage_ms) == (False, 0)


def test_the_table_has_a_row_for_each_value_that_may_be_and_says_which_may_not(config, tmp_path, capsys):
    plot = tmp_path / "sweep.svg"
    words = ["--config", str(config), "--sweep", "silence_after=30s..150s", "--points", "3", "--years", "1"]
    words += [part for text in ("power=1:10m..11m", "cut=2:100s..101s", "reboot=0", "stall=0")
              for part in ("--trouble", text)]  # fmt: skip
    assert main([*words, "--plot", str(plot)]) == 0
    said = capsys.readouterr().out
    assert "silence_after = 30 s would be refused: " in said
    assert 'smallest value that works: "40s"' in said
    rows = [line.split() for line in said.splitlines() if "/y" in line]
    assert [(row[0], *row[2:5]) for row in rows] == [("90", "1/y", "1/y", "2/y"), ("150", "1/y", "1/y", "0/y")]
    drawn = ElementTree.fromstring(plot.read_text())
    assert len(drawn.findall(".//{*}circle")) == 4
    texts = [one.text for one in drawn.findall(".//{*}text")]
    assert {"90 s", "150 s", "failover.silence_after", "needless failovers a year"} <= set(texts)


def test_a_sweep_of_guards_that_are_off_says_that_it_tells_nothing(config, capsys):
    words = ["--config", str(config), "--points", "2", "--years", "1"]
    words += [part for text in ("power=1", "cut=0", "reboot=0", "stall=0") for part in ("--trouble", text)]
    assert main([*words, "--sweep", "guard.interval=5s..10s"]) == 0
    assert "guard.enabled is false: guard.interval makes no difference\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--sweep", "silence_after=30s"], "'silence_after=30s' is not a sweep like silence_after=30s..180s"),
        (["--sweep", "silence=30s..60s"], "silence is no duration of the configuration"),
        (["--sweep", "max_moves=30s..60s"], "max_moves is no duration of the configuration"),
        (["--sweep", "silence_after=60s..30s"], "'silence_after=60s..30s': a sweep goes upwards"),
        (["--sweep", "silence_after=x..30s"], "'x' is not a duration like 28s or 1m30s"),
        (["--sweep", "silence_after=10s..20s"],
         "no value is left to try: the configuration would refuse every one of silence_after"),
        (["--sweep", "silence_after=60s..90s", "--plot", "/nowhere/x.svg"],
         "/nowhere/x.svg cannot be written: there is no folder /nowhere"),
        (["--sweep", "silence_after=60s..90s", "--trouble", "fire=1"], "there are power, reboot, cut, stall"),
        (["--sweep", "silence_after=60s..90s", "--trouble", "cut=1:5m..5s"], "from the shorter to the longer"),
    ],
)  # fmt: skip
def test_what_cannot_be_swept_is_one_clear_line(config, capsys, words, why):
    assert main(["--config", str(config), *words]) == 2
    told = capsys.readouterr()
    assert told.err.startswith("failoverd simulate: ")
    assert why in told.err
    assert "FAILOVERD__" not in told.err
    assert "/y" not in told.out


def test_a_sweep_without_a_configuration_asks_for_one(monkeypatch, capsys):
    monkeypatch.delenv("FAILOVERD_CONFIG", raising=False)
    assert main(["--sweep", "silence_after=60s..90s"]) == 2
    assert "name it with --config" in capsys.readouterr().err
