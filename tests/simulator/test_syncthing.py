"""The abstract Syncthing keeps the rules that were measured on the real one."""

from dataclasses import replace

import pytest

from failoverd.core.model import Role
from failoverd.core.names import SHM_PATTERN
from failoverd.core.rules import Site
from failoverd.simulator.world_data import DATABASE, SETTINGS, SHM, Disk, File, Rhythm, Stretch, extend, missing
from failoverd.simulator.world_pair import SyncPair
from failoverd.simulator.world_side import CHANGING, NO_MARKER, Side
from failoverd.simulator.world_time import Timeline


class Bench:
    """Two movers on one desk."""

    def __init__(self, kinds=(Role.SEND_RECEIVE, Role.SEND_RECEIVE), rhythm=None):
        self.time = Timeline()
        self.told: list[str] = []
        self.accused: list[tuple[str, str]] = []
        self.rhythm = rhythm or Rhythm()
        self.linked = True
        self.alive = dict.fromkeys(Site, True)
        sides = {
            site: Side(
                name=str(site),
                site=site,
                device=str(site).upper(),
                disk=Disk(site, lambda: self.time.now_ms),
                tell=self.told.append,
                accuse=lambda promise, text: self.accused.append((promise, text)),
                kind=kind,
                ignores=(SHM_PATTERN,),
            )
            for site, kind in zip(Site, kinds, strict=True)
        }
        self.pair = SyncPair(time=self.time, sides=sides, alive=self.alive.__getitem__, linked=lambda: self.linked)
        self.primary, self.backup = sides[Site.PRIMARY], sides[Site.BACKUP]
        self.pair.check()
        self.wait(1_000)

    def wait(self, ms):
        self.time.advance(self.time.now_ms + ms)

    def write(self, side, path, pod, until_ms=None):
        """A finished piece of writing, without a running pod."""
        at = self.time.now_ms if until_ms is None else until_ms
        old = side.disk.files.get(path)
        content = extend(old.content if old else (), Stretch(pod, side.site, 0, at))
        side.disk.files[path] = File(content=content, changed_ms=at)
        self.pair.scan(side.site)
        self.wait(1_000)

    def link(self, linked):
        self.linked = linked
        self.pair.check()
        self.wait(1_000)

    def paths(self, side):
        return sorted(side.disk.files)


def test_what_is_scanned_arrives():
    bench = Bench()
    bench.write(bench.primary, "a", "p1")
    assert bench.backup.disk.files["a"].content == bench.primary.disk.files["a"].content
    assert bench.backup.remote_sequence == bench.primary.sequence


def test_what_is_not_scanned_does_not_and_nobody_notices():
    bench = Bench()
    bench.primary.disk.files["a"] = File(content=(), changed_ms=0)
    bench.wait(5_000)
    assert bench.paths(bench.backup) == []
    assert bench.backup.needs() == []


def test_a_busy_file_is_an_error_at_its_source_and_arrives_once_it_rests():
    bench = Bench()
    bench.primary.disk.begin("p1", bench.rhythm)
    bench.pair.scan(Site.PRIMARY)
    assert bench.primary.errors == {DATABASE: CHANGING}
    bench.wait(6_000)
    bench.pair.scan(Site.PRIMARY)
    bench.wait(1_000)
    assert bench.primary.errors == {}
    assert DATABASE in bench.paths(bench.backup)


def test_a_file_that_never_rests_never_arrives():
    bench = Bench(rhythm=Rhythm(off_ms=0))
    bench.primary.disk.begin("p1", bench.rhythm)
    for _ in range(20):
        bench.wait(3_000)
        bench.pair.scan(Site.PRIMARY)
    bench.wait(1_000)
    assert bench.paths(bench.backup) == [SETTINGS]


def test_shared_memory_is_needed_for_ever_unless_it_is_ignored():
    bench = Bench()
    for side in (bench.primary, bench.backup):
        side.ignores = ()
    bench.primary.disk.begin("p1", bench.rhythm)
    bench.wait(6_000)
    bench.pair.scan(Site.PRIMARY)
    bench.wait(20_000)
    assert [entry.path for entry in bench.backup.needs()] == [SHM]
    for side in (bench.primary, bench.backup):
        side.ignores = (SHM_PATTERN,)
    assert bench.backup.needs() == []


