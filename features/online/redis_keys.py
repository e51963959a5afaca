"""Names of the keys that an online state has on a Redis server."""

from dataclasses import dataclass

_STATE_KEY_SIGNS = 12


@dataclass(frozen=True, slots=True)
class StateKeys:
    """The keys of one state: ``whitecrow:{CONTRACT:STATE_KEY}:`` and what follows.

    What stands in braces keeps them together where a proxy spreads keys over servers.

    Attributes:
        prefix: How every key begins.
        about: What the state was made for.
        newest: The newest event time applied, in microseconds.
        progress: How far history has been loaded.
        hot: Sorted set of the entities with many events.
        entities: How the keys of entities begin; each is a sorted set of members.
        ids: How the keys of ids begin; each is a record.
    """

    prefix: bytes
    about: bytes
    newest: bytes
    progress: bytes
    hot: bytes
    entities: bytes
    ids: bytes

    @classmethod
    def of(cls, contract: str, state_key: str) -> "StateKeys":
        """Return the keys of the state of a contract's feature set."""
        prefix = f"whitecrow:{{{contract}:{state_key[:_STATE_KEY_SIGNS]}}}:".encode()
        parts = (b"about", b"newest", b"progress", b"hot", b"e:", b"i:")
        return cls(prefix, *(prefix + part for part in parts))

    def entity(self, name: str) -> bytes:
        """Return the key of an entity, named as ``EntityLayout.key_of`` does."""
        return self.entities + as_bytes(name)

    def entity_name(self, key: bytes) -> str:
        """Return the name of the entity of a key."""
        return key[len(self.entities) :].decode("utf-8", "surrogatepass")

    def id(self, event_id: str) -> bytes:
        """Return the key of an event's id."""
        return self.ids + as_bytes(event_id)


def as_bytes(text: str) -> bytes:
    """Return any text that Python can hold as bytes."""
    return text.encode("utf-8", "surrogatepass")
