"""`failoverd displaced`: all that is kept at both sides, and a side that cannot be read is never an empty one."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from failoverd.adapters.kubernetes import displaced, guards, rbac
from failoverd.adapters.kubernetes.client import Client
from failoverd.adapters.kubernetes.guards import Unreadable
from failoverd.cli.exits import Exit
from failoverd.cli.rbac import daemon_grants, reader_grants
from failoverd.cli.table import amount
from failoverd.config import load
from failoverd.core import names
from failoverd.core.memory import AppMemory, Kind, Memory, Move, Restore, Standing
from failoverd.core.rules import Site
from failoverd.core.stock import Aside, Lying, Stock, stock
from tests.adapters.apiserver import kubeconfig, status
from tests.adapters.test_kubernetes_rbac import asked, covers
from tests.test_cli_cluster import CONFIG, MAPS, Bench, bench, remembered

__all__ = ["bench"]  # a fixture
KEY = "media/sonarr"
BEGAN = datetime(2026, 11, 26, 15, 0, tzinfo=UTC)
ENDED = BEGAN + timedelta(minutes=5)
FOLDER = f"config/folders/{names.FOLDER}"
CLAIM = {("config", Site.PRIMARY): "pvc-sonarr-config", ("config", Site.BACKUP): "pvc-sonarr-config-backup"}


def aside(path: str, seconds: int = 60, kind: Lying = Lying.VERSION, size: int = 10, **other: Any) -> Aside:
    return Aside(kind=kind, path=path, at=BEGAN + timedelta(seconds=seconds), size=size, **other)


def listed(*files: Aside, at: datetime = ENDED, most: int = 100) -> Stock:
    return stock(files, at, most)


def put(bench: Bench, kind: str, site: Site, what: Stock, volume: str = "config") -> None:
    name = f"failoverd-{kind}.media.{CLAIM[volume, site]}"
    bench.server.put(f"{MAPS}/{name}", {"data": {"stock": guards.stock_text(what, guards.LIMIT)}})


def mover(bench: Bench, site: Site, versioning: str = "", versions: Any = None, volume: str = "config") -> None:
    source = f"sonarr-{volume}-{site}"
    secret = {key: base64.b64encode(b"x").decode() for key in ("apikey", "httpsCertPEM")}
    bench.server.put(f"/api/v1/namespaces/media/secrets/volsync-{source}", {"data": secret})
    proxied = f"/api/v1/namespaces/media/services/https:volsync-{source}-api:8384/proxy/rest"
    folder = {"type": "receiveonly", "paused": False, "devices": [], "versioning": {"type": versioning}}
    bench.server.objects[f"{proxied}/{FOLDER}"] = folder
    if versions is not None:
        bench.server.objects[f"{proxied}/folder/versions"] = versions


def lost(epoch: int = 1, source: Site = Site.PRIMARY) -> Move:
    return Move(
        id=f"{KEY}#{epoch}", app=KEY, kind=Kind.FAILOVER, source=source, target=source.other, epoch=epoch,
        reason="dead", began_at=BEGAN, ended_at=BEGAN + timedelta(minutes=1), outcome="done",
    )  # fmt: skip


def remember(bench: Bench, *moves: Move, standing: Standing = Standing.CLEAN, back: datetime | None = None) -> None:
    """The app on backup since `moves`, each of which used up one epoch; the primary taken back at `back`."""
    app: AppMemory = remembered().apps[KEY]
    volumes = {}
    for name, volume in app.volumes.items():
        copies = {
            Site.PRIMARY: replace(volume.copies[Site.BACKUP], standing=standing),
            Site.BACKUP: volume.copies[Site.PRIMARY],
        }
        taken_back = {Site.PRIMARY: back} if back is not None else {}
        volumes[name] = replace(volume, copies=copies, taken_back=taken_back)
    app = replace(app, active=Site.BACKUP, epoch=len(moves), moves=moves, volumes=volumes)
    bench.remember(Memory(apps={KEY: app}))


@pytest.fixture
def calm(bench: Bench) -> Bench:
    """A failover from primary, long taken back; both movers answer, and keep no versions now."""
    remember(bench, lost())
    for site in Site:
        mover(bench, site)
    put(bench, "displaced", Site.PRIMARY, listed(aside("a%20b.xml", 70), aside("app.db", 60, size=4096)))
    return bench


async def run(bench: Bench, *more: str) -> Any:
    return await bench.run("displaced", "sonarr", "--volume", "config", *more)


async def test_what_a_take_back_displaced_is_listed_from_its_list_with_the_move(calm: Bench) -> None:
    said = await run(calm)
    assert (said.status, said.err) == (Exit.OK, "")
    assert [line.split() for line in said.out.splitlines()[1:3]] == [
        ["config", "primary", "version", "2026-11-26", "15:01:10", "10", f"{KEY}#1", "a", "b.xml"],
        ["config", "primary", "version", "2026-11-26", "15:01:00", "4096", f"{KEY}#1", "app.db"],
    ]
    assert said.out.splitlines()[-2:] == [
        "config at primary: 2 versions, 4.01 KiB "
        "(listed when a take-back or restore ended there, 2026-11-26 15:05 UTC)",
        "config at backup: nothing",
    ]


async def test_a_glob_narrows_what_is_shown_and_not_what_is_counted(calm: Bench) -> None:
    said = await run(calm, "--path", "*.db", "-o", "json")
    (primary, backup) = json.loads(said.out)["sides"]
    assert [(one["path"], one["move"], one["size"]) for one in primary["files"]] == [("app.db", f"{KEY}#1", 4096)]
    assert primary["counts"]["version"] == {
        "files": 2, "bytes": 4106, "named": 2, "said_by": "listed when a take-back or restore ended there",
        "as_of": "2026-11-26T15:05:00+00:00",
    }  # fmt: skip
    assert (backup["site"], backup["files"], backup["unknown"]) == ("backup", [], [])


async def test_a_volume_there_is_none_of_is_refused_by_name(calm: Bench) -> None:
    said = await calm.run("displaced", "sonarr", "--volume", "confg")
    assert said.status == Exit.USAGE
    assert 'media/sonarr has no volume "confg"; it has config, media' in said.err


async def test_while_versions_are_made_syncthing_itself_is_asked(calm: Bench) -> None:
    remember(calm, lost(), standing=Standing.TAKING_BACK)
    now = "2026-11-26T15:09:00Z"
    mover(calm, Site.PRIMARY, "simple", {"new.txt": [{"versionTime": now, "modTime": now, "size": 3}]})
    (primary, _) = json.loads((await run(calm, "-o", "json")).out)["sides"]
    assert [one["path"] for one in primary["files"]] == ["new.txt"]
    assert primary["counts"]["version"]["said_by"] == "its Syncthing"
    assert primary["unknown"] == []


@pytest.mark.parametrize("standing", [Standing.TAKING_BACK, Standing.OUTDATED])
async def test_a_copy_that_is_being_taken_back_by_a_syncthing_that_is_silent_is_unknown(
    calm: Bench, standing: Standing
) -> None:
    remember(calm, lost(), standing=standing)
    calm.server.drop("/api/v1/namespaces/media/secrets/volsync-sonarr-config-primary")
    said = await run(calm)
    assert said.status == Exit.NOT_ALL
    assert f"config at primary: unknown: its copy is {standing}, and its Syncthing did not say" in said.err
    assert "app.db" in said.out  # what is known is shown all the same


async def test_a_silent_syncthing_matters_not_where_the_take_back_left_a_list(calm: Bench) -> None:
    calm.server.drop("/api/v1/namespaces/media/secrets/volsync-sonarr-config-primary")
    said = await run(calm)
    assert (said.status, said.err) == (Exit.OK, "")
    assert "app.db" in said.out


async def test_a_side_that_lost_and_left_no_list_is_unknown(calm: Bench) -> None:
    calm.server.drop(f"{MAPS}/{names.displaced_object('media', 'pvc-sonarr-config')}")
    said = await run(calm)
    assert said.status == Exit.NOT_ALL
    assert f"config at primary: unknown: it lost {KEY}#1, and no list of what was displaced is kept" in said.err
    assert "config at primary: nothing" not in said.out


@pytest.mark.parametrize("back", [None, ENDED + timedelta(days=1)], ids=["of an older version", "remembered"])
async def test_a_list_from_before_the_last_take_back_is_not_all_there_is(calm: Bench, back: datetime | None) -> None:
    """The list of the second take-back could not be written; the first one's stands."""
    began = ENDED + timedelta(days=1, minutes=-10)
    again = replace(lost(2), began_at=began, ended_at=began + timedelta(minutes=1))
    remember(calm, lost(1), again, back=back)
    said = await run(calm)
    assert said.status == Exit.NOT_ALL
    how = "it was taken back" if back else f"it lost {KEY}#2"
    assert (
        "config at primary: unknown: the newest list (listed when a take-back or restore ended there) "
        f"is of 2026-11-26 15:05:00 UTC, and {how} after that: look in .stversions"
    ) in said.err
    assert "app.db" in said.out  # what is known is shown all the same


