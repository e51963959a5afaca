"""The model registry: versions with their tags, and the aliases that mirror what is live."""

from collections.abc import Mapping

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from infra.tracked import TrackedVersion
from infra.tracking_answers import answered

_MODELS = "models:/"


class Registry:
    """The registry of one MLflow store.

    Args:
        uri: Of the store.
        client: Its client.
    """

    def __init__(self, uri: str, client: MlflowClient) -> None:
        self.uri = uri
        self.client = client

    @answered
    def register(
        self, name: str, *, model_uri: str, run_id: str, description: str, tags: Mapping[str, str]
    ) -> str:
        """Register a model version and return its number as text.

        Args:
            name: Of the model.
            model_uri: ``models:/ID`` of a model that was logged.
            run_id: The run that it was logged to.
            description: What is said of the version.
            tags: Of the version.
        """
        try:
            self.client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        version = self.client.create_model_version(
            name,
            source=model_uri,
            run_id=run_id,
            description=description,
            tags=dict(tags),
            # A server refuses a logged model's URI without it; a database takes either.
            model_id=model_uri.removeprefix(_MODELS) if model_uri.startswith(_MODELS) else None,
        )
        return str(version.version)

    @answered
    def versions(self, name: str) -> list[TrackedVersion]:
        """Return every registered version of a model, oldest first."""
        found = self.client.search_model_versions(f"name = '{name}'")
        versions = [TrackedVersion(str(v.version), v.run_id or "", dict(v.tags)) for v in found]
        return sorted(versions, key=lambda tracked: int(tracked.version))

    @answered
    def describe_model(self, name: str, description: str) -> None:
        """Set the text that heads a registered model in MLflow's pages."""
        self.client.update_registered_model(name, description)

    @answered
    def describe_version(self, name: str, version: str, description: str) -> None:
        """Set the text beside a model version in MLflow's pages."""
        self.client.update_model_version(name, version, description)

    @answered
    def discard_version(self, name: str, version: str) -> None:
        """Take back a version whose release did not complete."""
        self.client.delete_model_version(name, version)

    @answered
    def tag_version(self, name: str, version: str, tags: Mapping[str, str]) -> None:
        """Set tags on a model version."""
        for key, value in tags.items():
            self.client.set_model_version_tag(name, version, key, value)

    @answered
    def untag_version(self, name: str, version: str, key: str) -> None:
        """Take a tag off a model version, if it has it."""
        self.client.delete_model_version_tag(name, version, key)

    @answered
    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Point an alias at a version; a mirror of the live record, never its source."""
        self.client.set_registered_model_alias(name, alias, version)

    @answered
    def drop_alias(self, name: str, alias: str) -> None:
        """Let an alias point at nothing, as the live record does."""
        self.client.delete_registered_model_alias(name, alias)
