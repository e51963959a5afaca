"""What is kept of a decision, and how it reads."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from features.online.events import microseconds_of, moment_of
from serving.answers import Answer
from serving.requests import TypedRow
from serving.scored import ScoredRow

_decode_answer = msgspec.json.Decoder(Answer).decode


class Identity(msgspec.Struct, frozen=True, gc=False):
    """What makes a row the same row again.

    Attributes:
        key: 16 bytes of the contract's id or the client's key; None where the row has neither.
        content: 16 bytes of the typed row.
        is_header: Whether the client's ``Idempotency-Key`` names the row, not the contract's id.
        packed: The row's values as the log holds them (MessagePack); empty where some of them are
            personal.
    """

    key: bytes | None
    content: bytes
    is_header: bool = False
    packed: bytes = b""


@dataclass(slots=True)
class Draft:
    """A decision on its way into the log.

    Attributes:
        identity: Under which a repetition is known.
        received_at: When the request arrived, in microseconds since 1970-01-01 UTC.
        key_id: The API key that it came with.
        row: As the contract types it.
        scored: What the scorer said, with logits and features.
        answer: As it leaves the service.
        stages: Microseconds by stage, as far as the request had come.
        counts: Whether the row becomes part of its entities' past.
        is_applied: Whether it already did, before it was written down.
    """

    identity: Identity
    received_at: int
    key_id: str | None
    row: TypedRow
    scored: ScoredRow
    answer: Answer
    stages: dict[str, int]
    counts: bool = False
    is_applied: bool = False


class RecordHead(msgspec.Struct, frozen=True, array_like=True):
    """What the decisions of one version of a model have in common.

    Attributes:
        model: Its name.
        model_version: As the answers name it.
        policy_version: As the answers name it.
        feature_set_hash: Of its features.
        columns: Of the row, those that are nobody's, in the order of their values.
        personal: Of the row, those that are sealed, in the order of their values.
        entities: Columns of entities, in the order of their pseudonyms.
        event_time: Column of the event time; None where there is none or it is personal.
        platform: Where it was scored (:func:`balancing.inference_platform.inference_platform`);
            empty in what older releases wrote.
    """

    model: str
    model_version: str
    policy_version: str
    feature_set_hash: str
    columns: tuple[str, ...]
    personal: tuple[str, ...]
    entities: tuple[str, ...]
    event_time: str | None
    platform: str = ""


_NO_HEAD = RecordHead("", "", "", "", (), (), (), None)


class StoredRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A decision as the log's bytes hold it; a new field goes before ``head``, with a default.

    Attributes:
        head_at: Which of its group's heads is its own.
        sequence: Its number among its writer's decisions, from 1.
        values: Typed values that are nobody's; datetimes with a zone, float, text or None.
        pseudonyms: Pseudonym of each entity; None where the row has none.
        numeric: float32, little-endian, in the feature set's order; NaN in place of sealed ones.
        categorical: int64, little-endian; -1 in place of sealed ones.
        logits: float32 as float.
        stages: Microseconds by stage.
        subject: Pseudonym of the data subject; None where nothing is sealed.
        sealed: A :class:`Personal`, encrypted with the subject's key.
        key: Of the row's :class:`Identity`.
        content: Of the row's :class:`Identity`.
        answer: JSON as it was sent; without its id where ids are personal.
        rules: SHA-256 of the hard rules that decided (:mod:`serving.kept_rules`); None where none
            did, or an older release wrote it.
        head: What it has in common with others; stored once for all of a group.
    """

    head_at: int
    sequence: int
    decision_id: str
    received_at: int
    key_id: str | None
    transaction_id: str | None
    values: tuple[Any, ...]
    pseudonyms: tuple[bytes | None, ...]
    numeric: bytes
    categorical: bytes
    logits: tuple[float, ...]
    stages: dict[str, int]
    is_degraded: bool
    counts: bool
    subject: bytes | None
    sealed: bytes | None
    key: bytes | None
    content: bytes
    answer: bytes
    rules: bytes | None = None
    head: RecordHead = _NO_HEAD

    @property
    def model(self) -> str:
        """Name of the model that decided."""
        return self.head.model

    @property
    def model_version(self) -> str:
        """Version of that model."""
        return self.head.model_version

    @property
    def policy_version(self) -> str:
        """Version of its policy."""
        return self.head.policy_version

    @property
    def feature_set_hash(self) -> str:
        """Hash of its features."""
        return self.head.feature_set_hash

    @property
    def row(self) -> dict[str, Any]:
        """Typed values that are nobody's, by column."""
        return dict(zip(self.head.columns, self.values, strict=True))

    @property
    def entities(self) -> dict[str, bytes]:
        """Pseudonym of each entity that the row has, by column."""
        named = zip(self.head.entities, self.pseudonyms, strict=True)
        return {name: value for name, value in named if value is not None}

    @property
    def event_time(self) -> int | None:
        """Microseconds since 1970-01-01 UTC; None where there is none or it is personal."""
        name = self.head.event_time
        moment = None if name is None else self.values[self.head.columns.index(name)]
        return None if moment is None else microseconds_of(moment)


