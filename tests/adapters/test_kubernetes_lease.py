import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web

from failoverd.adapters.kubernetes.client import KubeError
from failoverd.adapters.kubernetes.lease import (
    CONFIG_HASH,
    LeaseLeadership,
    LeaseTimings,
    identity,
    micro_time,
)
from failoverd.clock import SystemClock
from tests.adapters.apiserver import HandClock, status

LEASE = "/apis/coordination.k8s.io/v1/namespaces/failoverd/leases/failoverd"


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def make(client, clock):
    def make(holder: str, config: str = "c1", timings: LeaseTimings | None = None) -> LeaseLeadership:
        return LeaseLeadership(client, clock, namespace="failoverd", holder=holder, config=config, timings=timings)

    return make


def leads(leadership: LeaseLeadership, clock: HandClock) -> bool:
    return leadership.instance(clock.now()).leader


def failing(code: int):
    return lambda _: web.json_response(status(code, "no"), status=code)


async def test_the_first_instance_makes_the_lease_and_leads(server, clock, make):
    one = make("one")
    assert not leads(one, clock)
    assert await one.turn()
    spec = server.objects[LEASE]["spec"]
    assert (spec["holderIdentity"], spec["leaseDurationSeconds"], spec["leaseTransitions"]) == ("one", 17, 0)
    assert spec["renewTime"] == "2026-11-23T12:00:00.000000Z"
    assert server.objects[LEASE]["metadata"]["annotations"] == {CONFIG_HASH: "c1"}


async def test_a_second_instance_waits_a_whole_duration_without_a_change(server, clock, make):
    one, two = make("one"), make("two")
    await one.turn()
    assert not await two.turn()
    assert two.instance(clock.now()).holder == "one"
    clock.pass_(16.9)
    assert not await two.turn()
    clock.pass_(0.2)
    assert await two.turn()
    assert two.generation == 1
    assert not leads(one, clock)
    assert not await one.turn()


async def test_a_second_instance_does_not_sleep_past_the_end_of_the_wait(clock, make):
    one, two = make("one"), make("two")
    await one.turn()
    await two.turn()
    clock.pass_(16.5)
    assert max(two.pause(clock.now().mono) for _ in range(20)) <= timedelta(seconds=0.5)
    clock.pass_(0.5)
    assert await two.turn()


async def test_who_gains_the_lead_goes_on_at_once(client):
    wake, stop = asyncio.Event(), asyncio.Event()
    one = LeaseLeadership(client, SystemClock(), namespace="failoverd", holder="one", wake=wake)
    task = asyncio.create_task(one.run(stop))
    await asyncio.wait_for(wake.wait(), 10)
    assert one.instance(SystemClock().now()).leader
    stop.set()
    await task


async def test_every_change_that_is_seen_starts_the_wait_anew(clock, make):
    one, two = make("one"), make("two")
    await one.turn()
    for _ in range(6):
        assert not await two.turn()
        clock.pass_(10)
        assert await one.turn()


async def test_a_stale_renew_time_of_another_clock_proves_nothing(server, clock, make):
    old = {"holderIdentity": "one", "renewTime": "2001-01-01T00:00:00.000000Z", "leaseDurationSeconds": 17}
    server.put(LEASE, {"spec": old})
    assert not await make("two").turn()


async def test_the_lead_ends_at_the_deadline_when_nothing_answers(server, clock, make):
    one = make("one")
    await one.turn()
    server.fault = failing(500)
    clock.pass_(11.9)
    assert await one.turn()
    assert "500" in one.trouble
    clock.pass_(0.2)
    assert not leads(one, clock)


async def test_the_deadline_counts_from_before_the_request(server, clock, make):
    one = make("one")
    await one.turn()
    clock.pass_(7)

    def slow(request: web.Request) -> None:
        clock.pass_(2)

    server.fault = slow
    assert await one.turn()
    server.fault = None
    clock.pass_(9.9)
    assert leads(one, clock)
    clock.pass_(0.2)
    assert not leads(one, clock)


