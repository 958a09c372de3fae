"""Who uses Ray and who lets it go exclude each other."""

from __future__ import annotations

import threading

from procession.backends.cluster.ray_use import ray_use
from tests.support.forking import run


def _alone(order: list[str], begun: threading.Event) -> None:
    begun.set()
    with ray_use.alone():
        order.append("alone")


def test_it_is_let_go_when_no_thread_uses_it() -> None:
    """Who lets it go waits for those who use it, each of whom may do so again meanwhile."""
    order: list[str] = []
    begun = threading.Event()
    with ray_use.shared():
        thread = threading.Thread(target=_alone, args=(order, begun))
        thread.start()
        begun.wait()
        with ray_use.shared():
            order.append("shared")
    thread.join()
    assert order == ["shared", "alone"]


def test_no_thread_uses_it_while_it_is_let_go() -> None:
    """Who begins to use it waits for who lets it go; that thread itself may do both."""
    order: list[str] = []

    def use() -> None:
        begun.set()
        with ray_use.shared():
            order.append("shared")

    begun = threading.Event()
    with ray_use.shared(), ray_use.alone(), ray_use.alone():
        thread = threading.Thread(target=use)
        thread.start()
        begun.wait()
        with ray_use.shared():
            order.append("alone")
    thread.join()
    assert order == ["alone", "shared"]


def test_a_forked_child_begins_anew() -> None:
    """There no thread uses it, whatever those of the parent did as it was forked."""
    lines = run("""
        from procession.backends.cluster.ray_use import ray_use

        def let_go():
            with ray_use.alone(), ray_use.shared():
                print("alone", flush=True)

        begun, end = threading.Event(), threading.Event()

        def hold():
            with ray_use.shared():
                begun.set()
                end.wait()

        threading.Thread(target=hold).start()
        begun.wait()
        print(in_child(let_go), flush=True)
        end.set()
        let_go()
    """)
    assert lines.split() == ["alone", "0", "alone"]
