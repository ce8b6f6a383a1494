"""Waking a thread that waits for descriptors."""

from __future__ import annotations

import select
import threading

from daemon.monitoring.waking import Waker

LONG_S = 60.0


def test_a_waiting_thread_wakes_once_for_many_calls() -> None:
    waker, woken = Waker(), []

    def wait() -> None:
        with waker.waiting():
            woken.append(select.select([waker], [], [], LONG_S)[0])
            while select.select([waker], [], [], 0)[0]:
                waker.clear()
            waker.clear()  # with nothing to clear, it does not wait

    thread = threading.Thread(target=wait)
    thread.start()
    for _ in range(5_000):  # more than the descriptor holds, some of them before the thread waits
        waker.wake()
    thread.join(LONG_S)
    assert woken == [[waker]]


def test_a_call_before_the_thread_waits_is_not_lost() -> None:
    waker = Waker()
    waker.wake()
    with waker.waiting():
        assert select.select([waker], [], [], LONG_S)[0] == [waker]


def test_a_call_after_the_end_reaches_no_other_descriptor() -> None:
    waker, other = Waker(), Waker()
    with waker.waiting():
        pass
    with other.waiting():  # it gets the numbers that the first one had
        waker.wake()
        waker.clear()
        assert waker.fileno() == -1
        assert select.select([other], [], [], 0)[0] == []
