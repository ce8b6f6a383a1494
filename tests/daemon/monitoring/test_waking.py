"""Waking a thread that waits for descriptors."""

from __future__ import annotations

import select
import threading

from daemon.monitoring.waking import Waker

LONG_S = 60.0


def test_a_waiting_thread_wakes_once_for_many_calls() -> None:
    waker, woken = Waker(), []

    def wait() -> None:
        woken.append(select.select([waker], [], [], LONG_S)[0])

    thread = threading.Thread(target=wait)
    thread.start()
    for _ in range(5_000):  # more than the descriptor holds
        waker.wake()
    thread.join(LONG_S)
    assert woken == [[waker]]
    while select.select([waker], [], [], 0)[0]:
        waker.clear()
    waker.clear()  # with nothing to clear, it does not wait
    waker.wake()
    assert select.select([waker], [], [], 0)[0] == [waker]
    waker.close()


def test_a_call_after_the_end_reaches_no_other_descriptor() -> None:
    waker = Waker()
    waker.close()
    others = [Waker() for _ in range(4)]  # they get the numbers that it had
    waker.wake()
    assert waker.fileno() == -1
    assert select.select(others, [], [], 0)[0] == []
    for other in others:
        other.close()