async def test_a_list_of_the_last_take_back_is_whole_though_a_failover_was_called_off_since(calm: Bench) -> None:
    called_off = replace(lost(2), began_at=ENDED + timedelta(hours=1), outcome="aborted: its stop landed late")
    remember(calm, lost(1), called_off, back=ENDED - timedelta(seconds=1))
    said = await run(calm)
    assert (said.status, said.err) == (Exit.OK, "")


async def test_what_a_copy_lost_that_is_not_taken_back_yet_was_not_displaced_yet(calm: Bench) -> None:
    remember(calm, lost(1), replace(lost(2), began_at=ENDED + timedelta(days=1)), standing=Standing.OUTDATED)
    said = await run(calm)
    assert (said.status, said.err) == (Exit.OK, "")


async def test_a_restore_whose_list_was_not_written_leaves_its_side_unknown(calm: Bench) -> None:
    fetched = replace(
        lost(2, Site.BACKUP), kind=Kind.RESTORE, target=Site.BACKUP, restore=Restore(volume="config", path="a.xml"),
        marks=(("decided", ENDED), ("stopped", ENDED + timedelta(hours=1))),
    )  # fmt: skip
    remember(calm, lost(1), fetched)
    said = await run(calm)
    assert (
        "config at backup: unknown: a file was restored there, and no list of what was displaced is kept" in said.err
    )
    assert said.status == Exit.NOT_ALL
    put(calm, "displaced", Site.BACKUP, listed(at=ENDED))
    assert "and a file was restored there after that" in (await run(calm)).err
    put(calm, "displaced", Site.BACKUP, listed(at=ENDED + timedelta(hours=2)))
    assert (await run(calm)).status == Exit.OK


