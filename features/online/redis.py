"""Online state on a Redis server, for several workers and machines.

One server (with replicas, if need be), not a cluster. Each entity is a sorted set of its events,
each id a record of what was applied under it. Whatever changes the state is one script on the
server, which runs nothing else meanwhile: of two workers that hand in the same event one counts it.

A key is forgotten by itself when nothing was written to it for as long as any feature looks back,
by the server's clock, so that entities that fell silent take no memory.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any, Self

from features.durations import microseconds
from features.online import redis_scripts as scripts
from features.online.events import MICROSECONDS_PER_SECOND, Event, LabelReport
from features.online.forgetting import ForgottenEntity
from features.online.past import Past, entity_layouts, report_code
from features.online.redis_calls import Call, ScriptRunner
from features.online.redis_keys import StateKeys, as_bytes
from features.online.redis_link import RedisLink
from features.online.redis_members import (
    DIGEST_BYTES,
    MemberLayout,
    digest_in,
    event_record,
    score_of,
    word,
)
from features.online.redis_server import TIMEOUT_S, claim, connect, location_of, reachable
from features.online.redis_upkeep import RedisUpkeep
from features.online.state import (
    LATENESS,
    Applied,
    HotEntity,
    LabelCounts,
    SkewGuard,
    StateDescription,
)
from features.velocity import VelocityPlan

_APPLIED = {
    scripts.APPLIED: Applied.APPLIED,
    scripts.DUPLICATE: Applied.DUPLICATE,
    scripts.CONFLICT: Applied.CONFLICT,
    scripts.TOO_LATE: Applied.TOO_LATE,
}


class RedisState:
    """An :class:`features.online.state.OnlineState` on a server. Made by :meth:`open`."""

    def __init__(
        self,
        client: Any,
        contract: str,
        plan: VelocityPlan,
        *,
        guard: SkewGuard,
        lateness: timedelta,
    ) -> None:
        self._client = client
        self._plan = plan
        self._contract, self._state_key = contract, plan.state_key
        self._location = location_of(client)
        self._guard = guard
        self._keys = StateKeys.of(contract, plan.state_key)
        layouts = entity_layouts(plan)
        self._members = tuple(MemberLayout(layout) for layout in layouts)
        late = microseconds(lateness)
        self._retentions = [layout.horizon + late for layout in layouts]
        self._retention = max(self._retentions, default=late)
        self._seconds_to_live = -(-self._retention // MICROSECONDS_PER_SECOND)
        self._link = RedisLink(client)
        self._scripts = ScriptRunner(client, self._link)
        self._upkeep = RedisUpkeep(client, self._keys, layouts, self._retentions)

    @classmethod
    def open(
        cls,
        uri: str,
        contract: str,
        plan: VelocityPlan,
        *,
        guard: SkewGuard,
        lateness: timedelta = LATENESS,
        timeout: float = TIMEOUT_S,
    ) -> Self:
        """Open the state on a server; one that nobody has written to is empty.

        Args:
            uri: ``redis://``, ``rediss://`` or ``unix://``, with what redis-py understands after
                ``?``, for example ``socket_timeout=0.2`` (seconds).
            contract: Name of the contract.
            plan: The features that the state is for.
            guard: Refuses events of the future.
            lateness: How long after the longest look-back an event may still arrive.
            timeout: Seconds to wait for the server, unless the URI says otherwise.

        Raises:
            StateMismatch: If the keys are for another feature set, or from another release.
            StateUnreachable: If the server does not answer.
            StateServerError: If the URI is none of Redis, the server may drop keys when its
                memory is short, or redis-py is not installed.
        """
        client = connect(uri, timeout=timeout)
        try:
            with reachable(location_of(client)):
                claim(client, StateKeys.of(contract, plan.state_key).about, plan.state_key)
                return cls(client, contract, plan, guard=guard, lateness=lateness)
        except BaseException:
            client.close()
            raise

    @property
    def location(self) -> str:
        """The server, without user and password."""
        return self._location

    def past(self, events: Sequence[Event]) -> list[Past]:
        """Return the past of each event (:meth:`OnlineState.past`)."""
        names = [[each.layout.key_of(event) for each in self._members] for event in events]
        spans = self._spans(events, names)
        reads = [
            ("ZRANGEBYSCORE", self._keys.entity(name), first, last)
            for name, (first, last) in spans.items()
        ]
        found = dict(zip(spans, self._link.demand(reads), strict=True))
        return [
            tuple(
                [
                    None if name is None else members.past(found[name])
                    for name, members in zip(of_event, self._members, strict=True)
                ]
            )
            for of_event in names
        ]

    def seen(self, events: Sequence[Event]) -> list[Applied | None]:
        """Return what applying each event would find (:meth:`OnlineState.seen`)."""
        records = self._link.demand(
            [("GETRANGE", self._keys.id(event.id), 0, DIGEST_BYTES) for event in events]
        )
        return [_seen(event, record) for event, record in zip(events, records, strict=True)]

    def apply(self, events: Sequence[Event]) -> list[Applied]:
        """Store events, each once (:meth:`OnlineState.apply`).

        An event whose answer was lost with the connection is handed in again, and is then
        DUPLICATE although this call applied it.
        """
        self._guard.check_events(events)
        calls = [self._application(event) for event in events]
        return [_APPLIED[code] for code in self._scripts.run(calls)]

    def report_labels(self, reports: Sequence[LabelReport]) -> LabelCounts:
        """Record what became known (:meth:`OnlineState.report_labels`)."""
        self._guard.check_reports(reports)
        calls = [self._report(report) for report in reports]
        codes = self._scripts.run(calls)
        return LabelCounts(
            codes.count(scripts.ACCEPTED),
            codes.count(scripts.REPEATED),
            codes.count(scripts.UNKNOWN),
        )

    def load(
        self, events: Sequence[Event], reports: Sequence[LabelReport], progress: str
    ) -> list[Applied]:
        """Apply history and record how far it got (:meth:`OnlineState.load`)."""
        self._guard.check_events(events)
        self._guard.check_reports(reports)
        calls = [self._application(event) for event in events]
        calls += [self._report(report) for report in reports]
        with self._reachable():
            codes = self._scripts.run_together(calls, note=(self._keys.progress, progress))
        return [_APPLIED[code] for code in codes[: len(events)]]

    def progress(self) -> str | None:
        """Return what the last :meth:`load` recorded."""
        with self._reachable():
            found = self._client.get(self._keys.progress)
        return None if found is None else found.decode()

    def newest(self) -> int | None:
        """Return the newest event time applied (:meth:`OnlineState.newest`)."""
        with self._reachable():
            return self._upkeep.newest()

    def evict(self) -> int:
        """Drop all that no feature can look back to any more (:meth:`OnlineState.evict`)."""
        with self._reachable():
            newest = self._upkeep.newest()
            if newest is None:
                return 0
            self._upkeep.trim_entities(newest)
            return self._upkeep.forget_ids(newest - self._retention)

    def forget_entity(self, column: str, value: str) -> int:
        """Drop what is stored under a value (:meth:`OnlineState.forget_entity`)."""
        with self._reachable():
            return self._upkeep.forget_entity(ForgottenEntity(self._plan, column, value))

    def hot_entities(self, n: int) -> list[HotEntity]:
        """Return the entities with the most events (:meth:`OnlineState.hot_entities`)."""
        with self._reachable():
            return self._upkeep.hottest(n)

    def describe(self) -> StateDescription:
        """Return what the server holds; of many keys the bytes are extrapolated."""
        with self._reachable():
            n_entities, entity_bytes = self._upkeep.measure_entities()
            n_ids, id_bytes = self._upkeep.measure_ids()
            newest = self._upkeep.newest()
        return StateDescription(
            location=self._location,
            contract=self._contract,
            state_key=self._state_key,
            newest_event_time=newest,
            n_entities=n_entities,
            n_events=n_ids,
            n_bytes=entity_bytes + id_bytes,
        )

    def close(self) -> None:
        """Let go of the connections."""
        self._link.close()
        self._client.close()

    def _reachable(self) -> AbstractContextManager[None]:
        return reachable(self._location)

    def _spans(
        self, events: Sequence[Event], names: Sequence[Sequence[str | None]]
    ) -> dict[str, tuple[int, int]]:
        """Return, by entity, the first and last second that any of its rows looks at."""
        spans: dict[str, tuple[int, int]] = {}
        for event, of_event in zip(events, names, strict=True):
            last = score_of(event.event_time)
            for name, members in zip(of_event, self._members, strict=True):
                if name is not None:
                    first = score_of(event.event_time - members.layout.horizon)
                    known = spans.get(name, (first, last))
                    spans[name] = (min(first, known[0]), max(last, known[1]))
        return spans

    def _application(self, event: Event) -> Call:
        digest = event.digest
        keys = [self._keys.id(event.id), self._keys.newest, self._keys.hot]
        places: list[bytes] = []
        of_entities: list[bytes | int] = []
        for members, retention in zip(self._members, self._retentions, strict=True):
            name = members.layout.key_of(event)
            if name is None:
                continue
            keys.append(self._keys.entity(name))
            has_report = members.layout.labels
            of_entities += [members.pack(event, digest), retention, int(has_report)]
            if has_report:
                places.append(as_bytes(name))
        arguments: list[bytes | int] = [event_record(event, digest, places), digest]
        arguments += [event.event_time, score_of(event.event_time)]
        arguments += [self._retention, self._seconds_to_live, *of_entities]
        return Call(scripts.APPLY, keys, arguments)

    def _report(self, report: LabelReport) -> Call:
        keys = (self._keys.id(report.id), self._keys.newest)
        how_long = (self._retention, self._seconds_to_live)
        code = word(report_code(report))
        return Call(
            scripts.REPORT, keys, (code, report.reported_at, *how_long, self._keys.entities)
        )


def _seen(event: Event, record: bytes) -> Applied | None:
    digest = digest_in(record)
    if digest is None:
        return None
    return Applied.DUPLICATE if digest == event.digest else Applied.CONFLICT
