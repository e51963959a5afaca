"""Running the state's scripts on a Redis server: many in one round trip, or all or nothing."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from features.online import redis_scripts as scripts


class Call(NamedTuple):
    """One run of a script on the server."""

    script: str
    keys: Sequence[bytes]
    arguments: Sequence[bytes | int]


class ScriptRunner:
    """Runs the scripts that apply events and record labels.

    Args:
        client: A ``redis.Redis``.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        used = (scripts.APPLY, scripts.REPORT)
        self._names = {script: client.script_load(script) for script in used}

    def run(self, calls: Sequence[Call]) -> list[int]:
        """Run each by itself, in one round trip, and return what each returned."""
        from redis.exceptions import NoScriptError

        answers = self._run_by_name(calls)
        missed = [n for n, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if missed:
            # The server was started anew, or told to forget its scripts.
            for script in self._names:
                self._client.script_load(script)
            again = self._run_by_name([calls[n] for n in missed])
            for n, answer in zip(missed, again, strict=True):
                answers[n] = answer
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    def run_together(self, calls: Sequence[Call], *, note: tuple[bytes, str]) -> list[int]:
        """Run all of them or none, and set a key in the same transaction.

        Args:
            calls: What to run, in order.
            note: The key, and what to set it to.
        """
        pipeline = self._client.pipeline(transaction=True)
        sent: set[str] = set()
        for script, keys, arguments in calls:
            # The whole script where it comes first: within a transaction nobody can react to an
            # answer that it is unknown.
            how = ("EVALSHA", self._names[script]) if script in sent else ("EVAL", script)
            pipeline.execute_command(*how, len(keys), *keys, *arguments)
            sent.add(script)
        pipeline.execute_command("SET", *note)
        answers: list[int] = pipeline.execute()
        return answers[: len(calls)]

    def _run_by_name(self, calls: Sequence[Call]) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for script, keys, arguments in calls:
            pipeline.execute_command("EVALSHA", self._names[script], len(keys), *keys, *arguments)
        answers: list[Any] = pipeline.execute(raise_on_error=False)
        return answers
