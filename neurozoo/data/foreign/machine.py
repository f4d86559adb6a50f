"""Following the instructions of a pickle, without the ability to call anything.

A pickle is a program for a small stack machine. Its power comes from three instructions: one looks up
any function by name, one calls it, and one sets an object's state. Here a name is looked up in a table
of what data files may hold, and what it stands for makes descriptions of data (``values.py``) out of
checked arguments. Large texts and arrays are left in the file.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from neurozoo.data.foreign.instructions import INSTRUCTIONS, STOP
from neurozoo.data.foreign.names import Name, Names
from neurozoo.data.foreign.refused import RefusedError, shown
from neurozoo.data.foreign.stretches import Stream, Workspace

__all__ = ["Machine", "Persistent"]

_NESTED = 4
Persistent = Callable[[Any], Any]
"""Gives what an id stands for that a pickle leaves to its container."""


class Machine:
    """Reads one pickle.

    Args:
        stream: Where the pickle begins; afterwards where it ended.
        names: What it may name.
        workspace: Of this reading.
        persistent: What an id stands for that the pickle leaves to its container.
        nested: How many pickles this one is in.
    """

    def __init__(
        self, stream: Stream, names: Names, workspace: Workspace, persistent: Persistent | None = None, nested: int = 0
    ) -> None:
        self.stream, self.names, self.workspace = stream, names, workspace
        self.persistent, self._nested = persistent, nested
        self.stack: list[Any] = []
        self._below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """The value that the pickle makes.

        Raises:
            RefusedError: It is malformed, names what is not allowed, or goes on for too long.
        """
        stream, workspace = self.stream, self.workspace
        while True:
            at = stream.position
            code = stream.byte()
            if code == STOP:
                return self.pop()
            workspace.steps -= 1
            if workspace.steps < 0:
                raise RefusedError(f"it has more than {workspace.limits.steps} instructions, too many for a data file")
            try:
                do, argument = INSTRUCTIONS[code]
            except KeyError:
                raise RefusedError(f"not a pickle: byte {code:#04x} at {at} is no instruction; get it anew") from None
            try:
                do(self, argument)
            except (ValueError, IndexError, struct.error, OverflowError) as error:
                raise RefusedError(f"not a whole pickle: byte {code:#04x} at {at} makes no sense ({error})") from error

    def nested(self, stream: Stream, persistent: Persistent | None = None) -> Machine:
        """A machine for a pickle inside of this one.

        Raises:
            RefusedError: There are too many in each other.
        """
        if self._nested >= _NESTED:
            raise RefusedError(f"it holds pickles inside of each other, more than {_NESTED} deep")
        return Machine(stream, self.names, self.workspace, persistent, self._nested + 1)

    def pop(self) -> Any:
        """The last value."""
        if not self.stack:
            raise RefusedError("not a whole pickle: it uses a value that is not there; get it anew")
        return self.stack.pop()

    def push(self, value: Any) -> None:
        """Add a value."""
        self.stack.append(value)

    def find(self, module: str, name: str) -> Name:
        """What a name stands for.

        Raises:
            RefusedError: It is not allowed.
        """
        try:
            return self.names[module, name]
        except KeyError:
            raise RefusedError(
                f"{shown(f'{module}.{name}')} is not among what data files may hold, and nothing of it was run; "
                "allowed are numbers, text, plain containers, argparse.Namespace, numpy arrays and torch tensors: "
                "save it anew as those"
            ) from None

    def push_mark(self) -> None:
        """Begin a collection."""
        self._below.append(self.stack)
        self.stack = []

    def pop_mark(self) -> list[Any]:
        """What came since the last mark."""
        items = self.stack
        if not self._below:
            raise RefusedError("not a whole pickle: it uses a mark that is not there; get it anew")
        self.stack = self._below.pop()
        return items

    def top(self, kind: type, what: str) -> Any:
        """The last value, which stays, and is of a kind.

        Raises:
            RefusedError: It is not; ``what`` says what is done with it.
        """
        if not self.stack or not isinstance(self.stack[-1], kind):
            found = type(self.stack[-1]).__name__ if self.stack else "nothing"
            raise RefusedError(f"not a whole pickle: {what} {found}")
        return self.stack[-1]

    def call(self, name: Any, arguments: Any) -> None:
        """Add what a name makes of the arguments; nothing but a :class:`Name` of the table can be called.

        Raises:
            RefusedError: It is no such, or the arguments are not what it takes.
        """
        if type(name) is not Name or type(arguments) is not tuple:
            raise RefusedError(f"a call of {shown(type(name).__name__)}, which is not among what data files may hold")
        if name.make is None:
            raise RefusedError(f"a call of {name.label}, which data files may name and not call")
        self.push(name.make(self, arguments))
