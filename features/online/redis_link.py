"""One round trip to a Redis server for many commands, with little around it.

A row of the service costs two of them. redis-py's pipelines would double what each takes: they ask
the operating system about every connection before they use it, and account for it afterwards.
Commands are packed by hiredis itself: what redis-py does around it takes longer than the packing.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any

from features.online.redis_server import location_of, unreachable

_ATTEMPTS = 2
# Commands in one write: their socket timeout is for each write, and a batch may be long.
_WRITTEN_AT_ONCE = 32

Command = tuple[Any, ...]
"""Name and arguments: bytes, text and whole numbers."""


class RedisLink:
    """Connections to one server; safe to use from several threads.

    Args:
        client: A ``redis.Redis`` that says how to connect.
    """

    def __init__(self, client: Any) -> None:
        from hiredis import pack_command
        from redis.exceptions import ConnectionError as Lost
        from redis.exceptions import RedisError, ResponseError

        self._lost, self._failed, self._refused = Lost, RedisError, ResponseError
        self._pack = pack_command
        self._pool = client.connection_pool
        self._location = location_of(client)
        # Both ends of a deque may be used by several threads at once.
        self._idle: deque[Any] = deque()

    def ask(self, commands: Sequence[Command]) -> list[Any]:
        """Return the answer to each command; where the server refused one, its error.

        A connection that turns out to be lost is replaced, once and at once, and everything is
        asked again: the server may have been started anew.

        Raises:
            StateUnreachable: If the server is gone or silent.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._ask(commands)
            except self._lost as error:
                # The others were lost with it.
                self.close()
                if attempt == _ATTEMPTS:
                    raise unreachable(self._location, error) from error
            except self._failed as error:
                raise unreachable(self._location, error) from error
        raise AssertionError("an attempt returns or raises")

    def demand(self, commands: Sequence[Command]) -> list[Any]:
        """Return the answer to each command.

        Raises:
            StateUnreachable: If the server is gone, silent, or refuses one.
        """
        return self.checked(self.ask(commands))

    def checked(self, answers: list[Any]) -> list[Any]:
        """Return answers that hold no error.

        Raises:
            StateUnreachable: If one does.
        """
        for answer in answers:
            if isinstance(answer, Exception):
                raise unreachable(self._location, answer) from answer
        return answers

    def close(self) -> None:
        """Close the connections that are not in use."""
        while self._idle:
            try:
                self._idle.pop().disconnect()
            except IndexError:
                return

    def _ask(self, commands: Sequence[Command]) -> list[Any]:
        if not commands:
            return []
        connection = self._connection()
        try:
            connection.send_packed_command(self._packed(commands))
            answers = [self._answer(connection) for _ in commands]
        except BaseException:
            # What was not read yet would be taken for the answer to something else.
            connection.disconnect()
            raise
        self._idle.append(connection)
        return answers

    def _packed(self, commands: Sequence[Command]) -> list[bytes]:
        packed = [self._pack(command) for command in commands]
        parts = range(0, len(packed), _WRITTEN_AT_ONCE)
        return [b"".join(packed[at : at + _WRITTEN_AT_ONCE]) for at in parts]

    def _connection(self) -> Any:
        try:
            return self._idle.pop()
        except IndexError:
            connection = self._pool.connection_class(**self._pool.connection_kwargs)
            connection.connect()
            return connection

    def _answer(self, connection: Any) -> Any:
        try:
            return connection.read_response()
        except self._refused as error:
            return error
