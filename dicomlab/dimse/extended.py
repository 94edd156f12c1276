"""Extended negotiation of Query/Retrieve: seven options that a peer may be asked for. No I/O.

Source
------
PS3.4 §C.5.1.1, Tables C.5-1 and C.5-2 (C-FIND); §C.5.2.1, §C.5.3.1 (C-MOVE, C-GET).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Literal, get_args

Option = Literal["relational", "datetime", "fuzzy", "timezone", "enhanced", "empty", "multiple"]
OPTIONS: tuple[Option, ...] = get_args(Option)
"""In the order of their octets in a C-FIND negotiation.

``relational``
    Keys of any level may be matched in one query (§C.4.1.2.2).
``datetime``
    A date and its time match as one moment (§C.2.2.2.5.4).
``fuzzy``
    Person names match by what they sound or mean (§C.2.2.2.1.1).
``timezone``
    Dates and times are adjusted to the zone of the one who asks (§C.4.1.1.3.1).
``enhanced``
    The view of the Query/Retrieve Information Model that shows converted enhanced multi-frame images (§C.4.1.1.3.1).
``empty``
    Two quotation marks match an empty value (§C.2.2.2.7).
``multiple``
    A list matches what has each of its values, in attributes that may have several (§C.2.2.2.8). A list of ours means
    any of them, so it is asked value by value all the same.
"""
_RETRIEVE: tuple[Option, ...] = ("relational", "enhanced")
"""Those of C-MOVE and C-GET, in the order of their octets."""


def encode_options(asked: Collection[str], verb: str) -> bytes:
    """The service class application information for some options; empty where the verb has none of them.

    Parameters
    ----------
    asked : collection of str
        Of :data:`OPTIONS`.
    verb : str
        ``FIND``, ``GET`` or ``MOVE``.

    Source
    ------
    PS3.4 Tables C.5-1, C.5-3, C.5-5.
    """
    flags = bytes(one in asked for one in _order(verb))
    return flags.rstrip(b"\0")


def decode_options(information: bytes, verb: str) -> frozenset[str]:
    """The options that such information asks for or grants; octets beyond those known are passed over.

    Source
    ------
    PS3.4 Tables C.5-1 to C.5-6.
    """
    return frozenset(one for one, flag in zip(_order(verb), information, strict=False) if flag == 1)


def answer_options(asked: bytes, verb: str, able: Collection[str]) -> bytes:
    """What to answer to such a request: as many octets as were asked, 1 where the option is granted.

    Source
    ------
    PS3.4 Tables C.5-2, C.5-4, C.5-6.
    """
    granted = decode_options(asked, verb) & set(able)
    return bytes(one in granted for one in _order(verb))[: len(asked)]


def shown_options(information: bytes | None, verb: str) -> str:
    """Such information in words: the options that it grants, ``none`` of them, octets where none are defined.

    Source
    ------
    PS3.4 Tables C.5-1 to C.5-6.
    """
    if information is None:
        return ""
    if not verb:
        return information.hex(" ").upper()
    options = decode_options(information, verb)
    return ", ".join(one for one in OPTIONS if one in options) or "none"


def _order(verb: str) -> Iterable[Option]:
    return OPTIONS if verb == "FIND" else _RETRIEVE
