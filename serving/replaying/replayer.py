"""Many decisions replayed at once: rows that one model decided go through it together."""

from collections.abc import Sequence
from dataclasses import dataclass

from balancing.inference_platform import inference_platform
from features.feature_set import FeatureArrays
from serving.answer_shapes import ModelName
from serving.decisions.sealing import LogSecret
from serving.kept_rules import KeptRules
from serving.replaying.comparison import (
    INFERENCE_TOLERANCE,
    POLICY_TOLERANCE,
    Comparison,
    Verdict,
    compare_decision,
    compare_inference,
)
from serving.replaying.decided_again import AnswerMaker, state_was_away
from serving.replaying.erased_rows import ErasedRows
from serving.replaying.logged import LoggedDecision
from serving.replaying.models import ArchivedModels, ModelMissing
from serving.replaying.scored_again import PastModel, ScoredAgain, compare_own_features, score_again
from serving.scored import ScoredRow
from serving.scorer import Scorer


@dataclass(frozen=True, slots=True)
class ReplayedDecision:
    """A decision and what its replay gives.

    Attributes:
        decision: As it is logged.
        features: The row's own features, computed from the row again; those over time are as they
            were served.
        from_logits: The policy on the logged logits.
        from_features: The network on the logged features, and all that follows.
        is_same_platform: Whether this is where it was decided; None where that was not logged.
        by_logits: The answer by the logged logits; None where it could not be made.
        by_features: The answer by the logged features; None where it could not be made.
        arrays: The features as they were computed again, one row; None without the row.
        scorer: What decided; None where it is missing.
    """

    decision: LoggedDecision
    features: Comparison
    from_logits: Comparison
    from_features: Comparison
    is_same_platform: bool | None
    by_logits: ScoredRow | None = None
    by_features: ScoredRow | None = None
    arrays: FeatureArrays | None = None
    scorer: Scorer | None = None

    @property
    def verdict(self) -> Verdict:
        """The worst of the three."""
        found = {each.verdict for each in (self.features, self.from_logits, self.from_features)}
        return [verdict for verdict in Verdict if verdict in found][-1]


