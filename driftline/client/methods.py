"""How a call that is declared once becomes a method of both clients: one that sends it, and one that awaits its answer."""

from __future__ import annotations

import functools
import inspect
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from driftline.client.requests import Call, Wait

T = TypeVar("T")
P = ParamSpec("P")


class Sender:
    """A client that sends, and gives what comes back."""

    @abstractmethod
    def _send(self, call: Call[T] | Wait[T]) -> T: ...

    @abstractmethod
    def _lines(self, calls: Iterator[Call[T]]) -> Iterator[T]: ...


class AsyncSender:
    """A client whose answers are awaited."""

    @abstractmethod
    async def _send(self, call: Call[T] | Wait[T]) -> T: ...

    @abstractmethod
    def _lines(self, calls: Iterator[Call[T]]) -> AsyncIterator[T]: ...


class CallMethod(Generic[P, T]):
    """A method that is declared by what it sends: of a :class:`Sender` it gives the result, of an :class:`AsyncSender` it is
    awaited."""

    def __init__(self, declared: Callable[Concatenate[Any, P], Call[T] | Wait[T]]) -> None:
        self.declared = declared
        self.__doc__ = declared.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Callable[..., Any]: ...
    @overload
    def __get__(self, client: Sender, owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, client: AsyncSender, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, client: object, owner: type) -> Callable[..., Any]:
        return _bound(self._made(issubclass(owner, AsyncSender)), client)

    @functools.cache  # noqa: B019 - a method lives as long as its class
    def _made(self, is_async: bool) -> Callable[..., Any]:
        declared = self.declared

        def send(client: Sender, *arguments: P.args, **options: P.kwargs) -> T:
            return client._send(declared(client, *arguments, **options))

        async def send_async(client: AsyncSender, *arguments: P.args, **options: P.kwargs) -> T:
            return await client._send(declared(client, *arguments, **options))

        return _described(send_async if is_async else send, declared, "{}")


class StreamMethod(Generic[P, T]):
    """A method whose results come line by line: an iterator of a :class:`Sender`, an asynchronous one of an
    :class:`AsyncSender`."""

    def __init__(self, declared: Callable[Concatenate[Any, P], Iterator[Call[T]]]) -> None:
        self.declared = declared
        self.__doc__ = declared.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Callable[..., Any]: ...
    @overload
    def __get__(self, client: Sender, owner: type) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, client: AsyncSender, owner: type) -> Callable[P, AsyncIterator[T]]: ...
    def __get__(self, client: object, owner: type) -> Callable[..., Any]:
        return _bound(self._made(issubclass(owner, AsyncSender)), client)

    @functools.cache  # noqa: B019 - a method lives as long as its class
    def _made(self, is_async: bool) -> Callable[..., Any]:
        declared, kind = self.declared, "AsyncIterator" if is_async else "Iterator"

        def lines(client: Sender, *arguments: P.args, **options: P.kwargs) -> Iterator[T]:
            return client._lines(declared(client, *arguments, **options))

        return _described(lines, declared, kind + "[{}]")


def _bound(function: Callable[..., Any], client: object) -> Callable[..., Any]:
    found: Callable[..., Any] = function if client is None else function.__get__(client)
    return found


def _described(function: Callable[..., Any], declared: Callable[..., Any], result: str) -> Callable[..., Any]:
    """``function`` under the name, the docstring and the signature of what declares it; it gives what the call results in.

    Its annotations are text, as all are: the types of the messages are not loaded for it.
    """
    made = functools.wraps(declared)(function)
    annotation = declared.__annotations__["return"]
    call = annotation[len("Iterator[") : -1] if annotation.startswith("Iterator[") else annotation
    kind = result.format(call[call.index("[") + 1 : -1])
    made.__annotations__ = {**declared.__annotations__, "return": kind}
    made.__signature__ = inspect.signature(declared).replace(return_annotation=kind)  # type: ignore[attr-defined]
    return made