def test_send_only_never_pulls():
    bench = Bench(kinds=(Role.SEND_ONLY, Role.SEND_ONLY))
    bench.write(bench.primary, "a", "p1")
    assert bench.paths(bench.backup) == []
    assert [entry.path for entry in bench.backup.needs()] == ["a"]


def test_receive_only_counts_its_own_changes_and_offers_them_to_nobody():
    bench = Bench(kinds=(Role.SEND_RECEIVE, Role.RECEIVE_ONLY))
    bench.write(bench.backup, "stray", "p2")
    assert [entry.path for entry in bench.backup.local_changes()] == ["stray"]
    assert bench.paths(bench.primary) == []
    bench.backup.versioning = "simple"
    bench.backup.revert()
    bench.pair.kick()
    bench.wait(1_000)
    assert bench.paths(bench.backup) == []


def parted(kinds):
    """Both have `a`; then, cut off, each writes it anew; then they meet."""
    bench = Bench(kinds=(Role.SEND_RECEIVE, Role.SEND_RECEIVE))
    bench.write(bench.primary, "a", "p1")
    bench.primary.set_kind(kinds[0])
    bench.backup.set_kind(kinds[1])
    bench.link(False)
    bench.write(bench.primary, "a", "p1")
    bench.write(bench.backup, "a", "p2")
    bench.link(True)
    return bench


def test_volsyncs_default_lets_two_writers_collide():
    bench = parted((Role.SEND_RECEIVE, Role.SEND_RECEIVE))
    conflicts = [path for path in bench.paths(bench.primary) if "sync-conflict" in path]
    assert conflicts
    assert conflicts == [path for path in bench.paths(bench.backup) if "sync-conflict" in path]


def test_two_that_only_send_leave_each_other_alone():
    bench = parted((Role.SEND_ONLY, Role.SEND_ONLY))
    assert [part.pod for part in bench.primary.disk.files["a"].content] == ["p1"]
    assert [part.pod for part in bench.backup.disk.files["a"].content] == ["p1", "p2"]
    assert bench.told == []


def test_a_take_back_in_the_proven_order_loses_nothing_and_touches_only_the_returned_side():
    bench = parted((Role.SEND_ONLY, Role.SEND_ONLY))
    bench.write(bench.primary, "alone", "p1")
    survivor = dict(bench.backup.disk.files)
    lost = bench.primary.disk.files["a"].content
    bench.primary.versioning = "simple"
    bench.primary.set_kind(Role.RECEIVE_ONLY)
    bench.pair.kick()
    bench.wait(1_000)
    bench.backup.override()
    bench.pair.kick()
    bench.wait(1_000)
    bench.primary.revert()
    bench.pair.kick()
    bench.wait(1_000)
    assert bench.backup.disk.files == survivor
    assert bench.primary.disk.files == survivor
    assert bench.primary.local_changes() == []
    assert lost in [content for _, content in bench.primary.disk.versions]
    assert "alone" in [path for path, _ in bench.primary.disk.versions]
    assert bench.accused == []


def test_an_override_deletes_at_the_peer_what_the_own_side_lacks():
    bench = Bench()
    bench.write(bench.primary, "a", "p1")
    bench.primary.set_kind(Role.SEND_ONLY)
    bench.backup.set_kind(Role.SEND_ONLY)
    bench.write(bench.backup, "more", "p2")
    bench.backup.set_kind(Role.RECEIVE_ONLY)
    bench.primary.override()
    bench.pair.kick()
    bench.wait(1_000)
    assert bench.paths(bench.backup) == ["a"]
    assert [promise for promise, _ in bench.accused] == ["I10"]


def test_a_running_apps_file_replaced_by_the_peer_is_an_accusation():
    bench = Bench()
    bench.write(bench.primary, SETTINGS, "p1")
    bench.backup.disk.begin("p2", replace(bench.rhythm, off_ms=0))
    bench.write(bench.primary, SETTINGS, "p1", until_ms=bench.time.now_ms + 10)
    assert "I1" in [promise for promise, _ in bench.accused]


