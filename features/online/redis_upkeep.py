"""Upkeep of the Redis state: what walks through all of its keys, a page at a time."""

from collections.abc import Iterator, Sequence
from typing import Any

from features.online.forgetting import ForgottenEntity
from features.online.past import EntityLayout, key_text, layout_number
from features.online.redis_keys import StateKeys
from features.online.redis_members import score_of
from features.online.redis_scripts import FORGET, HOT_EVENTS
from features.online.state import HotEntity

_KEYS_AT_ONCE = 500
_MEASURED_KEYS = 10_000


class RedisUpkeep:
    """Looks at all that a state holds.

    Args:
        client: A ``redis.Redis``.
        keys: Of the state.
        layouts: By the number that an entity's name begins with.
        retentions: By layout, how long events are kept, in microseconds.
    """

    def __init__(
        self,
        client: Any,
        keys: StateKeys,
        layouts: Sequence[EntityLayout],
        retentions: Sequence[int],
    ) -> None:
        self._client = client
        self._keys = keys
        self._layouts = layouts
        self._retentions = retentions

    def newest(self) -> int | None:
        """Return the newest event time applied; None before the first event."""
        found = self._client.get(self._keys.newest)
        return None if found is None else int(found)

    def trim_entities(self, newest: int) -> None:
        """Drop the events of every entity that no feature can look back to."""
        for keys in self._pages(self._keys.entities):
            pipeline = self._client.pipeline(transaction=False)
            for key in keys:
                layout = layout_number(self._keys.entity_name(key))
                cutoff = score_of(newest - self._retentions[layout])
                pipeline.execute_command("ZREMRANGEBYSCORE", key, "-inf", f"({cutoff}")
            pipeline.execute()

    def forget_ids(self, cutoff: int) -> int:
        """Forget the ids of events before a moment and return how many there were."""
        pages = self._pages(self._keys.ids)
        return sum(self._client.eval(FORGET, len(keys), *keys, cutoff) for keys in pages)

    def forget_entity(self, forgotten: ForgottenEntity) -> int:
        """Delete the entities about one value and return how many there were."""
        keys = [self._keys.entity(name) for name in forgotten.alone]
        for prefix in forgotten.paired:
            for page in self._pages(self._keys.entity(prefix)):
                names = {key: self._keys.entity_name(key) for key in page}
                keys += [key for key, name in names.items() if forgotten.is_named(name)]
        if not keys:
            return 0
        self._client.zrem(self._keys.hot, *keys)
        n_gone: int = self._client.delete(*keys)
        return n_gone

    def hottest(self, n: int) -> list[HotEntity]:
        """Return the ``n`` hot entities with the most events, largest first."""
        keys = self._client.zrevrange(self._keys.hot, 0, n - 1)
        pipeline = self._client.pipeline(transaction=False)
        for key in keys:
            pipeline.zcard(key)
        # By now some may have expired.
        sizes = zip(keys, pipeline.execute(), strict=True)
        found = [self._hot(key, size) for key, size in sizes if size > HOT_EVENTS]
        return sorted(found, key=lambda hot: hot.n_events, reverse=True)

    def measure_entities(self) -> tuple[int, int]:
        """Return how many entities there are, and about how many bytes they take."""
        return self._measure(self._keys.entities)

    def measure_ids(self) -> tuple[int, int]:
        """Return how many ids are remembered, and about how many bytes they take."""
        return self._measure(self._keys.ids)

    def _measure(self, prefix: bytes) -> tuple[int, int]:
        """Count the keys with a prefix; of many, the bytes are those of the first, scaled up."""
        n_keys = n_measured = n_bytes = 0
        for keys in self._pages(prefix):
            n_keys += len(keys)
            if n_measured < _MEASURED_KEYS:
                pipeline = self._client.pipeline(transaction=False)
                for key in keys:
                    pipeline.execute_command("MEMORY USAGE", key)
                n_bytes += sum(size or 0 for size in pipeline.execute())
                n_measured += len(keys)
        return n_keys, n_bytes * n_keys // max(n_measured, 1)

    def _hot(self, key: bytes, n_events: int) -> HotEntity:
        name = self._keys.entity_name(key)
        layout = self._layouts[layout_number(name)]
        return HotEntity(layout.entity, key_text(layout, name), n_events)

    def _pages(self, prefix: bytes) -> Iterator[list[bytes]]:
        cursor = 0
        while True:
            cursor, keys = self._client.scan(cursor, prefix + b"*", _KEYS_AT_ONCE)
            if keys:
                yield keys
            if not cursor:
                return
