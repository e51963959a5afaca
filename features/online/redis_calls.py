"""Running the state's scripts on a Redis server: many in one round trip, or all or nothing."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from features.online import redis_scripts as scripts
from features.online.redis_link import RedisLink


class Call(NamedTuple):
    """One run of a script on the server."""

    script: str
    keys: Sequence[bytes]
    arguments: Sequence[bytes | int]


class ScriptRunner:
    """Runs the scripts that apply events and record labels.

    Args:
        client: A ``redis.Redis``.
        link: To the same server.
    """

    def __init__(self, client: Any, link: RedisLink) -> None:
        from redis.exceptions import NoScriptError

        self._client = client
        self._link = link
        self._unknown = NoScriptError
        used = (scripts.APPLY, scripts.REPORT)
        self._names = {script: client.script_load(script) for script in used}

    def run(self, calls: Sequence[Call]) -> list[int]:
        """Run each by itself, in one round trip, and return what each returned.

        Raises:
            StateUnreachable: If the server does not answer, or refuses one.
        """
        commands = [
            ("EVALSHA", self._names[script], len(keys), *keys, *arguments)
            for script, keys, arguments in calls
        ]
        answers = self._link.ask(commands)
        missed = [n for n, answer in enumerate(answers) if isinstance(answer, self._unknown)]
        if missed:
            # The server was started anew, or told to forget its scripts.
            self._link.demand([("SCRIPT", "LOAD", script) for script in self._names])
            again = self._link.ask([commands[n] for n in missed])
            for n, answer in zip(missed, again, strict=True):
                answers[n] = answer
        return self._link.checked(answers)

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