def test_a_dead_host_looks_connected_for_447_s_and_a_dead_process_does_not():
    bench = Bench()
    bench.alive[Site.PRIMARY] = False
    bench.primary.up = False
    bench.linked = False
    bench.pair.check()
    bench.wait(446_000)
    assert bench.pair.connected(Site.BACKUP)
    bench.wait(2_000)
    assert not bench.pair.connected(Site.BACKUP)
    other = Bench()
    other.pair.stop(Site.PRIMARY)
    assert not other.pair.connected(Site.BACKUP)


def rebooted():
    """The primary lost power and is back; the backup's process never ended."""
    bench = Bench()
    bench.alive[Site.PRIMARY] = bench.linked = False
    bench.primary.up = False
    bench.pair.check()
    bench.wait(20_000)
    bench.alive[Site.PRIMARY] = bench.linked = True
    bench.pair.start(Site.PRIMARY)
    bench.wait(5_000)
    return bench


def both(bench):
    return bench.pair.connected(Site.PRIMARY), bench.pair.connected(Site.BACKUP)


def test_a_side_that_holds_a_dead_connection_turns_the_returned_one_away_until_it_times_out():
    bench = rebooted()
    assert both(bench) == (False, True)
    bench.write(bench.primary, "a", "p1")
    bench.pair.restart(Site.PRIMARY)  # closes no connection but its own, which it does not have
    bench.wait(415_000)
    assert (both(bench), bench.paths(bench.backup)) == ((False, True), [])
    bench.wait(10_000)
    assert (both(bench), bench.paths(bench.backup)) == ((True, True), ["a"])


def test_a_restart_of_the_side_that_holds_it_ends_it_at_once():
    bench = rebooted()
    bench.write(bench.primary, "a", "p1")
    bench.pair.restart(Site.BACKUP)
    bench.wait(5_000)
    assert (both(bench), bench.paths(bench.backup)) == ((True, True), ["a"])


def test_a_cut_line_leaves_one_connection_that_goes_on_when_both_processes_live():
    bench = Bench()
    bench.link(linked=False)
    assert both(bench) == (True, True)
    bench.write(bench.primary, "a", "p1")
    assert bench.paths(bench.backup) == []
    bench.link(linked=True)
    assert (both(bench), bench.paths(bench.backup)) == ((True, True), ["a"])


def test_a_mover_that_restarts_behind_a_cut_line_is_turned_away_after_it():
    bench = Bench()
    bench.link(linked=False)
    bench.pair.restart(Site.PRIMARY)
    bench.wait(5_000)
    bench.link(linked=True)
    assert both(bench) == (False, True)


def test_an_empty_disk_is_an_error_and_deletes_nothing_at_the_peer():
    bench = Bench()
    bench.write(bench.primary, "a", "p1")
    bench.backup.disk.wipe()
    bench.pair.scan(Site.BACKUP)
    bench.wait(2_000)
    assert bench.backup.error == NO_MARKER
    assert bench.paths(bench.primary) == ["a"]


def test_a_lost_configuration_comes_back_with_the_defaults_and_another_device():
    bench = Bench(kinds=(Role.SEND_ONLY, Role.RECEIVE_ONLY))
    bench.primary.forget("NEW")
    assert (bench.primary.device, bench.primary.kind) == ("NEW", Role.SEND_RECEIVE)


@pytest.mark.parametrize(
    ("content", "reference", "expected"),
    [
        ((), (), ()),
        ((Stretch("p", Site.PRIMARY, 0, 5),), (Stretch("p", Site.PRIMARY, 0, 5),), ()),
        (
            (Stretch("p", Site.PRIMARY, 0, 5),),
            (Stretch("p", Site.PRIMARY, 0, 9),),
            (Stretch("p", Site.PRIMARY, 5, 9),),
        ),
        ((), (Stretch("q", Site.BACKUP, 3, 9),), (Stretch("q", Site.BACKUP, 3, 9),)),
    ],
)
def test_what_is_missing_is_computed(content, reference, expected):
    assert missing(content, reference) == expected


def test_a_writer_in_bursts_rests_when_it_should():
    rhythm = Rhythm(on_ms=5_000, off_ms=10_000)
    assert [rhythm.busy(0, at) for at in (0, 4_999, 5_000, 14_999, 15_000)] == [True, True, False, False, True]
    assert [rhythm.last_write_ms(0, at) for at in (3_000, 9_000, 16_000)] == [3_000, 5_000, 16_000]
