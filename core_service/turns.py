"""Threads that take turns: many may wait, few are at work.

Python runs one thread at a time, and threads that are all ready hand its lock around at a cost. So a call that waits
for the database or a provider gives its turn away (`elsewhere`), and the next one goes on. Who comes back goes before
who has not begun.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")

_Task = tuple["Future[Any]", Callable[[], Any]]


class _Current(threading.local):
    """Whose thread this is."""

    turns: "Turns | None" = None


_current = _Current()


class elsewhere:  # noqa: N801 (used like a function)
    """Around a wait for somebody else: another call may have this thread's turn meanwhile, if it has one."""

    __slots__ = ("_turns",)

    def __enter__(self) -> None:
        self._turns = _current.turns
        if self._turns is not None:
            self._turns.give_up()

    def __exit__(self, *_: object) -> None:
        if self._turns is not None:
            self._turns.take_back()


class _Seat:
    """Where an idle thread waits for its next task; the newest idle thread is asked first."""

    __slots__ = ("task", "wake")

    def __init__(self) -> None:
        self.wake = threading.Lock()
        self.wake.acquire()
        self.task: _Task | None = None


class Turns(Executor):
    """At most `threads` threads, of which at most `at_work` are not `elsewhere`."""

    def __init__(self, threads: int, at_work: int, name: str) -> None:
        self._at_work = at_work
        self._most = threads
        self._name = name
        self._lock = threading.Lock()
        self._waiting: deque[_Task] = deque()
        self._returning: deque[threading.Lock] = deque()
        self._idle: list[_Seat] = []
        self._threads: list[threading.Thread] = []
        self._busy = 0
        self._is_over = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """Runs `fn` when it is its turn; first come, first served."""
        future: Future[T] = Future()
        task: _Task = (future, lambda: fn(*args, **kwargs))
        with self._lock:
            if self._is_over:
                raise RuntimeError("no new work after shutdown")
            self._waiting.append(task)
            self._begin_next()
        return future

    def give_up(self) -> None:
        """The calling thread only waits from now."""
        with self._lock:
            self._busy -= 1
            self._begin_next()

    def take_back(self) -> None:
        """The calling thread goes on when it is its turn, before tasks that have not begun."""
        with self._lock:
            if self._busy < self._at_work:
                self._busy += 1
                return
            wake = threading.Lock()
            wake.acquire()
            self._returning.append(wake)
        wake.acquire()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002
        """What is waiting still runs, unless `cancel_futures`."""
        with self._lock:
            self._is_over = True
            if cancel_futures:
                for future, _ in self._waiting:
                    future.cancel()
                self._waiting.clear()
            for seat in self._idle:
                seat.wake.release()
            self._idle.clear()
            threads = list(self._threads)
        if wait:
            for thread in threads:
                thread.join()

    def _begin_next(self) -> None:
        """Lets one more go on, if there may be one more at work. Under the lock."""
        if self._busy >= self._at_work:
            return
        if self._returning:
            self._busy += 1
            self._returning.popleft().release()
            return
        if not self._waiting:
            return
        if self._idle:
            seat = self._idle.pop()
            seat.task = self._waiting.popleft()
            self._busy += 1
            seat.wake.release()
        elif len(self._threads) < self._most:
            seat = _Seat()
            seat.task = self._waiting.popleft()
            self._busy += 1
            name = f"{self._name}-{len(self._threads)}"
            thread = threading.Thread(target=self._work, args=(seat,), name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _work(self, seat: _Seat) -> None:
        _current.turns = self
        while True:
            task, seat.task = seat.task, None
            while task is not None:
                _run(*task)
                del task
                task = self._next()
            with self._lock:
                # Between the two looks somebody may have come.
                if self._waiting and self._busy < self._at_work:
                    self._busy += 1
                    seat.task = self._waiting.popleft()
                    continue
                if self._is_over:
                    return
                self._idle.append(seat)
            seat.wake.acquire()
            if seat.task is None:
                return

    def _next(self) -> _Task | None:
        with self._lock:
            if self._returning:
                self._returning.popleft().release()  # it has this thread's turn now
            elif self._waiting:
                return self._waiting.popleft()
            else:
                self._busy -= 1
            return None


def _run(future: "Future[Any]", work: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        value = work()
    except BaseException as failure:  # noqa: BLE001 (the future carries it)
        future.set_exception(failure)
    else:
        future.set_result(value)
