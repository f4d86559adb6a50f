"""The instructions of a pickle, one function each, or one for a family that differs in its argument.

Their meaning: ``pickletools`` of the standard library.
"""

from __future__ import annotations

import struct
from _codecs import escape_decode
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from neurozoo.data.foreign.names import as_key
from neurozoo.data.foreign.refused import RefusedError, shown
from neurozoo.data.foreign.stretches import INLINE, Stretch
from neurozoo.data.foreign.values import Built, OldStr, Ordered, Text

if TYPE_CHECKING:
    from neurozoo.data.foreign.machine import Machine

__all__ = ["INSTRUCTIONS", "STOP"]

STOP = ord(".")
_INTEGER = 64
"""Bytes of a whole number."""
_TRUTH = {b"00": False, b"01": True}


def _pass(machine: Machine, size: int) -> None:
    machine.stream.skip(size)


def _constant(machine: Machine, value: Any) -> None:
    machine.push(value)


def _empty(machine: Machine, kind: Callable[[], Any]) -> None:
    machine.push(kind())


def _signed(machine: Machine, size: int) -> None:
    machine.push(int.from_bytes(machine.stream.take(size), "little", signed=True))


def _unsigned(machine: Machine, size: int) -> None:
    machine.push(machine.stream.unsigned(size))


def _long(machine: Machine, size: int) -> None:
    length = machine.stream.unsigned(size)
    if length > _INTEGER:
        raise RefusedError(f"a whole number of {length} bytes, too large for data")
    _signed(machine, length)


def _number_line(machine: Machine, kind: Callable[[bytes], Any]) -> None:
    line = machine.stream.line().strip()
    if len(line) > 4 * _INTEGER:
        raise RefusedError(f"a number of {len(line)} digits, too large for data")
    truth = _TRUTH.get(line) if kind is int else None
    machine.push(kind(line.rstrip(b"L")) if truth is None else truth)


def _float(machine: Machine, _: int) -> None:
    machine.push(struct.unpack(">d", machine.stream.take(8))[0])


def _bytes(machine: Machine, size: int) -> None:
    machine.push(machine.stream.cut(machine.stream.unsigned(size)))


def _text(machine: Machine, size: int) -> None:
    _push_text(machine, machine.stream.cut(machine.stream.unsigned(size)), "utf-8")


def _old_text(machine: Machine, size: int) -> None:
    _push_text(machine, machine.stream.cut(machine.stream.unsigned(size)), "latin-1")


def _text_line(machine: Machine, encoding: str) -> None:
    line = machine.stream.long_line()
    if encoding == "latin-1":
        quoted = machine.workspace.bytes_of(line).strip()
        if len(quoted) < 2 or quoted[:1] not in b"'\"" or quoted[:1] != quoted[-1:]:
            raise RefusedError("not a whole pickle: a text without quotes; get it anew")
        raw = escape_decode(quoted[1:-1])[0]
        line = raw if len(raw) <= INLINE else machine.workspace.spool([raw])
    _push_text(machine, line, encoding)


def _push_text(machine: Machine, data: bytes | Stretch, encoding: str) -> None:
    if isinstance(data, Stretch):
        machine.push(Text(data, encoding))
    elif encoding == "latin-1":
        machine.push(OldStr(data, encoding))
    else:
        machine.push(str(data, encoding, "surrogatepass" if encoding == "utf-8" else "strict"))


def _mark(machine: Machine, _: int) -> None:
    machine.push_mark()


def _pop_mark(machine: Machine, _: int) -> None:
    machine.pop_mark()


def _pop(machine: Machine, _: int) -> None:
    if machine.stack:
        machine.pop()
    else:
        machine.pop_mark()


def _duplicate(machine: Machine, _: int) -> None:
    machine.push(machine.top(object, "it repeats"))


def _tuple(machine: Machine, size: int) -> None:
    items = [machine.pop() for _ in range(size)]
    machine.push(tuple(reversed(items)))


def _collect(machine: Machine, kind: Callable[[list[Any]], Any]) -> None:
    machine.push(kind(machine.pop_mark()))


def _append(machine: Machine, _: int) -> None:
    value = machine.pop()
    machine.top(list, "it appends to").append(value)


def _extend(machine: Machine, _: int) -> None:
    items = machine.pop_mark()
    machine.top(list, "it appends to").extend(items)


def _set_item(machine: Machine, _: int) -> None:
    value, key = machine.pop(), machine.pop()
    machine.top(dict, "it sets an item of")[as_key(key)] = value


def _set_items(machine: Machine, _: int) -> None:
    items = machine.pop_mark()
    machine.top(dict, "it sets items of").update(_pairs(items))


def _add_items(machine: Machine, _: int) -> None:
    items = machine.pop_mark()
    machine.top(set, "it adds items to").update(map(as_key, items))


def _get(machine: Machine, size: int) -> None:
    index = machine.stream.unsigned(size) if size else int(machine.stream.line())
    if index not in machine.memo:
        raise RefusedError(f"not a whole pickle: it refers to value {index}, which is not there; get it anew")
    machine.push(machine.memo[index])


