"""Which challenger stands in the shadow of each model that answers."""

import logging

from infra.errors import WhitecrowError
from serving.model_references import ResolvedModel
from serving.scorer import Scorer
from serving.served_model import ServedModel
from serving.served_models import ModelSource
from serving.shadow import Shadow, ShadowScoring, why_not_shadowed
from serving.swapping import Serving

logger = logging.getLogger(__name__)


class Challengers:
    """Keeps beside each model the challenger that its live record names. Used by one thread.

    Args:
        serving: What answers.
        source: Where challengers come from.
        scoring: Scores rows for them.
    """

    def __init__(self, serving: Serving, source: ModelSource, scoring: ShadowScoring) -> None:
        self._serving = serving
        self._source = source
        self._scoring = scoring
        self._refused: dict[str, tuple[ResolvedModel, ServedModel]] = {}

    def look(self) -> None:
        """Put new challengers in the shadow, and take away those that are none any more.

        Raises:
            StateUnavailable: If the live records cannot be read.
        """
        challengers = self._source.challengers()
        for name, champion in self._serving.models.by_name.items():
            wanted = challengers.get(name)
            # A version that was promoted may still be named as the challenger it was.
            if wanted is None or _is_the_same(champion.scorer, wanted):
                champion.shadow, champion.shadow_refusal = None, None
                self._refused.pop(name, None)
            elif not _is_there(champion, wanted) and self._refused.get(name) != (wanted, champion):
                self._challenge(champion, wanted)

    def _challenge(self, champion: ServedModel, wanted: ResolvedModel) -> None:
        champion.shadow = None
        facts = {
            "model": wanted.name,
            "version": wanted.model_version,
            "policy_version": wanted.policy_version,
        }
        try:
            challenger = self._source.load_scorer(wanted, like=champion.scorer)
            why = why_not_shadowed(champion.scorer, challenger)
        except WhitecrowError as error:
            why = str(error)
        except Exception as error:
            logger.exception("loading a challenger failed", extra=facts)
            why = f"{type(error).__name__}: {error}"
        if why is None:
            champion.shadow, champion.shadow_refusal = Shadow(challenger, self._scoring), None
            self._refused.pop(wanted.name, None)
            logger.info("challenger in the shadow", extra=facts)
            return
        self._refused[wanted.name] = (wanted, champion)
        champion.shadow_refusal = {
            "version": wanted.model_version,
            "policy_version": wanted.policy_version,
            "state": "not shadowed",
            "why": why,
        }
        logger.warning("challenger cannot be shadowed", extra={**facts, "why": why})


def _is_there(champion: ServedModel, wanted: ResolvedModel) -> bool:
    return champion.shadow is not None and _is_the_same(champion.shadow.scorer, wanted)


def _is_the_same(scorer: Scorer, wanted: ResolvedModel) -> bool:
    versions = scorer.model_version, scorer.policy_version
    return versions == (wanted.model_version, wanted.policy_version)
