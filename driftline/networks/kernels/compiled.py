"""How kernels are compiled: once for a CPU and a release, and kept in numba's cache from then on.

Numba keeps what it has compiled beside the sources, where it may write there, else in the user's cache folder, or in
``NUMBA_CACHE_DIR``. Where it may write to none of these, as in a container whose root is read-only, it reads what an image
brought there. It compares the file of a function alone with what it has kept; a kernel calls functions of other files, so here
these are compared as well. ``NUMBA_DISABLE_JIT=1`` lets Python run the kernels, and look at every index.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from typing import Any, TypeVar, cast

import numba
from numba import config, types
from numba.core import caching

from driftline.support.cores import usable_cores

logger = logging.getLogger("driftline.kernels")

F = TypeVar("F", bound=Callable[..., Any])

F0, F1, F2, F3 = (types.Array(types.float32, dimensions, "C") for dimensions in range(4))
I0, I1, I2 = (types.Array(types.int64, dimensions, "C") for dimensions in range(3))
D1, D2 = (types.Array(types.float64, dimensions, "C") for dimensions in (1, 2))
B1 = types.Array(types.boolean, 1, "C")
INT, FLOAT, DOUBLE, FLAG = types.int64, types.float32, types.float64, types.boolean

_IMPORTED = re.compile(rb"^from driftline\.networks\.kernels(?:\.(\w+) import| import (\w+))", re.MULTILINE)
_kernels: list[tuple[Any, tuple[Any, ...]]] = []
_loading = threading.Lock()

MOST_PROCESSES = 4
"""Of more that compile, each has too little to do for what it takes to begin."""


def inner(function: F) -> F:
    """A function that kernels call; Python does not."""
    return cast(F, numba.njit(nogil=True, error_model="numpy")(function))


def kernel(*arguments: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A function that Python calls, of arguments of these types alone, whether :func:`warm` or a call compiles it."""

    def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
        if config.DISABLE_JIT:
            return function
        dispatcher = numba.njit(nogil=True, error_model="numpy")(function)
        kept = _cache_of(function)
        if kept is not None:
            kept._cache_file._source_stamp = _sources(function.__module__.rpartition(".")[2])
            dispatcher._cache = kept
        _kernels.append((dispatcher, arguments))
        dispatcher._compile_for_args = partial(_at_first_call, dispatcher, arguments)
        return cast(Callable[..., Any], dispatcher)

    return compiled


def _cache_of(function: Callable[..., Any]) -> caching.FunctionCache | None:
    """Where a kernel is kept; None: nowhere, it is compiled at each start."""
    for kind in (caching.FunctionCache, _ReadOnlyCache):
        try:
            return kind(function)
        except RuntimeError:  # No such folder.
            pass
    return None


def _read_only(locator: Any) -> Any:
    """Finds the folder that ``locator`` does, where it holds kernels, whether or not it can be written to."""

    def ensure_cache_path(self: Any) -> None:
        if not any(Path(self.get_cache_path()).glob("*.nbi")):
            raise FileNotFoundError

    return type(f"ReadOnly{locator.__name__}", (locator,), {"ensure_cache_path": ensure_cache_path})


