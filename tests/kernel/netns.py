"""Network namespaces without names: gone with the last that refers to them, however a test ends."""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)

P = ParamSpec("P")
T = TypeVar("T")


def _call(name: str, *arguments: int) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")


def current() -> int:
    """A descriptor that keeps the calling thread's namespace."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


@contextmanager
def entered(namespace: int | None = None) -> Iterator[None]:
    """Inside the block the calling thread is in that namespace, or in a new one."""
    before = current()
    try:
        if namespace is None:
            _call("unshare", _CLONE_NEWNET)
        else:
            _call("setns", namespace, _CLONE_NEWNET)
        try:
            yield
        finally:
            _call("setns", before, _CLONE_NEWNET)
    finally:
        os.close(before)


def in_own_netns(function: Callable[P, T]) -> Callable[P, T]:
    """Run the function in a thread that sits in a network namespace of its own. Nothing else refers to
    the namespace, so the kernel removes it, links and all, when the thread ends."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        with ThreadPoolExecutor(1, initializer=_call, initargs=("unshare", _CLONE_NEWNET)) as thread:
            return thread.submit(function, *args, **kwargs).result()

    return wrapper
