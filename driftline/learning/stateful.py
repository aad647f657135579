"""State by declaration: an object names the attributes that a checkpoint must keep, and the ones that follow from them."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, TypeAlias, runtime_checkable

from torch import Tensor, nn

from driftline.networks.sealed import writable

if TYPE_CHECKING:
    from driftline.networks.served_model import ServedModel

Former: TypeAlias = "Callable[[Mapping[str, Tensor], int], ServedModel]"
"""Makes a former module of the learner's network from its tensors and its width."""

PLAIN = (float, int, str, type(None))


@dataclass(frozen=True)
class State:
    """Tensors by dotted name, and plain data that JSON keeps bit for bit."""

    tensors: dict[str, Tensor]
    data: dict[str, Any]

    def below(self, name: str) -> State:
        """The part of the state that belongs to ``name``."""
        data = self.data.get(name)
        return State(part(self.tensors, name), data if isinstance(data, dict) else {})


@runtime_checkable
class TensorRecord(Protocol):
    """A value that consists of tensors, as :class:`driftline.learning.examples.Examples` does."""

    def tensors(self) -> dict[str, Tensor]: ...

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self: ...


class Stateful:
    """An object whose state is declared.

    ``STATE`` names the attributes that are its state, in the order in which they are restored; ``DERIVED`` those that are given
    when it is made, or follow from the others. Together they are all of its attributes, those of the bases included.

    An attribute may be a tensor, a module, another :class:`Stateful`, a :class:`TensorRecord`, a dict of tensors, or plain
    data: numbers, strings, None, and lists, tuples, sets, deques and dicts of them. For anything else a class overrides
    :meth:`packed` and :meth:`restored`.
    """

    STATE: ClassVar[tuple[str, ...]] = ()
    DERIVED: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def state_names(cls) -> tuple[str, ...]:
        """The attributes that are state, those of the bases first."""
        return _declared(cls, "STATE")

    @classmethod
    def derived_names(cls) -> tuple[str, ...]:
        """The attributes that are no state."""
        return _declared(cls, "DERIVED")

    def state_dict(self) -> State:
        """The state; its tensors may be those that the object goes on with."""
        tensors: dict[str, Tensor] = {}
        data: dict[str, Any] = {}
        for name in self.state_names():
            value = self.packed(name)
            if isinstance(value, Tensor):
                tensors[name] = value
            elif isinstance(value, State):
                tensors |= named(name, value.tensors)
                data[name] = value.data
            else:
                data[name] = value
        return State(tensors, data)

    def load_state_dict(self, state: State) -> None:
        """Sets the state that :meth:`state_dict` gave."""
        for name in self.state_names():
            setattr(self, name, self.restored(name, state))

    def packed(self, name: str) -> Any:
        """An attribute as it is kept: a tensor, a :class:`State`, or what JSON has."""
        return _packed(getattr(self, name))

    def restored(self, name: str, state: State) -> Any:
        """The value of an attribute from the ``state`` of this object, by what the attribute is now."""
        now = getattr(self, name)
        if isinstance(now, Tensor):
            return state.tensors[name].clone()
        if isinstance(now, Stateful):
            now.load_state_dict(state.below(name))
            return now
        if isinstance(now, nn.Module):
            now.load_state_dict(part(state.tensors, name))
            return now
        if isinstance(now, TensorRecord):
            own = part(state.tensors, name)
            return type(now).from_tensors({key: writable(value) for key, value in own.items()})
        if isinstance(now, dict) and state.data.get(name) in (None, {}):
            return {key: value.clone() for key, value in part(state.tensors, name).items()}
        return _unpacked(now, copied(state.data[name]))


def copied(value: Any) -> Any:
    """Plain data of its own, as ``copy.deepcopy`` gives it, which takes several times as long for the same lists of numbers."""
    kind = type(value)
    if kind is dict:
        return {key: copied(each) for key, each in value.items()}
    if kind is list:
        return [each if isinstance(each, PLAIN) else copied(each) for each in value]
    return value if isinstance(value, PLAIN) else copy.deepcopy(value)


def undeclared(value: Stateful) -> set[str]:
    """The attributes of an object that are neither state nor named as derived."""
    return set(vars(value)) - {*value.state_names(), *value.derived_names()}


def _declared(cls: type[Stateful], kind: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for base in reversed(cls.__mro__) for name in vars(base).get(kind, ())))


def _packed(value: Any) -> Any:
    # Most values are numbers in long lists: they come first, and the protocol, which is slow to ask for, comes last.
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, Stateful):
        return value.state_dict()
    if isinstance(value, nn.Module):
        return State(dict(value.state_dict()), {})
    if isinstance(value, dict):
        if value and all(isinstance(each, Tensor) for each in value.values()):
            return State(dict(value), {})
        if all(isinstance(key, str) for key in value):
            return {key: _packed(each) for key, each in value.items()}
        return [[key, _packed(each)] for key, each in value.items()]
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, list | tuple | deque):
        return [_packed(each) for each in value]
    return State(value.tensors(), {}) if isinstance(value, TensorRecord) else value


def _unpacked(now: Any, value: Any) -> Any:
    """Plain data in the container that an attribute is now."""
    if isinstance(now, deque):
        return deque(value, maxlen=now.maxlen)
    if isinstance(now, set | tuple):
        return type(now)(value)
    if isinstance(now, dict):
        return dict(value)
    return list(value) if isinstance(now, list) else value


def part(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """The tensors below ``name``, without it."""
    prefix = name + "."
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def named(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors below ``name``."""
    return {f"{name}.{key}": value for key, value in tensors.items()}
