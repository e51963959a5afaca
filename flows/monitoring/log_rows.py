"""Rows of the decision log: read a part at a time, whatever versions decided them."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from balancing.calibration.thresholds import DECISION_NAMES, DECLINE
from features.feature_set import FeatureArrays, FeatureSet
from features.online.events import microseconds_of
from features.vocabulary import FIRST_KNOWN, MISSING, UNKNOWN
from flows.monitoring.decided_rows import DECIDED, SEGMENT, MonitoredModel, Spans, segment_text
from flows.monitoring.feature_sample import FeatureSample, FeatureSampler
from infra.errors import WhitecrowError
from serving.answer_shapes import ModelName
from serving.decisions.export import decisions_of
from serving.decisions.personal_features import personal_features
from serving.decisions.record import StoredRecord
from serving.decisions.store import DecisionStore
from serving.exploration import is_explored

RARE = "(rare or new)"
_ROWS_AT_ONCE = 20_000
_CODES = {name: code for code, name in enumerate(DECISION_NAMES)}


class _Told(msgspec.Struct):
    """What is needed of an answer."""

    model: ModelName
    risk_score: float
    decision: str
    flags: tuple[str, ...]


_decode = msgspec.json.Decoder(_Told).decode
_Decided: TypeAlias = tuple[StoredRecord, _Told]


@dataclass(frozen=True, slots=True)
class LogRows:
    """What the log holds of a model.

    Attributes:
        frame: The columns of :data:`flows.monitoring.decided_rows.DECIDED`, and one a segment.
        window: Features of the window's rows.
        reference: Features of the rows before it that it is held against.
        n_without_features: Rows of the window whose features take no part.
    """

    frame: pl.DataFrame
    window: FeatureSample
    reference: FeatureSample
    n_without_features: int


def read_log(store: DecisionStore, model: MonitoredModel, spans: Spans, *, n_kept: int) -> LogRows:
    """Return the rows of a model in the decision log, its features in samples.

    Args:
        store: The log's database.
        model: Whose rows.
        spans: Which of them.
        n_kept: Rows of each sample.

    Raises:
        LogUnreachable: If the log does not answer.
    """
    feature_set = model.bundle.feature_set
    without = personal_features(model.bundle.contract)
    window, reference = (
        FeatureSampler(feature_set, without, n_kept=n_kept, seed=seed) for seed in (0, 1)
    )
    frames, n_without = [_empty(model)], 0
    since, until = microseconds_of(spans.since), microseconds_of(spans.until)
    translations = _Translations(model)
    for version, part in _parts(store, model, spans):
        frame, happened = _frame(part, version), _happened(part)
        in_window = (happened >= since) & (happened < until)
        translation = translations.of(version)
        if translation is None:
            frames.append(_with_segments(frame, None, model))
            n_without += int(in_window.sum())
            continue
        arrays = translation.arrays(part)
        frames.append(_with_segments(frame, arrays, model))
        is_whole = ~frame["is_degraded"].to_numpy()
        n_without += int((in_window & ~is_whole).sum())
        window.add(_taken(arrays, in_window & is_whole))
        if spans.reference_since is not None:
            before = (happened >= microseconds_of(spans.reference_since)) & (happened < since)
            reference.add(_taken(arrays, before & is_whole))
    return LogRows(pl.concat(frames), window.done(), reference.done(), n_without)


def _parts(
    store: DecisionStore, model: MonitoredModel, spans: Spans
) -> Iterator[tuple[str, list[_Decided]]]:
    """Yield records of one version at a time, no more at once than fit in little memory."""
    begin, end = microseconds_of(spans.begin), microseconds_of(spans.until)
    # A group is committed after what it holds happened; clocks may differ by less than a day.
    first = (spans.begin - timedelta(days=1)).date().isoformat()
    # Records are filed under the contract's name, which several models may share.
    contract = model.bundle.contract.name
    waiting: dict[str, list[_Decided]] = defaultdict(list)
    for record in decisions_of(store.groups(first_segment=first), {}):
        stored = record.stored
        if stored.model != contract or not begin <= _moment(stored) < end:
            continue
        told = _decode(stored.answer)
        if told.model.name != model.name:
            continue
        part = waiting[stored.model_version]
        part.append((stored, told))
        if len(part) == _ROWS_AT_ONCE:
            yield stored.model_version, waiting.pop(stored.model_version)
    yield from waiting.items()


def _moment(stored: StoredRecord) -> int:
    """Return when a row happened; when it arrived where that is not known or personal."""
    happened = stored.event_time
    return stored.received_at if happened is None else happened


def _happened(part: Sequence[_Decided]) -> NDArray[np.int64]:
    return np.array([_moment(stored) for stored, _ in part], dtype=np.int64)


def _frame(part: Sequence[_Decided], version: str) -> pl.DataFrame:
    explored = [is_explored(told.flags) for _, told in part]
    decided = [_CODES[told.decision] for _, told in part]
    columns = {
        "row_id": [stored.transaction_id or stored.decision_id for stored, _ in part],
        "happened_at": pl.Series(_happened(part)).cast(DECIDED["happened_at"]),
        "risk_score": [told.risk_score for _, told in part],
        "decision": np.where(explored, DECLINE, decided),
        "is_explored": explored,
        "is_degraded": [stored.is_degraded for stored, _ in part],
        "model_version": [version] * len(part),
        "policy_version": [stored.policy_version for stored, _ in part],
    }
    return pl.DataFrame(columns, schema=DECIDED)


def _empty(model: MonitoredModel) -> pl.DataFrame:
    return _with_segments(pl.DataFrame(schema=DECIDED), None, model)


def _with_segments(
    frame: pl.DataFrame, arrays: FeatureArrays | None, model: MonitoredModel
) -> pl.DataFrame:
    feature_set = model.bundle.feature_set
    columns = [
        pl.lit(None, dtype=pl.String) if arrays is None else _segment(name, arrays, feature_set)
        for name in model.segments
    ]
    return frame.with_columns(
        column.alias(f"{SEGMENT}{name}")
        for name, column in zip(model.segments, columns, strict=True)
    )


def _segment(name: str, arrays: FeatureArrays, feature_set: FeatureSet) -> pl.Series:
    if name in feature_set.numeric:
        return segment_text(pl.Series(arrays.numeric[:, feature_set.numeric.index(name)]))
    codes = arrays.categorical[:, feature_set.categorical.index(name)]
    words = pl.Series([None, RARE, *feature_set.vocabularies[name].values], dtype=pl.String)
    return words.gather(codes)


def _taken(arrays: FeatureArrays, chosen: NDArray[np.bool_]) -> FeatureArrays:
    return FeatureArrays(arrays.numeric[chosen], arrays.categorical[chosen])


class _Translation:
    """Turns the features that one version logged into another version's order and codes."""

    def __init__(self, logged: FeatureSet, wanted: FeatureSet) -> None:
        self._logged = logged
        self._numeric = [logged.numeric.index(name) for name in wanted.numeric]
        self._categorical = [logged.categorical.index(name) for name in wanted.categorical]
        self._codes = [
            _codes(logged.vocabularies[name].values, wanted.vocabularies[name].values)
            for name in wanted.categorical
        ]

    def arrays(self, part: Sequence[_Decided]) -> FeatureArrays:
        """Return the features of records."""
        n_numeric, n_categorical = len(self._logged.numeric), len(self._logged.categorical)
        numeric = np.frombuffer(b"".join(stored.numeric for stored, _ in part), dtype="<f4")
        numeric = numeric.reshape(len(part), n_numeric)[:, self._numeric]
        codes = np.frombuffer(b"".join(stored.categorical for stored, _ in part), dtype="<i8")
        codes = codes.reshape(len(part), n_categorical)[:, self._categorical]
        # A code below 0 stands where a personal one was; nobody reads it.
        translated = [table[np.clip(codes[:, at], 0, None)] for at, table in enumerate(self._codes)]
        categorical = np.stack(translated, axis=1) if translated else codes.astype(np.int64)
        return FeatureArrays(numeric.astype(np.float32), categorical)


class _Translations:
    """Translations by version; None for a version that is gone, or has other features."""

    def __init__(self, model: MonitoredModel) -> None:
        self._model = model
        self._known: dict[str, _Translation | None] = {}

    def of(self, version: str) -> _Translation | None:
        """Return the translation from a version's features to those of the model."""
        if version not in self._known:
            self._known[version] = self._made(version)
        return self._known[version]

    def _made(self, version: str) -> _Translation | None:
        wanted = self._model.bundle.feature_set
        try:
            logged = self._model.store.bundle(self._model.name, version).feature_set
        except WhitecrowError:
            return None
        has_all = set(wanted.names) <= set(logged.names)
        return _Translation(logged, wanted) if has_all else None


def _codes(logged: Sequence[str], wanted: Sequence[str]) -> NDArray[np.int64]:
    known = {value: code for code, value in enumerate(wanted, start=FIRST_KNOWN)}
    return np.array([MISSING, UNKNOWN, *(known.get(value, UNKNOWN) for value in logged)])
