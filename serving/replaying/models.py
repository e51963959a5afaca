"""What decided in the past: archived bundles with their policies, each loaded once."""

from infra.errors import WhitecrowError
from serving.answer_shapes import ModelName
from serving.model_references import ResolvedModel
from serving.model_store import ModelStore
from serving.scorer import Scorer
from serving.verification import load_resolved


class ModelMissing(WhitecrowError):
    """Raised when what decided is not there any more, or is not what decided."""


class ArchivedModels:
    """The models and policies of one state folder.

    Args:
        store: Where they lie.
    """

    def __init__(self, store: ModelStore) -> None:
        self._store = store
        self._found: dict[tuple[str, str, str], Scorer | str] = {}

    def scorer(self, name: ModelName, feature_set_hash: str) -> Scorer:
        """Return the verified scorer that an answer names.

        Args:
            name: Of model, version and policy.
            feature_set_hash: Of the features that it decided by.

        Raises:
            ModelMissing: If there is none, it does not verify, or it decides by other features.
        """
        key = (name.name, name.version, name.policy_version)
        if key not in self._found:
            self._found[key] = self._loaded(name)
        found = self._found[key]
        if isinstance(found, str):
            raise ModelMissing(found)
        if found.bundle.manifest.feature_set_hash != feature_set_hash:
            raise ModelMissing(
                f"{name.name}:{name.version} has the feature set "
                f"{found.bundle.manifest.feature_set_hash[:12]}, and the decision was made by "
                f"{feature_set_hash[:12]}: the bundle is another one. Restore the first."
            )
        return found

    def _loaded(self, name: ModelName) -> Scorer | str:
        """Return a scorer, or why there is none; versions with several policies share a network."""
        same = (
            scorer
            for (model, version, _), scorer in self._found.items()
            if (model, version) == (name.name, name.version) and isinstance(scorer, Scorer)
        )
        resolved = ResolvedModel(name.name, name.version, name.policy_version)
        try:
            return load_resolved(self._store, resolved, like=next(same, None))
        except WhitecrowError as error:
            return str(error)
