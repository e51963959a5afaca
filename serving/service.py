"""The BentoML service: processes and health are BentoML's, the rest is ``serving.http``.

Start it with :func:`serving.launch.serve`, or ``bentoml serve serving.service:ScoringService``.
"""

import bentoml

from infra.ledger import open_ledger
from infra.logs import configure_logs
from infra.settings import Settings
from infra.signing import read_signing_key
from serving.access.admission import Limits
from serving.access.connections import bound_connections, limit_connections
from serving.access.gate import Gate
from serving.challengers import Challengers
from serving.decisions.anchoring import Anchoring, anchor_the_rest
from serving.decisions.opening import open_recording
from serving.draining import refuse_connections_when_told_to_end
from serving.http import ScoringApp
from serving.metrics.collections import count_collections
from serving.metrics.queues import watch_queues
from serving.outcomes import OutcomeBook
from serving.parent_process import SUPERVISOR_PID, ParentProcess
from serving.polling import Poll
from serving.served_models import ModelSource
from serving.shadow import ShadowScoring
from serving.shadow_log import open_shadow_log
from serving.swapping import ModelSwapper, freeze_garbage_collection
from serving.told_rules import ToldRules

application = ScoringApp()
bound_connections()
# Where nobody names it (`bentoml serve` by hand), it is the parent of this early moment.
_supervisor = ParentProcess.named_by(SUPERVISOR_PID)


# The settings cure what makes BentoML slow at the tail: a timer kept for each request until the
# time-out, a log line and a span per request, and full garbage collections over all modules. Its
# metrics go by path, whatever strangers ask for; ours go by route.
@bentoml.service(
    name="whitecrow",
    traffic={"timeout": 2},
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
    tracing={"excluded_urls": [".*"]},
)
@bentoml.asgi_app(application, path="/")
class ScoringService:
    """Loads and verifies the models that the settings name; refuses to start where one fails."""

    def __init__(self) -> None:
        settings = Settings()
        configure_logs(level="INFO", as_json=True)
        refuse_connections_when_told_to_end()
        limit_connections(settings.max_connections)
        application.guard(
            Gate(settings.database, address=settings.host, auth=settings.auth),
            Limits(
                deadline_seconds=settings.deadline_seconds,
                batch_deadline_seconds=settings.batch_deadline_seconds,
                max_under_way=settings.max_under_way,
            ),
            test_identities=settings.test_identities,
        )
        recording = open_recording(settings)
        self._log = application.decision_log = recording.log
        application.outcomes = OutcomeBook(settings.root)
        source = ModelSource(
            settings.root,
            settings.served_models,
            verify_key=settings.verify_key,
            state_uri=settings.state_uri,
            rules=settings.rules,
            recording=recording,
        )
        application.serve(source.load_all())
        recorder = application.recorder
        freeze_garbage_collection()
        count_collections(recorder.tally)
        watch_queues(recorder.tally, application, self._log)
        shadow_log = open_shadow_log(settings.root / "shadow.db", settings.log_uri)
        self._shadow = ShadowScoring(shadow_log, recorder.tally)
        self._swapper = swapper = ModelSwapper(application, source, recorder.tally)
        challengers = Challengers(application, source, self._shadow)
        challengers.look()

        def look() -> None:
            swapper.look()
            challengers.look()

        ledger = open_ledger(settings)
        self._anchoring = Anchoring(
            ledger,
            lambda: recording.log.store,
            lambda: read_signing_key(settings.keys),
            actor=settings.actor,
            seconds=settings.anchor_seconds,
        )
        self._polls = [
            Poll(self._anchoring.look, what="anchors", seconds=settings.anchor_seconds),
            Poll(look, what="live models"),
            Poll(recorder.published.publish, what="metrics"),
            Poll(source.rules.look, what="hard rules"),
            Poll(ToldRules(ledger, source.rules, actor=settings.actor).look, what="told rules"),
        ]
        self._orphan_watch = Poll(_supervisor.look, what="the supervisor")

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def close(self) -> None:
        """Apply what still waits for an online state, and close it."""
        for poll in self._polls:
            poll.close()
        self._shadow.close()
        self._swapper.close()
        application.close()
        anchor_the_rest(self._anchoring)
        self._log.close()
        application.recorder.published.withdraw()
        # Last: until here it kills a process that nobody else would, should its end hang.
        self._orphan_watch.close()