async def test_moves_that_nobody_remembers_may_have_displaced_something(calm: Bench) -> None:
    remember(calm, replace(lost(3), kind=Kind.SWITCHOVER), lost(4, Site.BACKUP))
    memory = calm.memory()
    calm.remember(replace(memory, apps={KEY: replace(memory.apps[KEY], epoch=4)}))
    calm.server.drop(f"{MAPS}/{names.displaced_object('media', 'pvc-sonarr-config')}")
    said = await run(calm)
    assert "config at primary: unknown: of 2 of its moves nothing is known any more" in said.err
    history = [{"id": f"{KEY}#{epoch}", "app": KEY, "epoch": epoch, "kind": "switchover"} for epoch in (1, 2)]
    history += [{"id": "hold", "app": KEY, "kind": "hold"}]
    lines = "\n".join(json.dumps(one) for one in history)
    calm.server.put(f"{MAPS}/{names.HISTORY}", {"data": {"history.jsonl": lines}})
    said = await run(calm)
    assert f"config at backup: unknown: it lost {KEY}#4" in said.err
    assert "config at primary: nothing" in said.out


async def test_a_list_that_cannot_be_read_or_understood_is_unknown(calm: Bench) -> None:
    name = names.displaced_object("media", "pvc-sonarr-config")
    calm.server.put(f"{MAPS}/{name}", {"data": {"stock": "{"}})
    said = await run(calm)
    assert said.status == Exit.NOT_ALL
    assert f"config at primary: unknown: ConfigMap failoverd/{name}: stock: it can't be understood" in said.err

    def refused(request: web.Request) -> web.Response | None:
        return web.json_response(status(403, "no"), status=403) if request.path.endswith(name) else None

    calm.server.fault = refused
    said = await run(calm)
    assert said.status == Exit.NOT_ALL
    assert "config at primary: unknown:" in said.err
    assert "403" in said.err


