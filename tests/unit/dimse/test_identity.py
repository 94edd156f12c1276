"""Who the user is: what ``user=`` takes, and that it is no secret told by accident."""

from __future__ import annotations

import pytest

from dicomlab.dimse.identity import identity_of
from dicomlab.dimse.items import Identity
from dicomlab.errors import UsageError


class Hidden:
    def get_secret_value(self) -> str:
        return "s3cret"


@pytest.mark.parametrize(
    ("user", "identity"),
    [
        (None, None),
        ("müller", Identity(1, "müller".encode())),
        (("müller", "s3cret"), Identity(2, "müller".encode(), b"s3cret")),
        (("name", Hidden()), Identity(2, b"name", b"s3cret")),
        (("name", lambda: b"s3cret"), Identity(2, b"name", b"s3cret")),
        (("kerberos", b"\1\2"), Identity(3, b"\1\2")),
        (("saml", "<a/>"), Identity(4, b"<a/>")),
        (("jwt", "a.b.c"), Identity(5, b"a.b.c")),
        (Identity(1, b"x", wants_answer=True), Identity(1, b"x", wants_answer=True)),
    ],
)
def test_the_five_kinds(user: object, identity: Identity | None) -> None:
    assert identity_of(user, encrypted=True) == identity  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "user", ["", ("name",), ("name", None), ("name", 7), ("", "x"), 7, ("name", "x" * 65_536), b"name"]
)
def test_what_is_none_of_them(user: object) -> None:
    with pytest.raises(UsageError):
        identity_of(user, encrypted=True)  # type: ignore[arg-type]


def test_not_in_plaintext_unless_forced() -> None:
    with pytest.raises(UsageError, match="plaintext"):
        identity_of(("name", "s3cret"), encrypted=False)
    assert identity_of("name", encrypted=False, forced=True) == Identity(1, b"name")


def test_names_and_passcodes_are_read_where_they_are() -> None:
    assert Identity(2, "jürgen".encode(), b"pass").user == "jürgen"
    assert Identity(2, b"x", b"pass").passcode == "pass"
    assert Identity(5, b"token").user == ""
    assert repr(Identity(2, b"jurgen", b"pass")) == "<Identity: user name and passcode>"
