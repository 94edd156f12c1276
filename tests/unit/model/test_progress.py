"""How a long verb counts, and how it is stopped: from threads, from callbacks, by an interrupt, in the background."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

import pytest

from dicomlab.model.progress import Control, Operation, Progress, Work
from dicomlab.model.trace import current, trace

LONG_S = 30.0
"""Longer than anything here takes: whoever waits that long was not woken."""


def run(work: Callable[[Control], Any], *, background: bool = False, progress: Any = False) -> Any:
    return Work("test", "things", work, progress=progress).carry_out(background=background)


@pytest.fixture(autouse=True)
def handler_restored() -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    yield
    assert signal.getsignal(signal.SIGINT) is before


# ------------------------------------------------------------------------------------------------------------ counting


def test_counts_add_up() -> None:
    seen: list[Progress] = []
    control = Control(seen.append, total=5)
    control.advance()
    control.advance(2, failed=1, octets=100)
    control.advance(0, octets=7)
    last = control.progress
    assert (last.done, last.failed, last.total, last.octets) == (3, 1, 5, 107)
    assert [p.done for p in seen] == [1, 3, 3]
    assert 0 <= seen[0].elapsed_s <= last.elapsed_s


def test_counts_from_several_threads() -> None:
    seen: list[int] = []
    control = Control(lambda progress: seen.append(progress.done))

    def work() -> None:
        for _ in range(300):
            control.advance(octets=2)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (control.progress.done, control.progress.octets) == (1200, 2400)
    assert seen == list(range(1, 1201))  # one at a time, none twice, none out of order


# ---------------------------------------------------------------------------------------------------------- cancelling


def test_on_cancel_is_called_once() -> None:
    control = Control()
    calls: list[str] = []
    with control.on_cancel(lambda: calls.append("within")):
        assert not control.cancelled
        control.cancel()
        assert control.cancelled
        assert calls == ["within"]
        control.cancel()
    assert calls == ["within"]


def test_on_cancel_after_the_fact() -> None:
    control = Control()
    control.cancel()
    calls: list[str] = []
    with control.on_cancel(lambda: calls.append("late")):
        assert calls == ["late"]
        control.cancel()
    assert calls == ["late"]


def test_on_cancel_ends_with_its_block() -> None:
    control = Control()
    calls: list[str] = []
    with control.on_cancel(lambda: calls.append("never")):
        pass
    with pytest.raises(ZeroDivisionError), control.on_cancel(lambda: calls.append("never")):
        1 / 0  # noqa: B018
    control.cancel()
    assert calls == []


def test_every_callback_is_called_even_if_one_fails() -> None:
    control = Control()
    calls: list[int] = []

    def fail() -> None:
        calls.append(2)
        raise OSError("closed already")

    with (
        control.on_cancel(lambda: calls.append(1)),
        control.on_cancel(fail),
        control.on_cancel(lambda: calls.append(3)),
        pytest.raises(OSError, match="closed already"),
    ):
        control.cancel()
    assert calls == [1, 2, 3]


def test_a_callback_may_cancel_again() -> None:
    control = Control()
    calls: list[int] = []

    def again() -> None:
        calls.append(1)
        control.cancel()

    with control.on_cancel(again):
        control.cancel()
    assert calls == [1]


def test_the_same_callback_in_two_blocks_is_two_calls() -> None:
    control = Control()
    calls: list[int] = []

    def callback() -> None:
        calls.append(1)

    with control.on_cancel(callback), control.on_cancel(callback):
        control.cancel()
    assert calls == [1, 1]


def test_many_threads_cancel_and_register_at_once() -> None:
    for _ in range(100):
        control = Control()
        calls: list[int] = []
        start = threading.Barrier(4)

        def register(
            number: int, control: Control = control, calls: list[int] = calls, start: threading.Barrier = start
        ) -> None:
            start.wait()
            with control.on_cancel(lambda: calls.append(number)):
                control.wait(LONG_S)

        def cancel(control: Control = control, start: threading.Barrier = start) -> None:
            start.wait()
            control.cancel()

        threads = [threading.Thread(target=register, args=(n,)) for n in (1, 2)]
        threads += [threading.Thread(target=cancel) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(calls) == [1, 2]


def test_a_signal_while_a_callback_is_being_registered() -> None:
    """The handler runs in the midst of on_cancel, in the same thread: still one call."""
    control = Control()
    calls: list[int] = []

    class Signalling(list[Any]):
        def append(self, one: Any) -> None:
            super().append(one)
            control.cancel()  # as the handler would

    control._callbacks = Signalling()
    with control.on_cancel(lambda: calls.append(1)):
        pass
    assert calls == [1]


def test_cancel_waits_for_no_lock() -> None:
    """A handler interrupts whoever holds one."""
    control = Control()
    with control._lock:
        thread = threading.Thread(target=control.cancel)
        thread.start()
        thread.join(LONG_S)
        assert not thread.is_alive()


def test_wait_wakes_everybody() -> None:
    control = Control()
    assert control.wait(0) is False
    assert control.wait(-1) is False
    woken: list[bool] = []
    threads = [threading.Thread(target=lambda: woken.append(control.wait(LONG_S))) for _ in range(3)]
    for thread in threads:
        thread.start()
    control.cancel()
    for thread in threads:
        thread.join()
    assert woken == [True] * 3
    assert control.wait(LONG_S) is True


def test_wait_in_the_main_thread_wakes_at_an_interrupt() -> None:
    def work(control: Control) -> bool:
        timer = threading.Timer(0.05, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
        timer.start()
        try:
            return control.wait(LONG_S)
        finally:
            timer.join()

    assert run(work) is True


# ----------------------------------------------------------------------------------------------------------- interrupts


def test_the_first_interrupt_cancels_and_the_verb_returns() -> None:
    def work(control: Control) -> str:
        signal.raise_signal(signal.SIGINT)
        assert control.cancelled
        return "what arrived"

    assert run(work) == "what arrived"


def test_the_second_interrupt_raises() -> None:
    def work(control: Control) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the second interrupt did not raise")

    with pytest.raises(KeyboardInterrupt):
        run(work)


def test_after_the_verb_an_interrupt_is_an_interrupt() -> None:
    run(lambda control: None)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_the_handler_is_restored_after_an_error() -> None:
    mine: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: mine.append(number))
    try:
        with pytest.raises(RuntimeError):
            run(fail_with(RuntimeError()))
        signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert mine == [signal.SIGINT]


def test_who_ignores_interrupts_keeps_ignoring_them() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:

        def work(control: Control) -> bool:
            signal.raise_signal(signal.SIGINT)
            return control.cancelled

        assert run(work) is False
    finally:
        signal.signal(signal.SIGINT, before)


def test_outside_the_main_thread_no_handler_is_set() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen: list[object] = []
    thread = threading.Thread(target=lambda: run(lambda control: seen.append(signal.getsignal(signal.SIGINT))))
    thread.start()
    thread.join()
    assert seen == [before]


def test_a_verb_within_a_verb_ends_with_it() -> None:
    def outer(control: Control) -> tuple[bool, bool]:
        def inner(inner_control: Control) -> bool:
            signal.raise_signal(signal.SIGINT)
            return inner_control.cancelled

        first: bool = run(inner)
        return first, run(lambda later: later.cancelled)

    assert run(outer) == (True, True)
    assert run(lambda control: control.cancelled) is False  # and the next one starts anew


def test_a_verb_within_a_verb_shows_no_bar_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(lambda control: run(lambda inner: "x", progress=True)) == "x"
    assert capsys.readouterr() == ("", "")


# ----------------------------------------------------------------------------------------------------------- progress


def test_a_function_gets_every_step() -> None:
    seen: list[int] = []
    run(lambda control: [control.advance() for _ in range(3)], progress=lambda progress: seen.append(progress.done))
    assert seen == [1, 2, 3]


@pytest.mark.parametrize("progress", [True, False])
def test_quick_work_shows_nothing(progress: bool, capsys: pytest.CaptureFixture[str]) -> None:
    run(lambda control: control.advance(), progress=progress)
    assert capsys.readouterr() == ("", "")


def test_an_error_in_the_callers_function_reaches_the_caller() -> None:
    def show(progress: Progress) -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        run(lambda control: control.advance(), progress=show)


# ---------------------------------------------------------------------------------------------------------- background


def fail_with(error: BaseException) -> Callable[[Control], Any]:
    def work(control: Control) -> None:
        raise error

    return work


def test_result() -> None:
    operation = run(lambda control: 42, background=True)
    assert isinstance(operation, Operation)
    assert operation.result() == 42
    assert operation.result(timeout_s=0) == 42
    assert operation.done
    assert "ended" in repr(operation)


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), SystemExit(3)])
def test_errors_are_carried_to_whoever_asks(error: BaseException) -> None:
    operation = run(fail_with(error), background=True)
    for _ in range(2):
        with pytest.raises(type(error)) as caught:
            operation.result()
        assert caught.value is error


@pytest.mark.parametrize(
    ("work", "outcome", "state"),
    [
        (lambda control: 42, "ended", "ended"),
        (lambda control: SimpleNamespace(complete=False, note="it\x1b said no more"), "not complete: it\\x1b said no more", "ended"),
        (lambda control: SimpleNamespace(complete=False), "not complete", "ended"),
        (fail_with(ValueError("x")), "x", "✗ ended with ValueError"),
        (fail_with(ValueError()), "ValueError", "✗ ended with ValueError"),
    ],
)  # fmt: skip
def test_how_it_ended_is_told_in_one_line(work: Callable[[Control], Any], outcome: str, state: str) -> None:
    operation = run(work, background=True)
    assert operation.wait(LONG_S)
    assert operation.outcome == outcome
    summary = operation._summary_()
    assert dict(summary.facts)["state"] == state
    assert summary.notes == (() if outcome == "ended" else (outcome,))


def test_cancel_and_timeout() -> None:
    started = threading.Event()

    def work(control: Control) -> str:
        control.advance(3, failed=1)
        started.set()
        control.wait(LONG_S)
        return "what arrived"

    operation = Work("find", "rows", work, total=9).carry_out(background=True)
    assert isinstance(operation, Operation)
    started.wait(LONG_S)
    with pytest.raises(TimeoutError, match=r"find goes on after 0\.01 s"):
        operation.result(timeout_s=0.01)
    assert not operation.done
    assert repr(operation).split()[:8] == "Operation: find state running done 3 of 9".split()
    assert operation.progress.done == 3
    operation.cancel()
    operation.cancel()
    assert operation.result() == "what arrived"
    operation.cancel()  # too late, and no harm
    assert repr(operation).split()[:8] == "Operation: find state ended done 3 of 9".split()


def test_an_interrupt_in_front_does_not_end_what_is_behind() -> None:
    release = threading.Event()
    operation = run(lambda control: (release.wait(LONG_S), control.cancelled)[1], background=True)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    release.set()
    assert operation.result() is False


def test_context_goes_along() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="none")
    token = variable.set("mine")
    try:
        with trace() as wire:
            operation = run(lambda control: (variable.get(), current()), background=True)
        assert operation.result() == ("mine", wire)  # although the block has ended
    finally:
        variable.reset(token)


def test_a_verb_within_one_in_the_background_ends_with_it() -> None:
    started = threading.Event()

    def inner(control: Control) -> bool:
        started.set()
        return control.wait(LONG_S)

    operation = run(lambda control: run(inner), background=True)
    started.wait(LONG_S)
    operation.cancel()
    assert operation.result() is True


@pytest.mark.parametrize(("said", "off"), [("1", True), ("0", False), ("", False)])
def test_a_bar_can_be_turned_off_for_all(said: str, off: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    import tqdm.auto

    bars: list[bool] = []

    class Kept(tqdm.auto.tqdm):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            bars.append(self.disable)

    monkeypatch.setenv("TQDM_DISABLE", said)
    monkeypatch.setattr(tqdm.auto, "tqdm", Kept)
    assert run(lambda control: control.advance(), progress=True) is None
    assert bars == [off]