class Personal(msgspec.Struct, frozen=True, array_like=True):
    """What only the holder of a subject's key can read.

    Attributes:
        values: Of entities and personal columns, in the order of :attr:`RecordHead.personal`.
        numeric: float32, little-endian: all of them; empty where none is personal.
        categorical: int64, little-endian; likewise.
    """

    values: tuple[Any, ...]
    numeric: bytes = b""
    categorical: bytes = b""


@dataclass(frozen=True, slots=True)
class FeatureNames:
    """Names of a feature set's columns, in order."""

    numeric: tuple[str, ...]
    categorical: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """A stored decision with its place in the log; nothing of it is personal.

    Attributes:
        writer_id: Of the process that decided.
        stored: As it is written.
        features: Names of its features; None where the log does not know them.
    """

    writer_id: str
    stored: StoredRecord
    features: FeatureNames | None = None

    @property
    def answer(self) -> Answer:
        """The answer, as the client got it."""
        return _decode_answer(self.stored.answer)

    def to_json(self) -> dict[str, Any]:
        """Return the decision as ``GET /v1/decisions/{decision_id}`` shows it."""
        stored, answer = self.stored, self.answer
        return {
            "decision_id": stored.decision_id,
            "writer_id": self.writer_id,
            "sequence": stored.sequence,
            "received_at": _iso(stored.received_at),
            "event_time": None if stored.event_time is None else _iso(stored.event_time),
            "key_id": stored.key_id,
            "id": stored.transaction_id,
            "risk_score": answer.risk_score,
            "decision": answer.decision,
            "reasons": answer.reasons,
            "flags": answer.flags,
            "at_this_score": answer.at_this_score,
            "model": answer.model,
            "feature_set_hash": stored.feature_set_hash,
            "degraded": stored.is_degraded,
            "row": stored.row,
            "entities": {name: value.hex() for name, value in stored.entities.items()},
            "features": None if self.features is None else features_by_name(stored, self.features),
            "logits": stored.logits,
            "latency_ms": {stage: spent / 1_000 for stage, spent in stored.stages.items()},
        }


def features_by_name(stored: StoredRecord, names: FeatureNames) -> dict[str, float | int | None]:
    """Return a decision's features; None where a number was missing or is sealed."""
    numeric = np.frombuffer(stored.numeric, dtype="<f4").tolist()
    categorical = np.frombuffer(stored.categorical, dtype="<i8").tolist()
    known = [None if value != value else value for value in numeric]  # noqa: PLR0124 - NaN
    codes = [None if code < 0 else code for code in categorical]
    return dict(zip((*names.numeric, *names.categorical), (*known, *codes), strict=True))


def decoded_answer(content: bytes) -> Answer:
    """Return an answer from its JSON."""
    return _decode_answer(content)


def whole_row(stored: StoredRecord, personal: Personal | None) -> Mapping[str, Any]:
    """Return the typed row as the request had it."""
    if personal is None:
        return stored.row
    return stored.row | dict(zip(stored.head.personal, personal.values, strict=True))


def _iso(microseconds: int) -> str:
    return moment_of(microseconds).isoformat(timespec="microseconds")