def _put(machine: Machine, size: int) -> None:
    index = machine.stream.unsigned(size) if size else int(machine.stream.line())
    machine.memo[index] = machine.top(object, "it remembers")


def _memoize(machine: Machine, _: int) -> None:
    machine.memo[len(machine.memo)] = machine.top(object, "it remembers")


def _name_lines(machine: Machine, _: int) -> None:
    module, name = machine.stream.line(), machine.stream.line()
    machine.push(machine.find(module.decode("utf-8"), name.decode("utf-8")))


def _name(machine: Machine, _: int) -> None:
    name, module = machine.pop(), machine.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise RefusedError("a name that is no text, which is not among what data files may hold")
    machine.push(machine.find(module, name))


def _call(machine: Machine, _: int) -> None:
    arguments, name = machine.pop(), machine.pop()
    machine.call(name, arguments)


def _call_with_names(machine: Machine, _: int) -> None:
    if machine.pop() != {}:
        raise RefusedError("a call with named arguments, which is not among what data files may hold")
    _call(machine, 0)


def _call_marked(machine: Machine, _: int) -> None:
    items = machine.pop_mark()
    machine.call(items[0] if items else None, tuple(items[1:]))


def _call_named(machine: Machine, _: int) -> None:
    _name_lines(machine, 0)
    name = machine.pop()
    machine.call(name, tuple(machine.pop_mark()))


def _build(machine: Machine, _: int) -> None:
    state = machine.pop()
    target = machine.top(object, "it sets the state of")
    if isinstance(target, Ordered):
        return
    if not isinstance(target, Built):
        raise RefusedError(f"a state for {shown(type(target).__name__)}, which is not among what data files may hold")
    target.build(state, machine)


def _persistent(machine: Machine, _: int) -> None:
    key = machine.pop()
    if machine.persistent is None:
        raise RefusedError("it refers to something outside of itself, which only torch's files may")
    machine.push(machine.persistent(key))


def _refuse(machine: Machine, what: str) -> None:
    raise RefusedError(f"it uses {what}, which is not among what data files may hold")


def _pairs(items: list[Any]) -> dict[Any, Any]:
    if len(items) % 2:
        raise RefusedError("not a whole pickle: a key without a value; get it anew")
    return {as_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)}


INSTRUCTIONS: dict[int, tuple[Callable[[Machine, Any], None], Any]] = {
    ord(code): (do, argument)
    for code, do, argument in (
        ("\x80", _pass, 1),
        # A frame says how much to read at once; nothing depends on it.
        ("\x95", _pass, 8),
        ("N", _constant, None),
        ("\x88", _constant, True),
        ("\x89", _constant, False),
        (")", _constant, ()),
        ("]", _empty, list),
        ("}", _empty, dict),
        ("\x8f", _empty, set),
        ("K", _unsigned, 1),
        ("M", _unsigned, 2),
        ("J", _signed, 4),
        ("\x8a", _long, 1),
        ("\x8b", _long, 4),
        ("I", _number_line, int),
        ("L", _number_line, int),
        ("F", _number_line, float),
        ("G", _float, 0),
        ("C", _bytes, 1),
        ("B", _bytes, 4),
        ("\x8e", _bytes, 8),
        ("\x96", _bytes, 8),
        ("\x8c", _text, 1),
        ("X", _text, 4),
        ("\x8d", _text, 8),
        ("U", _old_text, 1),
        ("T", _old_text, 4),
        ("V", _text_line, "raw_unicode_escape"),
        ("S", _text_line, "latin-1"),
        ("(", _mark, 0),
        ("0", _pop, 0),
        ("1", _pop_mark, 0),
        ("2", _duplicate, 0),
        ("\x85", _tuple, 1),
        ("\x86", _tuple, 2),
        ("\x87", _tuple, 3),
        ("t", _collect, tuple),
        ("l", _collect, list),
        ("d", _collect, _pairs),
        ("\x91", _collect, lambda items: frozenset(map(as_key, items))),
        ("a", _append, 0),
        ("e", _extend, 0),
        ("s", _set_item, 0),
        ("u", _set_items, 0),
        ("\x90", _add_items, 0),
        ("h", _get, 1),
        ("j", _get, 4),
        ("g", _get, 0),
        ("q", _put, 1),
        ("r", _put, 4),
        ("p", _put, 0),
        ("\x94", _memoize, 0),
        ("c", _name_lines, 0),
        ("\x93", _name, 0),
        ("R", _call, 0),
        ("\x81", _call, 0),
        ("\x92", _call_with_names, 0),
        ("o", _call_marked, 0),
        ("i", _call_named, 0),
        ("b", _build, 0),
        ("Q", _persistent, 0),
        ("P", _refuse, "an id in text"),
        ("\x82", _refuse, "an extension code"),
        ("\x83", _refuse, "an extension code"),
        ("\x84", _refuse, "an extension code"),
        ("\x97", _refuse, "data outside of the file"),
        ("\x98", _refuse, "data outside of the file"),
    )
}
"""What to do at each byte, and with which argument."""