async def test_leaders_never_overlap_when_the_renewals_of_one_are_lost(server, clock, make):
    one, two = make("one"), make("two")
    await one.turn()
    await two.turn()
    both = 0
    for second in range(200):
        cut = second % 60 > 20
        server.fault = failing(503) if cut else None
        await one.turn()
        server.fault = None
        await two.turn()
        both += leads(one, clock) and leads(two, clock)
        clock.pass_(1)
    assert both == 0
    assert two.generation >= 1


async def test_a_conflict_is_the_loss_of_the_lead_when_another_holds_it(server, clock, make):
    one = make("one")
    await one.turn()
    lease = server.objects[LEASE]
    server.put(LEASE, {**lease, "spec": {**lease["spec"], "holderIdentity": "two"}})
    assert leads(one, clock)
    clock.pass_(5)
    assert not await one.turn()
    assert server.objects[LEASE]["spec"]["holderIdentity"] == "two"


async def test_a_conflict_by_somebody_elses_annotation_costs_nothing(server, clock, make):
    one = make("one")
    await one.turn()
    lease = server.objects[LEASE]
    lease["metadata"]["annotations"]["note"] = "by hand"
    server.put(LEASE, lease)
    clock.pass_(7)
    assert await one.turn()
    assert server.objects[LEASE]["metadata"]["annotations"]["note"] == "by hand"
    assert one.generation == 0


async def test_a_look_that_shows_another_holder_ends_the_lead_at_once(server, clock, make):
    one = make("one")
    await one.turn()
    clock.pass_(1)
    lease = server.objects[LEASE]
    server.put(LEASE, {**lease, "spec": {**lease["spec"], "holderIdentity": "two"}})
    await one.look()
    assert not leads(one, clock)


async def test_a_renewal_that_was_carried_out_but_not_answered_is_recovered(server, clock, make):
    one = make("one")
    await one.turn()
    clock.pass_(7)

    def swallow(request: web.Request) -> None:
        if request.method == "PUT":
            lease = server.objects[LEASE]
            server.put(LEASE, {**lease, "spec": {**lease["spec"], "renewTime": "later"}})
            request.transport.abort()  # type: ignore[union-attr]

    server.fault = swallow
    assert await one.turn()
    server.fault = None
    clock.pass_(4)
    assert await one.turn()
    clock.pass_(11)
    assert leads(one, clock)


async def test_release_lets_the_other_one_in_at_once(server, clock, make):
    one, two = make("one"), make("two")
    await one.turn()
    await two.turn()
    await one.release()
    assert not leads(one, clock)
    clock.pass_(1)
    assert await two.turn()
    assert two.generation == 1


async def test_an_instance_that_does_not_lead_releases_nothing(server, clock, make):
    one, two = make("one"), make("two")
    await one.turn()
    await two.turn()
    await two.release()
    assert server.objects[LEASE]["spec"]["holderIdentity"] == "one"


async def test_a_lease_that_vanishes_is_not_taken_while_its_holder_may_still_act(server, clock, make):
    one, two = make("one"), make("two")
    await one.turn()
    await two.turn()
    server.drop(LEASE)
    clock.pass_(1)
    assert not await two.turn()
    clock.pass_(17)
    assert await two.turn()


async def test_another_configuration_waits_longer_and_says_so(server, clock, make):
    one, two, same = make("one"), make("two", config="c2"), make("same")
    await one.turn()
    await two.turn()
    await same.turn()
    await one.release()
    clock.pass_(1)
    assert not await two.turn()
    assert two.mismatch == "the Lease was last held under configuration c1, this is c2"
    assert await same.turn()
    await same.release()
    clock.pass_(1)
    await two.turn()
    clock.pass_(17)
    assert await two.turn()
    assert two.mismatch == ""


