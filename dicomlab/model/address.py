"""Addresses, parsed once and printed as they were parsed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from dicomlab.errors import UsageError

_AE = re.compile(r"[\x20-\x5B\x5D-\x7E]{1,16}")
DICOM_PORT = 104


def ae_title(text: str) -> str:
    """Check an AE title: 1 to 16 characters of the default repertoire, no backslash, not only spaces (PS3.5 §6.2)."""
    title = text.strip(" ")
    if not title or not _AE.fullmatch(title):
        raise UsageError(f"{text!r} is no AE title: 1 to 16 ASCII characters, no backslash (PS3.5 §6.2)")
    return title


def _port(text: str, whole: str, *, free: bool = False) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not (0 if free else 1) <= int(text) < 65536:
        raise UsageError(f"{whole!r}: {text!r} is no port (1 to 65535)")
    return int(text)


@dataclass(frozen=True, slots=True)
class AEAddress:
    """A remote Application Entity: ``AET@host:port``."""

    ae_title: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str, *, listening: bool = False) -> Self:
        """Read ``"PACS@10.0.0.5:104"`` or ``"PACS@[::1]:104"``; without a port, 104.

        With ``listening``, where the address is one to listen on, port 0 is taken too: a free one.
        """
        title, at, rest = text.rpartition("@")
        found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|[^:\[\]\s/]+)(?::(.*))?", rest)
        if not at or not found:
            raise UsageError(f"{text!r} is no address of an Application Entity: write AET@host:port")
        port = DICOM_PORT if found[2] is None else _port(found[2], text, free=listening)
        return cls(ae_title(title), found[1].strip("[]"), port)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.ae_title}@{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class OwnAE:
    """Our own Application Entity: ``AET`` or ``AET:port``, the port on which a C-MOVE or a commitment reaches us."""

    ae_title: str
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``"LAB1"`` or ``"LAB1:11112"``."""
        title, colon, port = text.rpartition(":")
        return cls(ae_title(title), _port(port, text)) if colon else cls(ae_title(text))

    def __str__(self) -> str:
        return self.ae_title if self.port is None else f"{self.ae_title}:{self.port}"
