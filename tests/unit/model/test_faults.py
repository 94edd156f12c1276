"""The switches for what goes wrong on purpose."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from dicomlab.errors import UsageError
from dicomlab.model.faults import Faults


def test_a_fault_strikes_until_it_is_removed() -> None:
    faults = Faults()
    fault = faults.reject()
    assert faults.strikes("reject", "dimse") is fault
    assert (fault.numbers["result"], fault.numbers["source"], fault.numbers["reason"]) == (1, 1, 3)
    fault.remove()
    fault.remove()
    assert faults.strikes("reject", "dimse") is None
    assert len(faults) == 0


def test_with_turns_it_off_again() -> None:
    faults = Faults()
    with faults.lie(), faults.cap(3):
        assert len(faults) == 2
    assert len(faults) == 0


def test_after_and_times_count_occasions() -> None:
    faults = Faults()
    fault = faults.unavailable(after=2, times=3)
    struck = [faults.strikes("unavailable", "web") is not None for _ in range(7)]
    assert struck == [False, False, True, True, True, False, False]
    assert (fault.seen, fault.struck) == (7, 3)


def test_a_door_keeps_the_other_out() -> None:
    faults = Faults()
    faults.stall(100, door="web")
    assert faults.strikes("stall", "dimse") is None
    hit = faults.strikes("stall", "web")
    assert hit is not None
    assert hit.numbers["octets"] == 100
    faults.abort(3)
    faults.ignore_offset()
    assert faults.strikes("abort", "web") is None
    assert faults.strikes("ignore_offset", "dimse") is None


def test_a_fault_about_one_thing_leaves_the_others() -> None:
    faults = Faults()
    fault = faults.refuse_context("1.2.840.10008.5.1.4.1.1.2", times=1)
    assert faults.strikes("refuse_context", "dimse", "1.2.840.10008.1.1") is None
    assert fault.seen == 0
    assert faults.strikes("refuse_context", "dimse", "1.2.840.10008.5.1.4.1.1.2") is fault


def test_the_last_one_comes_first_and_a_spent_one_gives_way() -> None:
    faults = Faults()
    faults.cap(10)
    faults.cap(3, times=1)
    first, then = faults.strikes("cap", "web"), faults.strikes("cap", "web")
    assert first is not None
    assert then is not None
    assert (first.numbers["rows"], then.numbers["rows"]) == (3, 10)


def test_threads_share_a_count() -> None:
    faults = Faults()
    fault = faults.lie(times=50)
    with ThreadPoolExecutor(8) as pool:
        hits = sum(pool.map(lambda _: faults.strikes("lie", "dimse") is not None, range(400)))
    assert (hits, fault.seen) == (50, 400)


def test_clear_turns_all_off() -> None:
    faults = Faults()
    faults.fail(0xA700)
    faults.slow(1000)
    assert len(faults) == 2
    assert faults
    faults.clear()
    assert len(faults) == 0
    assert faults


@pytest.mark.parametrize(
    "call",
    [
        lambda f: f.reject(source=4),
        lambda f: f.reject(result=0),
        lambda f: f.abort(0),
        lambda f: f.fail(0),
        lambda f: f.fail(0x10000),
        lambda f: f.slow(0),
        lambda f: f.stall(-1),
        lambda f: f.truncate(-1),
        lambda f: f.cap(-1),
        lambda f: f.unavailable(-1),
        lambda f: f.lie(door="fax"),
        lambda f: f.lie(after=-1),
        lambda f: f.lie(times=0),
    ],
)
def test_what_can_not_be_is_said_at_once(call: object) -> None:
    faults = Faults()
    with pytest.raises(UsageError):
        call(faults)  # type: ignore[operator]
    assert len(faults) == 0


def test_reprs_tell_what_is_on() -> None:
    faults = Faults()
    assert "none" in repr(faults)
    fault = faults.truncate(4, times=2, after=1)
    faults.strikes("truncate", "web")
    faults.strikes("truncate", "web")
    for text in (repr(faults), repr(fault)):
        assert "leaves out the last 4 octets" in text
        assert "after 1 times, 1 times more" in text
    faults.refuse_context("<script>1.2</script>")
    assert "<script>" not in faults._repr_html_()
