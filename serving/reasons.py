"""Why a row was stopped: occlusion by benign references on the served model itself.

One feature after the other is replaced by its benign reference, and the row is scored again by
the same network and the same policy. The effect of a feature is how far the risk score drops.
"""

import re
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from features.contract import Contract
from features.feature_set import FeatureArrays, FeatureSet
from features.segments import SegmentArray
from serving.answer_shapes import Reason
from serving.velocity_words import velocity_columns, velocity_words

MOST_REASONS = 4

_OCCLUDED_ROWS_AT_ONCE = 1 << 16
_DEFAULT_TEXT = {
    "transactions": "{column} is unusual for a legitimate transaction",
    "loans": "{column} differs from that of loans that were repaid",
}

Benign = Mapping[str, float | str | None]
RiskOf = Callable[
    [NDArray[np.float32], NDArray[np.int64], SegmentArray | None], NDArray[np.float64]
]


class ReasonFinder:
    """Finds the reasons of rows that were not approved.

    Args:
        feature_set: Names and vocabularies of the features, in the network's order.
        contract: Texts, and the columns never to be named.
        benign: Reference value by feature; a feature without one is never named.
        risk_of: Numeric and categorical features and segments to risk scores, by the served model
            and policy.
    """

    def __init__(
        self, feature_set: FeatureSet, contract: Contract, benign: Benign, risk_of: RiskOf
    ) -> None:
        denied = denied_features(contract)
        self._risk_of = risk_of
        self._numeric = [
            (position, name, _number(benign[name]))
            for position, name in enumerate(feature_set.numeric)
            if name in benign and name not in denied
        ]
        self._categorical = [
            (position, name, feature_set.vocabularies[name].code_of(_text(benign[name])))
            for position, name in enumerate(feature_set.categorical)
            if name in benign and name not in denied
        ]
        names = [name for _, name, _ in (*self._numeric, *self._categorical)]
        default = _DEFAULT_TEXT[contract.domain]
        texts = velocity_words(contract) | contract.reasons.text
        self._names = tuple((name, texts.get(name, default.format(column=name))) for name in names)

    def find(
        self,
        arrays: FeatureArrays,
        risk_score: NDArray[np.float64],
        segment: SegmentArray | None = None,
    ) -> list[tuple[Reason, ...]]:
        """Return up to ``MOST_REASONS`` reasons for each row, the strongest first.

        A row stays in its segment whatever is replaced, as the segment says how it is scored.

        Shape:
            Features of ``n`` rows, their scores and segments ``(n,)`` -> a list of ``n``.
        """
        if not self._names:
            return [()] * len(risk_score)
        step = max(1, _OCCLUDED_ROWS_AT_ONCE // len(self._names))
        found: list[tuple[Reason, ...]] = []
        for start in range(0, len(risk_score), step):
            rows = slice(start, start + step)
            effects = self._effects(
                FeatureArrays(arrays.numeric[rows], arrays.categorical[rows]),
                risk_score[rows],
                None if segment is None else segment[rows],
            )
            found += [self._strongest(row) for row in effects]
        return found

    def _effects(
        self,
        arrays: FeatureArrays,
        risk_score: NDArray[np.float64],
        segment: SegmentArray | None,
    ) -> NDArray[np.float64]:
        """Return how far each feature's replacement lowers each score, ``(n, n_named)``."""
        numeric, categorical = arrays.numeric, arrays.categorical
        n_rows, n_named = len(risk_score), len(self._names)
        occluded_numeric = np.repeat(numeric[:, None, :], n_named, axis=1)
        occluded_categorical = np.repeat(categorical[:, None, :], n_named, axis=1)
        for copy, (position, _, reference) in enumerate(self._numeric):
            occluded_numeric[:, copy, position] = reference
        for copy, (position, _, code) in enumerate(self._categorical, start=len(self._numeric)):
            occluded_categorical[:, copy, position] = code
        risk = self._risk_of(
            occluded_numeric.reshape(n_rows * n_named, numeric.shape[1]),
            occluded_categorical.reshape(n_rows * n_named, categorical.shape[1]),
            None if segment is None else np.repeat(segment, n_named),
        )
        return risk_score[:, None] - risk.reshape(n_rows, n_named)

    def _strongest(self, effects: NDArray[np.float64]) -> tuple[Reason, ...]:
        order = np.argsort(-effects, kind="stable")[:MOST_REASONS]
        named = ((*self._names[at], float(effects[at])) for at in order if effects[at] > 0)
        return tuple(Reason(column, text, effect) for column, text, effect in named)


def denied_features(contract: Contract) -> set[str]:
    """Return the denied columns, and the features that are computed from them."""
    denied = set(contract.reasons.deny)
    for name, expression in contract.derived.items():
        # A name is as telling as its source; words of the expression are enough to be careful.
        words = set(re.findall(r"\w+", expression))
        if any(column in words or f'"{column}"' in expression for column in denied):
            denied.add(name)
    of_columns = velocity_columns(contract)
    return denied | {name for name, columns in of_columns.items() if columns & denied}


def _number(value: float | str | None) -> float:
    return float("nan") if value is None else float(value)


def _text(value: float | str | None) -> str | None:
    return None if value is None else str(value)