async def test_without_memory_nothing_is_listed(bench: Bench) -> None:
    said = await run(bench)
    assert said.status == Exit.REFUSED
    assert "no daemon has led there yet" in said.err


# ---------------------------------------------------------------- with guards


@pytest.fixture
def guarded(calm: Bench) -> Bench:
    (calm.folder / "config.toml").write_text(f"{CONFIG}[guard]\nenabled = true\n")
    for site in Site:
        put(calm, "guard", site, listed(at=ENDED))
    return calm


OLD_SET = aside("app.db-wal", 30, Lying.SET, lies=".failoverd/moves/m/0000/app.db-wal", move="m")
POINT = aside("app.db", 40, Lying.POINT, lies=".failoverd/points/app/1.sqlite")


async def test_sets_are_listed_with_where_they_lie_and_points_when_asked_for(guarded: Bench) -> None:
    put(guarded, "guard", Site.BACKUP, listed(OLD_SET, POINT))
    said = await run(guarded)
    (line,) = [line for line in said.out.splitlines() if "app.db-wal" in line]
    assert line.split()[:3] == ["config", "backup", "set"]
    assert line.split()[6:] == ["m", "app.db-wal,", "now", ".failoverd/moves/m/0000/app.db-wal"]
    assert " point " not in said.out
    assert "config at backup: 1 restore point, 10 bytes (its guard, 2026-11-26 15:05 UTC)" in said.out
    assert " point " in (await run(guarded, "--points")).out
    assert said.status == Exit.OK


async def test_what_a_guard_counted_otherwise_later_is_believed(guarded: Bench) -> None:
    pruned = listed(aside("a%20b.xml", 70, lies=".stversions/a b~20261126-150110.xml"), at=ENDED + timedelta(days=1))
    put(guarded, "guard", Site.PRIMARY, pruned)
    said = await run(guarded)
    assert "config at primary: 1 version, 10 bytes (its guard, 2026-11-27 15:05 UTC)" in said.out
    same = listed(aside("a%20b.xml", 70), aside("app.db", 60, size=4096), at=ENDED + timedelta(days=1), most=1)
    put(guarded, "guard", Site.PRIMARY, same)
    said = await run(guarded)
    assert "2 versions, 4.01 KiB (listed when" in said.out  # it names them all
    calm = f"{MAPS}/{names.displaced_object('media', 'pvc-sonarr-config')}"
    guarded.server.drop(calm)
    said = await run(guarded)
    assert "2 versions, 4.01 KiB, the oldest 1 not named (its guard" in said.out
    assert said.status == Exit.OK