class _ReadOnlyFolders(caching.CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes = [_read_only(each) for each in caching.CacheImpl._locator_classes[:3]]  # noqa: RUF012


class _ReadOnlyCache(caching.FunctionCache):  # type: ignore[misc]
    _impl_class = _ReadOnlyFolders

    def save_overload(self, signature: Any, data: Any) -> None:
        """Keeps nothing: what is compiled here is compiled again at the next start, and `warm` says so."""


def warm() -> None:
    """Loads every kernel, and compiles those that are not in the cache: none is compiled later, as in the midst of a request.

    It says in the log that it compiles. Of several threads or processes that begin at once one compiles, on all cores, and the
    others wait.
    """
    with _loading:
        _warm()


def _warm() -> None:
    waiting = [(dispatcher, arguments) for dispatcher, arguments in _kernels if not dispatcher.signatures]
    if all(_is_cached(*each) for each in waiting):
        _load(waiting)
        return
    where, begin = folder(), time.monotonic()
    found = (
        f"later starts find them in {where}" if where else "no folder for them can be written to: set NUMBA_CACHE_DIR"
    )
    logger.warning("compiling the kernels of the mixture of experts, which takes up to a minute; %s", found)
    with _alone(where):
        if where is not None:
            _compile_on_all_cores([each for each in waiting if not _is_cached(*each)])
        _load(waiting)
    logger.warning("the kernels are compiled, after %.0f s", time.monotonic() - begin)


def _compile_on_all_cores(kernels: Iterable[tuple[Any, tuple[Any, ...]]]) -> None:
    """Compiles kernels into the cache, in processes that are told one after another; what these cannot compile is left."""
    longest_first = sorted(
        (dispatcher for dispatcher, _ in kernels), key=lambda each: -len(each.py_func.__code__.co_code)
    )
    names = iter([_name(dispatcher) for dispatcher in longest_first])

    def compile_in_a_process() -> None:
        command = [sys.executable, "-P", "-m", __package__, "--told"]
        with suppress(OSError), Popen(command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, text=True) as process:
            assert process.stdin is not None and process.stdout is not None
            for name in names:
                print(name, file=process.stdin, flush=True)
                if not process.stdout.readline():
                    return

    if (processes := min(usable_cores(), MOST_PROCESSES)) > 1:
        with ThreadPoolExecutor(processes) as pool:
            for _ in range(processes):
                pool.submit(compile_in_a_process)


def compile_told(names: Iterable[str]) -> Iterator[str]:
    """Compiles the kernel of each name, and gives the name when that is done."""
    found = {_name(dispatcher): (dispatcher, arguments) for dispatcher, arguments in _kernels}
    for name in names:
        _load([found[name.strip()]])
        yield name.strip()


def _name(dispatcher: Any) -> str:
    return f"{dispatcher.py_func.__module__}.{dispatcher.py_func.__name__}"


def _load(kernels: Iterable[tuple[Any, tuple[Any, ...]]]) -> None:
    for dispatcher, arguments in kernels:
        vars(dispatcher).pop("_compile_for_args", None)
        dispatcher.compile(arguments)
        dispatcher.disable_compile()


def _at_first_call(dispatcher: Any, types: tuple[Any, ...], *_: Any) -> Any:
    """What to call at a first call: compiled as declared, where numba would compile for the types of that call."""
    _load([(dispatcher, types)])
    return dispatcher


@contextmanager
def _alone(where: str | None) -> Iterator[None]:
    """Keeps other processes with the same cache waiting."""
    if where is None:
        yield
        return
    with Path(where, "driftline-kernels.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def folder() -> str | None:
    """Where compiled kernels are kept; None where no folder can be written to."""
    dispatcher, _ = _kernels[0]
    found: str | None = dispatcher._cache.cache_path
    return None if isinstance(dispatcher._cache, _ReadOnlyCache) else found


def build() -> dict[str, str]:
    """What must be equal for the same kernels to give the same bits."""
    return {"numba": numba.__version__}


def _is_cached(dispatcher: Any, arguments: tuple[Any, ...]) -> bool:
    if dispatcher._cache.cache_path is None:
        return False
    codegen = dispatcher.targetctx.codegen()
    return dispatcher._cache._index_key(arguments, codegen) in dispatcher._cache._cache_file._load_index()


@cache
def _sources(name: str) -> bytes:
    """A digest of a file of kernels, and of those that it imports."""
    source = Path(__file__).with_name(f"{name}.py").read_bytes()
    found = hashlib.sha256(source)
    for other in sorted(set(_IMPORTED.findall(source))):
        found.update(_sources(next(filter(None, other)).decode()))
    return found.digest()