class Replayer:
    """Replays decisions of one state folder.

    Args:
        models: What decided.
        rules: What hard rules said.
        secret: Of the log.
        platform: Where this runs; default: as it is found.
    """

    def __init__(
        self,
        models: ArchivedModels,
        rules: KeptRules,
        secret: LogSecret,
        *,
        platform: str | None = None,
    ) -> None:
        self._archived = models
        self._rules = rules
        self._secret = secret
        self._platform = inference_platform() if platform is None else platform
        self._models: dict[tuple[ModelName, str], PastModel] = {}

    def replay(self, decisions: Sequence[LoggedDecision]) -> list[ReplayedDecision]:
        """Return what the replay of each decision gives, in their order."""
        replayed: dict[int, ReplayedDecision] = {}
        by_kind: dict[_Kind, list[int]] = {}
        for at, each in enumerate(decisions):
            by_kind.setdefault(_kind(each), []).append(at)
        for (name, features, is_erased), places in by_kind.items():
            alike = [decisions[at] for at in places]
            done = self._of_one_model(name, features, alike, is_erased=is_erased)
            replayed |= zip(places, done, strict=True)
        return [replayed[at] for at in range(len(decisions))]

    def _of_one_model(
        self,
        name: ModelName,
        features: str,
        decisions: Sequence[LoggedDecision],
        *,
        is_erased: bool,
    ) -> list[ReplayedDecision]:
        try:
            model = self._model(name, features)
        except ModelMissing as error:
            return [self._incomplete(each, str(error).rstrip(".")) for each in decisions]
        if is_erased and model.erased.undecidable:
            missing = ", ".join(model.erased.undecidable)
            return [self._incomplete(each, f"{missing}: {each.why_sealed}") for each in decisions]
        away = [state_was_away(each, model.n_velocity) for each in decisions]
        replayed: dict[int, ReplayedDecision] = {}
        for was_away in sorted(set(away)):
            places = [at for at, found in enumerate(away) if found == was_away]
            alike = [decisions[at] for at in places]
            done = self._alike(model, alike, is_erased=is_erased, at_least_review=was_away)
            replayed |= zip(places, done, strict=True)
        return [replayed[at] for at in range(len(decisions))]

    def _alike(
        self,
        model: PastModel,
        decisions: Sequence[LoggedDecision],
        *,
        is_erased: bool,
        at_least_review: bool,
    ) -> list[ReplayedDecision]:
        """Replay decisions that were made in one way."""
        try:
            again = score_again(
                model, decisions, is_erased=is_erased, at_least_review=at_least_review
            )
            replayed = [
                self._compared(model, each, again, at, at_least_review=at_least_review)
                for at, each in enumerate(decisions)
            ]
        except Exception as error:  # noqa: BLE001 - what was changed may break anything
            if len(decisions) == 1:
                return [self._broken(decisions[0], error)]
            return [
                done
                for each in decisions
                for done in self._alike(
                    model, [each], is_erased=is_erased, at_least_review=at_least_review
                )
            ]
        if not at_least_review:
            return replayed
        return [self._better(model, each, is_erased=is_erased) for each in replayed]

    def _better(
        self, model: PastModel, replayed: ReplayedDecision, *, is_erased: bool
    ) -> ReplayedDecision:
        """Return the better of two replays where the log tells not which of two things was away.

        A row of newcomers may have no number over time though the state was there.
        """
        if replayed.verdict is not Verdict.DIFFERS:
            return replayed
        (other,) = self._alike(
            model, [replayed.decision], is_erased=is_erased, at_least_review=False
        )
        return replayed if other.verdict is Verdict.DIFFERS else other

    def _compared(
        self,
        model: PastModel,
        decision: LoggedDecision,
        again: ScoredAgain,
        at: int,
        *,
        at_least_review: bool,
    ) -> ReplayedDecision:
        is_same = self._is_same_platform(decision)
        missing = model.answers.missing(decision)

        def answered(row: ScoredRow) -> ScoredRow:
            if missing:
                return row
            return model.answers.made(row, decision, at_least_review=at_least_review)

        by_logits = answered(again.by_logits[at])
        by_features = None if again.by_features is None else answered(again.by_features[at])
        sealed = f"{', '.join(model.erased.sealed_features)}: {decision.why_sealed}"
        return ReplayedDecision(
            decision,
            compare_own_features(model.scorer, decision, again, at),
            compare_decision(
                decision.answer,
                by_logits,
                tolerance=0.0 if is_same else POLICY_TOLERANCE,
                flags=again.computed is not None,
                missing=missing,
            ),
            Comparison(missing=(*missing, sealed))
            if by_features is None
            else compare_inference(
                decision.answer,
                decision.stored.logits,
                by_features,
                tolerance=0.0 if is_same else INFERENCE_TOLERANCE,
                missing=missing,
            ),
            is_same,
            by_logits,
            by_features,
            None if again.computed is None else _one_row(again.computed, at),
            model.scorer,
        )

    def _model(self, name: ModelName, features: str) -> PastModel:
        key = (name, features)
        if key not in self._models:
            scorer = self._archived.scorer(name, features)
            self._models[key] = PastModel(
                scorer,
                AnswerMaker(scorer, self._rules, self._secret),
                ErasedRows(scorer),
                len(scorer.bundle.contract.velocity_features),
            )
        return self._models[key]

    def _incomplete(self, decision: LoggedDecision, why: str) -> ReplayedDecision:
        missing = Comparison(missing=(why,))
        return ReplayedDecision(
            decision, missing, missing, missing, self._is_same_platform(decision)
        )

    def _broken(self, decision: LoggedDecision, error: Exception) -> ReplayedDecision:
        why = " ".join(str(error).split()) or type(error).__name__
        broken = Comparison(differences=(f"cannot be decided again: {why}",))
        return ReplayedDecision(decision, broken, broken, broken, self._is_same_platform(decision))

    def _is_same_platform(self, decision: LoggedDecision) -> bool | None:
        where = decision.stored.head.platform
        return where == self._platform if where else None


_Kind = tuple[ModelName, str, bool]


def _kind(decision: LoggedDecision) -> _Kind:
    return decision.answer.model, decision.stored.feature_set_hash, bool(decision.why_sealed)


def _one_row(arrays: FeatureArrays, at: int) -> FeatureArrays:
    return FeatureArrays(arrays.numeric[at : at + 1], arrays.categorical[at : at + 1])