async def test_a_guard_that_looked_before_the_take_back_ended_does_not_say_that_nothing_is_kept(
    guarded: Bench,
) -> None:
    """The move ended at 15:01, the guard looked at 15:05, the take-back ended at 15:10 and its list failed."""
    remember(guarded, lost(), back=ENDED + timedelta(minutes=5))
    guarded.server.drop(f"{MAPS}/{names.displaced_object('media', 'pvc-sonarr-config')}")
    said = await run(guarded)
    assert said.status == Exit.NOT_ALL
    assert "the newest list (its guard) is of 2026-11-26 15:05:00 UTC, and it was taken back after that" in said.err
    assert "config at primary: nothing" not in said.out
    put(guarded, "guard", Site.PRIMARY, listed(aside("a"), at=ENDED + timedelta(minutes=6)))
    said = await run(guarded)
    assert (said.status, said.err) == (Exit.OK, "")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (None, "its guard has not said what it keeps"),
        (listed(at=BEGAN), "its guard last looked at 2026-11-26 15:00 UTC, before the last move ended"),
        (replace(listed(), trouble="Permission denied: x"), "Permission denied: x"),
    ],
)
async def test_what_a_guard_does_not_say_is_unknown(guarded: Bench, change: Stock | None, why: str) -> None:
    name = names.guard_object("media", "pvc-sonarr-config-backup")
    if change is None:
        guarded.server.drop(f"{MAPS}/{name}")
    else:
        put(guarded, "guard", Site.BACKUP, change)
    said = await run(guarded)
    assert said.status == Exit.NOT_ALL
    assert f"config at backup: unknown: {why}" in said.err
    assert "config at backup: nothing" not in said.out


# ---------------------------------------------------------------- what it takes


async def test_every_request_of_a_reader_is_granted_and_no_grant_is_idle(guarded: Bench) -> None:
    for site in Site:
        mover(guarded, site, "simple", {})
    config = load(guarded.folder / "config.toml")
    grants = [one for one in reader_grants(config) if "media" not in "".join(one.names) or "config" in one.names[0]]
    guarded.server.requests.clear()
    await run(guarded)
    made = {asked(method, path, query) for method, path, query, _ in guarded.server.requests if path != "/version"}
    assert [one for one in made if not any(covers(grant, one) for grant in reader_grants(config))] == []
    assert {one[4] for one in made} == {"get"} == {verb for grant in grants for verb in grant.verbs}
    config_names = [name for grant in grants for name in grant.names if "-media" not in name]
    assert [name for name in config_names if not any(name == one[3] for one in made)] == []
    # In the daemon's pod the same is asked with its own rights, straight to the Services.
    own = daemon_grants(config)
    assert [one for one in made if one[0] == "failoverd" and not any(covers(grant, one) for grant in own)] == []


async def test_a_list_is_made_replaced_and_read_back_with_the_rights_there_are(bench: Bench) -> None:
    config = load(bench.folder / "config.toml")
    client = await Client.load(kubeconfig(bench.folder, bench.server.port))
    first, then = listed(aside("a")), listed(aside("a"), aside("b"))
    name = names.displaced_object("media", "pvc-sonarr-config")
    assert await displaced.read(client, "failoverd", name) is None
    for one in (first, then):
        await displaced.write(client, "failoverd", "media", "pvc-sonarr-config", one)
        assert await displaced.read(client, "failoverd", name) == one
    made = {asked(method, path, query) for method, path, query, _ in bench.server.requests}
    grants = daemon_grants(config)
    assert {one[4] for one in made} == {"get", "patch", "create"}
    assert [one for one in made if not any(covers(grant, one) for grant in grants)] == []
    bench.server.put(f"{MAPS}/{name}", {"data": {"stock": 7}})
    with pytest.raises(Unreadable, match="is no text"):
        await displaced.read(client, "failoverd", name)
    await client.close()
    assert rbac.expand(displaced.reader_needs(config.rules), config.rules, "failoverd")[0].names == (
        displaced.objects(config.rules.apps)
    )


@pytest.mark.parametrize(
    ("size", "said"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1024, "1 KiB"), (4106, "4.01 KiB"), (1023 * 1024, "1023 KiB"),
     (1024**2, "1 MiB"), (3 * 1024**3 // 2, "1.5 GiB"), (5000 * 1024**4, "5000 TiB")],
)  # fmt: skip
def test_amounts_are_told_in_three_digits(size: int, said: str) -> None:
    assert amount(size) == said
