"""The helper thread that looks after a map which runs in the caller's thread."""

from __future__ import annotations

import threading

from procession.system import alarm


def test_an_alarm_calls_once() -> None:
    """An armed alarm makes its call, in another thread."""
    called = threading.Event()
    threads: list[int] = []

    def note() -> None:
        threads.append(threading.get_ident())
        called.set()

    alarm.after(0.001, note)
    assert called.wait(10)
    alarm.stop()
    assert threads != [threading.get_ident()]
    assert len(threads) == 1


def test_a_cancelled_alarm_is_silent() -> None:
    """What was cancelled is not called, while what was armed later is."""
    calls: list[str] = []
    called = threading.Event()
    # Half a second, so that it is cancelled in time however busy the machine is.
    alarm.after(0.5, lambda: calls.append("cancelled")).cancel()
    alarm.after(0.51, called.set)
    assert called.wait(10)
    alarm.stop()
    assert calls == []


def test_the_thread_can_be_stopped_at_once() -> None:
    """Who stops it while it begins, or while it waits for a cancelled alarm, does not wait long."""
    for _ in range(50):
        alarm.after(3600, lambda: None).cancel()
        alarm.stop()
        assert not alarm._clock._begun
        assert "procession-alarm" not in {thread.name for thread in threading.enumerate()}


def test_one_thread_serves_all_that_are_cancelled() -> None:
    """Alarms that are cancelled before they are due do not end the thread."""
    called = threading.Event()
    alarm.after(0.001, called.set)
    assert called.wait(10)
    before = alarm._clock._thread
    for _ in range(3):
        called.clear()
        alarm.after(3600, lambda: None).cancel()
        alarm.after(0.001, called.set)
        assert called.wait(10)
    assert alarm._clock._thread is before
    alarm.stop()


def test_an_earlier_alarm_overtakes() -> None:
    """A nearer alarm is called first, though the thread sleeps until a later one."""
    order: list[str] = []
    done = threading.Event()
    late = alarm.after(3600, done.set)

    def near() -> None:
        order.append("near")
        done.set()

    alarm.after(0.001, near)
    assert done.wait(10)
    assert order == ["near"]
    late.cancel()
    alarm.stop()
