"""Peers by a short name: ``Node("pacs")`` looks the name up in a profile file.

``dicomlab.toml`` in the working folder, else in the user's configuration folder::

    [node.pacs]
    address = "PACS@10.0.0.5:104"
    me = "LAB1:11112"
    tls = "bcp195"                  # with cert, key and ca where both ends show certificates

    [web.pacs]
    url = "https://pacs.example.org/dicom-web"
    token_env = "PACS_TOKEN"        # the name of an environment variable, never the secret itself

Secrets stay out of it: a profile names environment variables (``token_env``) or entries of the system's keyring
(``token_keyring = "pacs"``: what ``keyring set dicomlab pacs`` asked for), and netrc works without any entry.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from dicomlab.errors import MissingExtra, UsageError

FILE_NAME = "dicomlab.toml"
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_SECRETS, _PLACES = ("token", "user", "password"), ("env", "keyring")
SERVICE = "dicomlab"
"""The service under which secrets stand in the system's keyring."""
_KEYS = {
    "node": {
        "address": True,
        **dict.fromkeys(("me", "tls", "cert", "key", "ca"), False),
        **dict.fromkeys((f"{what}_{where}" for what in ("user", "password") for where in _PLACES), False),
    },
    "web": {"url": True, **dict.fromkeys((f"{what}_{where}" for what in _SECRETS for where in _PLACES), False)},
}
_MAX_OCTETS = 1 << 20


def is_name(text: str) -> bool:
    """Whether `text` is the name of a profile, not an address."""
    return _NAME.fullmatch(text) is not None


def places() -> list[Path]:
    """Where profile files are looked for, first come first served; ``DICOMLAB_PROFILES`` names another one."""
    if given := os.environ.get("DICOMLAB_PROFILES"):
        return [Path(given)]
    home = os.environ.get("APPDATA") or os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return [Path(FILE_NAME), Path(home) / "dicomlab" / FILE_NAME]


def kinds(name: str) -> list[str]:
    """Which profiles of that name there are: of a ``"node"``, of the ``"web"``, of both, of none.

    Raises
    ------
    UsageError
        A profile file that can't be read.
    """
    if not is_name(name):
        return []
    found: set[str] = set()
    for place in places():
        for kind, entries in _read(place).items():
            if kind in _KEYS and isinstance(entries, dict) and name in entries:
                found.add(kind)
    return sorted(found)


def profile(kind: Literal["node", "web"], name: str) -> dict[str, str]:
    """Look one profile up.

    Raises
    ------
    UsageError
        No profile of that name (those there are named), or one that can't be read.
    """
    known: list[str] = []
    for place in places():
        entries = _read(place).get(kind, {})
        if not isinstance(entries, dict):
            raise UsageError(f"{place}: [{kind}] holds no profiles; write [{kind}.{name}]")
        if name in entries:
            return _checked(kind, name, entries[name], place)
        known += entries
    looked = " or ".join(map(str, places()))
    there = f"; there are {', '.join(sorted(known))}" if known else f"; no [{kind}.…] in {looked}"
    form = "AET@host:port" if kind == "node" else "https://host/dicom-web"
    raise UsageError(f"no profile {name!r}{there} (an address is written {form})")


def names_secret(entry: Mapping[str, str], what: str) -> bool:
    """Whether a profile says where that secret is."""
    return any(f"{what}_{where}" in entry for where in _PLACES)


def secret(entry: Mapping[str, str], what: str) -> str:
    """Fetch a secret from where a profile says it is; it is not kept.

    Parameters
    ----------
    entry : mapping
        The profile.
    what : str
        ``"token"``, ``"user"`` or ``"password"``.

    Raises
    ------
    UsageError
        The environment variable is not set, or the keyring has no such entry or can't be asked. Its name is told.
    MissingExtra
        The package that asks the system's keyring is not installed.
    """
    if (variable := entry.get(f"{what}_env")) is not None:
        if (value := os.environ.get(variable)) is None:
            raise UsageError(f"the environment variable {variable} that the profile names is not set")
        return value
    name = entry[f"{what}_keyring"]
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError as error:
        raise MissingExtra("to read secrets from the system's keyring: pip install 'dicomlab[keyring]'") from error
    try:
        found = keyring.get_password(SERVICE, name)
    except KeyringError as error:
        text = f"the system's keyring can't be asked for {name!r} ({type(error).__name__}); use {what}_env instead"
        raise UsageError(text) from error
    if found is None:
        raise UsageError(f"the system's keyring has no {name!r}; put it there: keyring set {SERVICE} {name}")
    return found


def _read(place: Path) -> dict[str, object]:
    try:
        if place.stat().st_size > _MAX_OCTETS:
            raise UsageError(f"{place}: larger than 1 MiB; this is no profile file")
        return tomllib.loads(place.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{place} can't be read as TOML: {error}") from error


def _checked(kind: str, name: str, entry: object, place: Path) -> dict[str, str]:
    keys = _KEYS[kind]
    if not isinstance(entry, dict) or not all(isinstance(value, str) for value in entry.values()):
        raise UsageError(f"{place}: [{kind}.{name}] must hold texts: {', '.join(keys)}")
    if unknown := ", ".join(sorted(set(entry) - set(keys))):
        raise UsageError(f"{place}: [{kind}.{name}] can't hold {unknown}; it may hold {', '.join(keys)}")
    if missing := [key for key, needed in keys.items() if needed and key not in entry]:
        raise UsageError(f"{place}: [{kind}.{name}] lacks {', '.join(missing)}")
    return dict(entry)
