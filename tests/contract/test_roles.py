"""Contract: two sides with roles. What flows, what does not, and how a side that fell behind is taken back.

Volume data of sonarr, while its app stands still, so that nothing else writes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.contract.worlds import (
    DEPLOYMENTS,
    FOLDER,
    HOLD,
    HOLDING,
    World,
    act,
    escaped,
    folder,
    ignore,
    op,
    patch,
    patient,
    pods,
    ready,
    scan,
    status,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")

SONARR = f"{DEPLOYMENTS}/sonarr"
ACTIVE, STANDBY = "sonarr-primary", "sonarr-backup"
SIDES = (ACTIVE, STANDBY)
WITH = {"folder": FOLDER}
KEEP = {"type": "simple", "params": {"keep": "1000000", "cleanoutDays": "0"}}


async def device(world: World, source: str) -> str:
    return str((await world.mover(source, "GET", "/rest/system/status")).json["myID"])


async def start(world: World, source: str) -> str:
    return str((await patient(world, source, "GET", "/rest/system/status")).json["startTime"])


async def equal(world: World) -> bool:
    """Whether both sides hold the same, by their own words."""
    here, there = await status(world, ACTIVE), await status(world, STANDBY)
    known = (there["remoteSequence"] or {}).get(await device(world, ACTIVE), -1)
    return known >= here["sequence"] and all(side["needTotalItems"] == 0 for side in (here, there))


@pytest_asyncio.fixture(scope="class", loop_scope="session")
async def still(world: World) -> AsyncIterator[None]:
    """sonarr is stopped and held, its shared memory ignored, its sides equal; afterwards all is as it was."""
    began = await start(world, ACTIVE)
    assert (await patch(world, SONARR, HOLDING, op("replace", "/spec/replicas", 0))).status == 200

    async def stopped() -> bool:
        return not await pods(world, "sonarr")

    await world.until(stopped, 60, "no pod of sonarr")

    async def followed() -> bool:
        return await start(world, ACTIVE) > began

    # Movers follow their app, and restart for it, within 20 s.
    await world.until(followed, 45, "the mover has restarted")
    for source in SIDES:
        await ignore(world, source, "lost+found", "(?d)*-shm")
    yield
    for name in ("told.txt", "untold.txt", "one.txt"):
        world.remove(ACTIVE, name)
    await scan(world, ACTIVE)
    for source in SIDES:
        await ignore(world, source, "lost+found")
    mark = f"/metadata/annotations/{escaped(HOLD)}"
    assert (await patch(world, SONARR, op("replace", "/spec/replicas", 1), op("remove", mark))).status == 200

    async def started() -> bool:
        return [ready(pod) for pod in await pods(world, "sonarr")] == ["True"]

    await world.until(started, 60, "sonarr is Ready again")


@pytest_asyncio.fixture(loop_scope="session")
async def roles(world: World, still: None) -> AsyncIterator[None]:
    """The active side only sends, the standby only receives, and both hold the same; afterwards VolSync's type."""
    await folder(world, STANDBY, type="receiveonly")
    await folder(world, ACTIVE, type="sendonly")
    await scan(world, STANDBY)
    await act(world, STANDBY, "revert")
    await act(world, ACTIVE, "override")
    await scan(world, ACTIVE)
    await world.until(lambda: equal(world), 60, "both sides hold the same")
    yield
    for source in SIDES:
        await folder(world, source, type="sendreceive", versioning={"type": ""})


async def until_held(world: World, source: str, name: str) -> None:
    async def there() -> bool:
        return world.holds(source, name)

    await world.until(there, 30, f"{name} at {source}")


async def until_content(world: World, source: str, name: str) -> None:
    async def same() -> bool:
        return bool((await status(world, source))["needTotalItems"] == 0)

    await world.until(same, 40, f"{source} lacks nothing")


