"""The tree of errors: as drawn, as exported, and what each carries."""

from __future__ import annotations

import inspect
import re

import pytest

import dicomlab
from dicomlab import errors
from dicomlab.errors import (
    Cancelled,
    CommunicationError,
    DicomlabError,
    Interrupted,
    LocalProtocolError,
    MissingExtra,
    ProtocolError,
    Refused,
    RemoteProtocolError,
    ServiceError,
    Unreachable,
    UsageError,
)


def defined() -> dict[str, type]:
    return {
        name: kind
        for name, kind in vars(errors).items()
        if inspect.isclass(kind) and issubclass(kind, BaseException) and kind.__module__ == errors.__name__
    }


def drawn() -> dict[str, list[str]]:
    """Name to parents, read off the figure in the docstring: the depth is where the name starts."""
    tree: dict[str, list[str]] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^    ((?:[│ ]*[├└]── )?)([A-Z]\w+)(?:\((\w+)\))?(?:\s|$)", line)
        if not found:
            continue
        depth = len(found[1])
        above = [(at, name) for at, name in above if at < depth]
        tree[found[2]] = [name for _, name in above[-1:]] + ([found[3]] if found[3] else [])
        above.append((depth, found[2]))
    return tree


def test_the_figure_is_the_classes() -> None:
    classes = {name: [base.__name__ for base in kind.__bases__] for name, kind in defined().items()}
    classes["DicomlabError"].remove("Exception")
    assert drawn() == classes
    assert len(classes) == 12


def test_every_error_is_public() -> None:
    for name, kind in defined().items():
        assert getattr(dicomlab, name) is kind
        assert name in dicomlab.__all__


@pytest.mark.parametrize(("kind", "base"), [(UsageError, ValueError), (MissingExtra, ImportError)])
def test_callers_may_catch_the_builtin(kind: type[Exception], base: type[Exception]) -> None:
    with pytest.raises(base, match="what to do"):
        raise kind("what to do")


@pytest.mark.parametrize("kind", [ProtocolError, LocalProtocolError, RemoteProtocolError])
def test_protocol_errors_say_where(kind: type[ProtocolError]) -> None:
    error = kind("length 9", section="PS3.8 §9.3.1", offset=2)
    assert (str(error), error.section, error.offset) == ("length 9 [PS3.8 §9.3.1, octet 2]", "PS3.8 §9.3.1", 2)
    error = kind("length 9", section="PS3.8 §9.3.1")
    assert (str(error), error.offset) == ("length 9 [PS3.8 §9.3.1]", None)
    assert str(kind("x", section="PS3.5", offset=0)).endswith("octet 0]")  # 0 is an offset too


@pytest.mark.parametrize("kind", [CommunicationError, Unreachable, Refused, Interrupted, Cancelled])
def test_communication_errors_say_with_whom(kind: type[CommunicationError]) -> None:
    error = kind("no answer", endpoint="PACS@host:104")
    assert (str(error), error.endpoint) == ("PACS@host:104: no answer", "PACS@host:104")


def test_service_errors_carry_the_status() -> None:
    error = ServiceError("out of resources", status=0xA700)
    assert (str(error), error.status) == ("out of resources", 0xA700)


def test_partial_and_trace_belong_to_one_error() -> None:
    error = UsageError("x")
    error.partial = "some"
    assert DicomlabError.partial is None
    assert UsageError("y").partial is None
    assert UsageError("y").trace is None


@pytest.mark.parametrize("name", sorted(defined()))
def test_a_message_acts_on_no_terminal_and_ends(name: str) -> None:
    sly = "two\nlines, \x1b]0;title\x07 \u202egnp" + "x" * 100_000
    kind = defined()[name]
    more: dict[str, object] = {"section": "PS3.8"} if issubclass(kind, ProtocolError) else {}
    more |= {"endpoint": "PACS"} if issubclass(kind, CommunicationError) else {}
    more |= {"status": 272} if issubclass(kind, ServiceError) else {}
    error = kind(sly, **more)
    assert "two\nlines, \\x1b]0;title\\x07 \\x202egnp" in str(error)
    assert len(str(error)) < 10_100
    assert sly in error.args[0]


def test_errors_cross_to_another_process() -> None:
    import pickle

    made = [
        Unreachable("nobody answers", endpoint="PACS@h:1"),
        ServiceError("no room", status=0xA700),
        RemoteProtocolError("cut", section="PS3.8 §9.3", offset=7),
        UsageError("wrong"),
    ]
    for error in made:
        error.partial = lambda: None  # what can't be pickled must not keep the error from crossing
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is type(error)
        assert str(copy) == str(error)
        assert copy.partial is None
        for name in ("endpoint", "status", "section", "offset"):
            assert getattr(copy, name, None) == getattr(error, name, None)