async def test_an_act_is_preceded_by_a_read_on_a_new_connection_at_most_once_a_second(server, clock, make):
    one = make("one")
    await one.turn()
    before = server.count("GET", "leases")
    clock.pass_(0.1)
    assert all(await asyncio.gather(*(one.fresh(clock.now()) for _ in range(5))))
    assert server.count("GET", "leases") == before + 1
    clock.pass_(1.1)
    assert await one.fresh(clock.now())
    assert server.count("GET", "leases") == before + 2


async def test_a_machine_that_was_paused_with_its_clock_leads_no_more_until_it_has_looked(server, clock, make):
    old, new = make("old"), make("new")
    assert await old.turn()
    assert await old.fresh(clock.now())
    clock.wall += timedelta(seconds=60)  # paused for a minute: its monotonic clock stood still
    taken = {**server.objects[LEASE]["spec"], "holderIdentity": new.holder, "leaseTransitions": 1}
    server.put(LEASE, {"metadata": dict(server.objects[LEASE]["metadata"]), "spec": taken})
    assert not old.instance(clock.now()).leader
    assert not await old.fresh(clock.now())
    assert not await old.turn()


async def test_a_clock_that_is_set_forward_costs_one_renewal(server, clock, make):
    one = make("one")
    assert await one.turn()
    clock.wall += timedelta(hours=2)
    assert not one.instance(clock.now()).leader
    assert await one.turn()
    assert one.instance(clock.now()).leader
    clock.wall -= timedelta(hours=2)  # set back: no time is missing
    assert one.instance(clock.now()).leader


async def test_an_act_is_not_allowed_when_the_lease_cannot_be_read_or_is_anothers(server, clock, make):
    one = make("one")
    await one.turn()
    clock.pass_(1)
    server.fault = failing(500)
    assert not await one.fresh(clock.now())
    server.fault = None
    assert await one.fresh(clock.now())
    clock.pass_(2)
    lease = server.objects[LEASE]
    server.put(LEASE, {**lease, "spec": {**lease["spec"], "holderIdentity": "two"}})
    assert not await one.fresh(clock.now())


async def test_a_look_is_also_the_clock_even_when_there_is_no_lease(server, make):
    date = await make("one").look()
    assert date is not None
    assert abs(date - datetime.now(UTC)) < timedelta(seconds=3)
    server.fault = failing(403)
    with pytest.raises(KubeError):
        await make("one").look()


async def test_a_running_instance_renews_by_itself_and_gives_the_lead_back(server, client, tmp_path):
    second = timedelta(seconds=1)
    timings = LeaseTimings(renew=0.2 * second, retry=0.1 * second, deadline=0.6 * second, duration=second)
    clock, stop = SystemClock(), asyncio.Event()
    one = LeaseLeadership(client, clock, namespace="failoverd", holder="one", timings=timings)
    task = asyncio.create_task(one.run(stop))
    await asyncio.sleep(1.2)
    assert one.instance(clock.now()).leader
    assert 4 <= server.count("PUT") <= 9
    stop.set()
    await asyncio.wait_for(task, 2)
    assert server.objects[LEASE]["spec"]["holderIdentity"] == ""


@pytest.mark.parametrize(("deadline", "duration"), [(7, 17), (12, 12), (18, 17)])
def test_timings_that_cannot_be_safe_are_refused(deadline, duration):
    with pytest.raises(ValueError, match="leadership"):
        LeaseTimings(deadline=timedelta(seconds=deadline), duration=timedelta(seconds=duration))


def test_times_always_have_six_decimals():
    assert micro_time(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) == "2026-01-02T03:04:05.000000Z"


def test_two_processes_of_one_host_have_different_names():
    assert identity() != identity()


def test_two_processes_of_one_name_are_two_holders():
    one, other = identity("failoverd-7d9"), identity("failoverd-7d9")
    assert one != other
    assert {name.rpartition("_")[0] for name in (one, other)} == {"failoverd-7d9"}