class TestRoles:
    """One pair of sides, while its app stands still."""

    async def test_what_is_scanned_arrives_and_is_acknowledged_by_its_sequence(
        self, world: World, roles: None
    ) -> None:
        world.write(ACTIVE, "told.txt")
        sequence = (await scan(world, ACTIVE))["sequence"]
        await until_held(world, STANDBY, "told.txt")
        await world.until(lambda: equal(world), 30, "the standby holds all of it")
        peer = await device(world, ACTIVE)
        assert (await status(world, STANDBY))["remoteSequence"][peer] == sequence
        assert (await status(world, ACTIVE))["sequence"] == sequence

    async def test_errors_are_null_when_there_are_none(self, world: World, roles: None) -> None:
        for source in SIDES:
            found = (await world.mover(source, "GET", "/rest/folder/errors", page="1", perpage="100", **WITH)).json
            assert (found["folder"], found["errors"]) == (FOLDER, None)
            assert (await status(world, source))["errors"] == 0

    async def test_what_is_not_scanned_is_not_missed_by_anybody(self, world: World, roles: None) -> None:
        world.write(ACTIVE, "untold.txt")
        there = await status(world, STANDBY)
        completion = (await world.mover(ACTIVE, "GET", "/rest/db/completion", **WITH)).json
        assert (there["needTotalItems"], completion["completion"]) == (0, 100)
        await scan(world, ACTIVE)
        await until_held(world, STANDBY, "untold.txt")

    async def test_a_deletion_arrives_too(self, world: World, roles: None) -> None:
        world.write(ACTIVE, "brief.txt")
        await scan(world, ACTIVE)
        await until_held(world, STANDBY, "brief.txt")
        world.remove(ACTIVE, "brief.txt")
        await scan(world, ACTIVE)

        async def gone() -> bool:
            return not world.holds(STANDBY, "brief.txt")

        assert await world.until(gone, 30, "the deletion at the standby")

    async def test_a_standby_keeps_its_own_changes_to_itself_until_they_are_reverted(
        self, world: World, roles: None
    ) -> None:
        world.write(STANDBY, "stray.txt")
        found = await scan(world, STANDBY)
        assert found["receiveOnlyTotalItems"] == 1
        await world.seconds(3)
        assert not world.holds(ACTIVE, "stray.txt")
        assert (await status(world, ACTIVE))["needTotalItems"] == 0
        await act(world, STANDBY, "revert")

        async def reverted() -> bool:
            return bool((await status(world, STANDBY))["receiveOnlyTotalItems"] == 0)

        assert await world.until(reverted, 30, "the change is reverted")
        assert not world.holds(STANDBY, "stray.txt")

    async def test_override_and_revert_on_the_wrong_side_do_nothing(self, world: World, roles: None) -> None:
        before = [await status(world, source) for source in SIDES]
        await act(world, ACTIVE, "revert")
        await act(world, STANDBY, "override")
        await world.seconds(2)
        counted = ("sequence", "needTotalItems", "receiveOnlyTotalItems", "localFiles")
        after = [await status(world, source) for source in SIDES]
        assert [[side[name] for name in counted] for side in after] == [
            [side[name] for name in counted] for side in before
        ]

    async def test_two_that_only_send_leave_each_other_alone(self, world: World, roles: None) -> None:
        await folder(world, STANDBY, type="sendonly")
        world.write(ACTIVE, "one.txt")
        await scan(world, ACTIVE)
        world.write(STANDBY, "other.txt")
        await scan(world, STANDBY)

        async def noticed() -> bool:
            return all([(await status(world, source))["needTotalItems"] == 1 for source in SIDES])

        assert await world.until(noticed, 30, "each side lacks what the other has")
        assert not world.holds(STANDBY, "one.txt")
        assert not world.holds(ACTIVE, "other.txt")
        world.remove(STANDBY, "other.txt")
        await scan(world, STANDBY)
        await folder(world, STANDBY, type="receiveonly")
        await until_content(world, STANDBY, "one.txt")

    async def test_a_side_that_fell_behind_is_taken_back_and_what_it_loses_is_kept(
        self, world: World, roles: None
    ) -> None:
        """The proven order: one patch for receiveonly and versioning, override at the survivor, then revert."""
        await folder(world, STANDBY, type="sendonly")
        world.write(STANDBY, "stale.txt")
        await scan(world, STANDBY)

        async def lacking() -> bool:
            return bool((await status(world, ACTIVE))["needTotalItems"] == 1)

        await world.until(lacking, 30, "the survivor sees what it lacks")
        await folder(world, STANDBY, type="receiveonly", versioning=KEEP)
        await scan(world, ACTIVE)
        await act(world, ACTIVE, "override")

        async def overridden() -> bool:
            return bool((await status(world, ACTIVE))["needTotalItems"] == 0)

        await world.until(overridden, 30, "the survivor's copy is the newest")
        await act(world, STANDBY, "revert")

        async def taken_back() -> bool:
            found = await status(world, STANDBY)
            return found["receiveOnlyTotalItems"] == 0 and await equal(world)

        await world.until(taken_back, 40, "the returned side holds what the survivor holds")
        assert not world.holds(STANDBY, "stale.txt")
        assert not world.holds(ACTIVE, "stale.txt")
        kept = (await world.mover(STANDBY, "GET", "/rest/folder/versions", **WITH)).json
        assert len(kept["stale.txt"]) == 1
        assert {"versionTime", "modTime", "size"} <= set(kept["stale.txt"][0])
