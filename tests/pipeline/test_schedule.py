"""The schedule: every unit once, nothing before what it needs, never more than a lane holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.plan import Job, Plan, RunConfig
from pipeline.records import Candidate
from pipeline.schedule import Schedule, Unit, lane_of, phases
from pipeline.stage import Context, Example, Stage


class Work(Stage):
    """Uses the engines it is told to."""

    aliases: tuple[str, ...] = ()

    def engines(self) -> tuple[str, ...]:
        return self.aliases

    async def process(self, example: Example[Candidate], ctx: Context) -> Sequence[Candidate]:
        return []


def plan_of(*jobs: tuple[str, tuple[str, ...], tuple[str, ...]]) -> Plan:
    """Jobs as (name, inputs, engines)."""
    made = {n: Job(n, Work(aliases=engines), inputs, {}) for n, inputs, engines in jobs}
    return Plan(RunConfig(name="t", jobs=[{}]), {}, made)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    jobs: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = []
    for i in range(draw(st.integers(1, 5))):
        wanted = draw(st.lists(st.sampled_from(range(i)), unique=True, max_size=i)) if i else []
        closed = {j for w in wanted for j in (f"j{w}", *jobs[w][1])} | ({"j0"} if i else set())
        engines = draw(st.sampled_from([(), ("a",), ("b",), ("a", "b")]))
        jobs.append((f"j{i}", tuple(sorted(closed)), engines))
    return plan_of(*jobs)


@given(plan=plans(), n_shards=st.integers(0, 5), window=st.integers(1, 4), draw=st.integers(0, 2**31).map(Random))
@settings(max_examples=60)
def test_every_unit_is_worked_once_in_order_and_within_bounds(
    plan: Plan, n_shards: int, window: int, draw: Random
) -> None:
    units = [(name, shard) for name in plan.jobs for shard in range(n_shards)]
    at_first = set(draw.sample(units, draw.randint(0, len(units))))  # what an earlier run left, in any pattern
    done = set(at_first)
    schedule = Schedule(plan, list(plan.jobs), {n: {s for m, s in done if m == n} for n in plan.jobs}, n_shards)
    worked: Counter[Unit] = Counter()
    running: list[Unit] = []
    for _ in range(1000):
        if schedule.over:
            break
        slots = {lane: draw.randint(0, 3) for lane in (None, "a", "b")}
        before = Counter(lane_of(plan.jobs[name]) for name, _ in running)
        taken = schedule.take(window, slots.__getitem__)
        assert not done & set(taken)
        assert all((i, shard) in done for name, shard in taken for i in plan.jobs[name].inputs)
        running += taken
        lanes = Counter(lane_of(plan.jobs[name]) for name, _ in running)
        assert all(n <= max(slots[lane], before[lane]) for lane, n in lanes.items())
        assert len({shard for _, shard in running}) <= window
        if running:
            unit = running.pop(draw.randrange(len(running)))
            if draw.random() < 0.25:
                schedule.failed(unit)
            else:
                schedule.finished(unit)
                worked[unit] += 1
                done.add(unit)
    assert schedule.over
    assert worked == Counter(set(units) - at_first)


@given(plan=plans(), n_shards=st.integers(1, 6), window=st.integers(1, 4))
def test_one_slot_a_lane_is_enough_to_finish(plan: Plan, n_shards: int, window: int) -> None:
    schedule = Schedule(plan, list(plan.jobs), {}, n_shards)
    for _ in range(len(plan.jobs) * n_shards + 1):
        for unit in schedule.take(window, lambda lane: 1):
            schedule.finished(unit)
    assert schedule.over


def test_a_shard_goes_on_while_others_have_not_begun() -> None:
    plan = plan_of(("src", (), ()), ("gen", ("src",), ("a",)), ("rate", ("src", "gen"), ("b",)))
    schedule = Schedule(plan, list(plan.jobs), {"src": {0, 1, 2}}, 3)
    assert schedule.take(3, lambda lane: 1) == [("gen", 0)]
    schedule.finished(("gen", 0))
    assert schedule.take(3, lambda lane: 1) == [("rate", 0), ("gen", 1)]


def test_a_lane_without_a_living_replica_waits() -> None:
    schedule = Schedule(plan_of(("gen", (), ("a",))), ["gen"], {}, 2)
    assert schedule.take(2, lambda lane: 0) == []
    assert schedule.take(2, lambda lane: 2) == [("gen", 0), ("gen", 1)]


def test_phases_split_where_the_engines_change() -> None:
    plan = plan_of(
        ("src", (), ()), ("gen", ("src",), ("a",)), ("check", ("src", "gen"), ()), ("rate", ("src", "gen"), ("b",)),
        ("pair", ("src", "rate"), ()), ("explain", ("src", "pair"), ("b",)), ("more", ("src",), ("a",)),
    )  # fmt: skip
    assert phases(plan, staged=True) == [("src", "gen", "check"), ("rate", "pair", "explain"), ("more",)]
    assert phases(plan, staged=False) == [tuple(plan.jobs)]


@given(plans())
def test_phases_hold_every_job_once_in_order(plan: Plan) -> None:
    assert [name for phase in phases(plan, staged=True) for name in phase] == list(plan.jobs)
    for phase in phases(plan, staged=True):
        assert len({plan.jobs[n].stage.engines() for n in phase if plan.jobs[n].stage.engines()}) <= 1
