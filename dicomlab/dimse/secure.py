"""TLS under an association: profiles, certificates, and a socket that reads and writes from different threads.

Source
------
PS3.15 Annex B.12 (BCP 195 RFC 8996, 9325), B.13 (the modified profile); PS3.8 §9.1.1.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from os import PathLike, fspath
from typing import Any, Literal, TypeVar, get_args

from dicomlab.errors import UsageError

Profile = Literal["bcp195", "bcp195-modified"]
TLS = None | bool | str | ssl.SSLContext | Sequence[Any]
"""What ``tls=`` takes: see :func:`security_of`."""

_MODIFIED_SUITES = ":".join(
    f"{exchange}-{cipher}"
    for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
    for exchange in ("ECDHE-ECDSA", "ECDHE-RSA", "DHE-RSA")
)
"""The suites of TLS 1.2 in the closed list of B.13; those of TLS 1.3 all are in it."""
_RECORD_OCTETS = 64 << 10
_LAST_WORD_S = 1.0
_CLIENT_HELLO = 0x16
PLAINTEXT_ALERT = b"\x15\x03\x03\x00\x02\x02\x0a"
"""What is said to somebody who speaks plaintext on a TLS port: a fatal alert, unexpected_message (RFC 5246 §7.2)."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Security:
    """How connections are secured, in both directions; None: not at all, or not possible that way round."""

    client: ssl.SSLContext | None = field(default=None, repr=False)
    server: ssl.SSLContext | None = field(default=None, repr=False)
    profile: str = ""

    def __bool__(self) -> bool:
        return self.client is not None or self.server is not None

    def for_listening(self) -> ssl.SSLContext | None:
        """What our own port needs; None where nothing is secured.

        Raises
        ------
        UsageError
            Connections out are secured, and nothing is there with which we could show who we are.
        """
        if self.server is None and self.client is not None:
            raise UsageError("to be reached over TLS we need a certificate of our own: tls=(cert, key, ca)")
        return self.server


PLAIN = Security()
"""No TLS at all."""


def security_of(tls: TLS) -> Security:
    """Read what ``tls=`` was given.

    Parameters
    ----------
    tls : bool, str, SSLContext or sequence
        None or False: plaintext. True or ``"bcp195"``: the profile of PS3.15 B.12, with the certification authorities
        of this system. ``"bcp195-modified"``: that of B.13. ``(cert, key, ca)``: paths of PEM files; both ends show
        certificates (mutual authentication), those of peers must be signed by ``ca``; without a key of its own (None)
        ``cert`` holds it; without ``ca`` (None) the system's authorities count and callers need no certificate.
        ``(cert, key, ca, profile)``: the same by that profile. An SSLContext is used as it is, in the direction that
        it was made for.

    Raises
    ------
    UsageError
        None of these, or a file that can't be used.

    Source
    ------
    PS3.15 B.12, B.13.
    """
    if tls is None or tls is False:
        return Security()
    if isinstance(tls, ssl.SSLContext):
        both = tls.protocol not in (ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS_SERVER)
        client = tls if both or tls.protocol == ssl.PROTOCOL_TLS_CLIENT else None
        server = tls if both or tls.protocol == ssl.PROTOCOL_TLS_SERVER else None
        return Security(client, server, "a context of your own")
    if tls is True or isinstance(tls, str):
        profile = "bcp195" if tls is True else _profile(tls)
        return Security(_of_profile(ssl.create_default_context(), profile), None, profile)
    parts = tuple(tls) if isinstance(tls, Sequence) else ()
    if len(parts) not in (3, 4) or not all(isinstance(one, str | PathLike | None) for one in parts) or not parts[0]:
        raise UsageError(
            "tls is True, 'bcp195', 'bcp195-modified', an SSLContext, or (cert, key, ca) with paths of PEM files"
        )
    cert, key, ca = parts[:3]
    profile = _profile(str(parts[3])) if len(parts) == 4 and parts[3] else "bcp195"
    client = ssl.create_default_context(cafile=_file(ca)) if ca is None else _trusting(ssl.Purpose.SERVER_AUTH, ca)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if ca is None else _trusting(ssl.Purpose.CLIENT_AUTH, ca)
    if ca is not None:
        server.verify_mode = ssl.CERT_REQUIRED
    for context in (client, server):
        try:
            context.load_cert_chain(fspath(cert), _file(key), password=_no_password)
        except (OSError, ValueError) as error:  # SSLError is an OSError
            raise UsageError(f"certificate or key can't be used: {_words(error)} ({fspath(cert)})") from error
        _of_profile(context, profile)
    return Security(client, server, profile)


def _no_password() -> bytes:
    """Asked for by OpenSSL where a key is encrypted; it must not wait at a terminal."""
    return b""


def _profile(name: str) -> Profile:
    if name not in get_args(Profile):
        raise UsageError(f"{name!r} is no TLS profile: {' or '.join(get_args(Profile))} (PS3.15 B.12, B.13)")
    return name  # type: ignore[return-value]


def _file(path: Any) -> str | None:
    return None if path is None else str(fspath(path))


def _trusting(purpose: ssl.Purpose, ca: Any) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(purpose, cafile=_file(ca))
    except (OSError, ValueError) as error:
        raise UsageError(f"certification authorities can't be read: {_words(error)} ({fspath(ca)})") from error


def _of_profile(context: ssl.SSLContext, profile: Profile) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if profile == "bcp195-modified":
        context.set_ciphers(_MODIFIED_SUITES)
    return context


# --- what went wrong, in words ---------------------------------------------------------------------------------------

_REASONS = {
    "WRONG_VERSION_NUMBER": "it does not speak TLS on this port; without tls= it may answer",
    "HTTP_REQUEST": "plaintext where TLS was due",
    "UNEXPECTED_EOF_WHILE_READING": "it closed the connection: is that a TLS port, and does it want a certificate?",
    "TLSV1_ALERT_PROTOCOL_VERSION": "no version of TLS that both sides take; this side takes 1.2 and newer",
    "UNSUPPORTED_PROTOCOL": "no version of TLS that both sides take; this side takes 1.2 and newer",
    "NO_SHARED_CIPHER": "no cipher suite that both sides take",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "no parameters that both sides take, or a certificate of ours is missing",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it wants a certificate of ours: tls=(cert, key, ca)",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "no certificate was shown",
    "TLSV1_ALERT_UNKNOWN_CA": "the authority that signed the certificate is not trusted there",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the certificate is not accepted there",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the certificate has expired",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the certificate is not accepted there",
    "TLSV1_UNRECOGNIZED_NAME": "it knows no host of that name",
}


def explained(error: ssl.SSLError | OSError) -> str:
    """A failure of TLS in words that say what to do."""
    if isinstance(error, ssl.SSLCertVerificationError):
        words = str(error.verify_message).rstrip(".")
        if "mismatch" in words.lower():
            return f"its certificate is not for this host ({words}): check the address"
        return f"its certificate is not trusted ({words}): tls=(cert, key, ca) names the authority that signed it"
    reason = str(getattr(error, "reason", "") or "")
    if isinstance(error, ssl.SSLEOFError):
        reason = "UNEXPECTED_EOF_WHILE_READING"
    return f"TLS failed: {_REASONS.get(reason, reason.replace('_', ' ').lower() or _words(error))}"


def _words(error: Exception) -> str:
    return str(getattr(error, "reason", None) or getattr(error, "strerror", None) or error).replace("_", " ").lower()


# --- the socket ------------------------------------------------------------------------------------------------------


class SecureSocket:
    """The part of a socket's face that a connection uses, over TLS.

    One lock guards each step of OpenSSL and no thread waits inside it, so that one thread can wait for the peer while
    another sends a C-CANCEL or ends it all.

    Parameters
    ----------
    sock : socket
        Connected; it belongs to this one from here on.
    context : SSLContext
    server_name : str, optional
        Whose certificate the peer must show; None: we are the server.
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, server_name: str | None) -> None:
        self._timeout_s: float | None = None
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._ahead = bytearray()
        self.given_up = False
        """Whether somebody no longer wants the handshake."""
        self._ssl = context.wrap_socket(
            sock, server_side=server_name is None, server_hostname=server_name, do_handshake_on_connect=False
        )
        self._ssl.setblocking(False)

    @property
    def agreed(self) -> str:
        """What the handshake came to: ``"TLSv1.3, TLS_AES_256_GCM_SHA384"``."""
        suite = self._ssl.cipher()
        return f"{self._ssl.version()}, {suite[0]}" if suite is not None else "nothing yet"

    def handshake(self, timeout_s: float) -> None:
        """Agree on keys, and find out who is there; before anything else.

        Raises
        ------
        TimeoutError, OSError
            As a socket does; ``SSLError`` is an OSError. The socket is closed then.
        """
        self._timeout_s = timeout_s
        try:
            self._carry_out(self._ssl.do_handshake)
        except OSError:
            if self._ssl.server_side:
                self._let_it_read()
            self.close()
            raise

    def give_up(self) -> None:
        """Wake whoever waits for the handshake, from any thread or a signal handler; takes no lock."""
        self.given_up = True
        with suppress(OSError):
            socket.socket.shutdown(self._ssl, socket.SHUT_RDWR)

    def _let_it_read(self) -> None:
        """Let the other side read why (an alert): what it has sent by now would reset the connection otherwise."""
        deadline = time.monotonic() + _LAST_WORD_S
        with suppress(OSError, ValueError):
            socket.socket.shutdown(self._ssl, socket.SHUT_WR)
            while (left := deadline - time.monotonic()) > 0 and wait_for(self.fileno(), timeout_s=left):
                if not socket.socket.recv(self._ssl, 4096):
                    return

    @property
    def version(self) -> str:
        """The version of TLS and the cipher suite, for people."""
        suite = self._ssl.cipher()
        return f"{self._ssl.version()}, {suite[0] if suite else 'no suite'}"

    def settimeout(self, seconds: float | None) -> None:
        """Longest time that a step may take."""
        self._timeout_s = seconds

    def setsockopt(self, level: int, option: int, value: int) -> None:
        """An option of the socket beneath."""
        self._ssl.setsockopt(level, option, value)

    def fileno(self) -> int:
        """The descriptor, below 0 once closed."""
        return self._ssl.fileno()

    def getsockname(self) -> Any:
        """The address of this end."""
        return self._ssl.getsockname()

    def getpeername(self) -> Any:
        """The address of the other end."""
        return self._ssl.getpeername()

    def recv_into(self, buffer: memoryview | bytearray) -> int:
        """Read what is there, at most as much as the buffer holds; 0 at the end."""
        if self._ahead:
            count = min(len(buffer), len(self._ahead))
            buffer[:count] = self._ahead[:count]
            del self._ahead[:count]
            return count
        return self._carry_out(lambda: self._ssl.recv_into(buffer))

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Look at what comes next without taking it (the only use that a connection has for it)."""
        if not self._ahead:
            self._ahead += self._carry_out(lambda: self._ssl.recv(1))
        return bytes(self._ahead[:size])

    def send(self, octets: Any) -> int:
        """Send some of it; gives how much."""
        with self._writing, memoryview(octets) as view:
            part = view[: _RECORD_OCTETS * 4]
            return self._carry_out(lambda: self._ssl.send(part))

    def sendmsg(self, buffers: Sequence[Any]) -> int:
        """Send the first few buffers as one."""
        first: list[Any] = []
        size = 0
        for one in buffers:
            first.append(one)
            size += len(one)
            if size >= _RECORD_OCTETS:
                break
        return self.send(first[0] if len(first) == 1 else b"".join(first))

    def shutdown(self, how: int) -> None:
        """Say that nothing more comes (close_notify), and end the direction."""
        with self._lock:
            with suppress(OSError, ValueError):
                self._ssl.unwrap()  # says it and does not wait for the answer
            socket.socket.shutdown(self._ssl, how)  # that of SSLSocket would pull TLS from under a reader

    def close(self) -> None:
        """Close it."""
        self._ssl.close()

    def _carry_out(self, step: Callable[[], T]) -> T:
        deadline = None if self._timeout_s is None else time.monotonic() + self._timeout_s
        while True:
            try:
                with self._lock:
                    return step()
            except (ssl.SSLWantReadError, BlockingIOError):
                self._wait("read", deadline)
            except ssl.SSLWantWriteError:
                self._wait("write", deadline)

    def _wait(self, what: str, deadline: float | None) -> None:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            if self._timeout_s == 0:
                raise BlockingIOError
            raise TimeoutError
        wait_for(self.fileno(), writable=what == "write", timeout_s=left)


def wait_for(
    *descriptors: int, writable: bool = False, woken_by: int | None = None, timeout_s: float | None = None
) -> bool:
    """Wait until one of them can be read (or written) without waiting, or is closed; False once time is over.

    ``woken_by`` is one more, which ends the wait once it can be read.
    """
    if any(one < 0 for one in descriptors):
        return True  # closed meanwhile: the next step says so
    also = () if woken_by is None else (woken_by,)
    if not hasattr(select, "poll"):
        readers, writers = (also, descriptors) if writable else ((*descriptors, *also), ())
        return any(select.select(readers, writers, writers, timeout_s))  # what can't be reached is exceptional there
    poller = select.poll()
    for one in descriptors:
        poller.register(one, select.POLLOUT if writable else select.POLLIN)
    for one in also:
        poller.register(one, select.POLLIN)
    return bool(poller.poll(None if timeout_s is None else max(0, timeout_s) * 1000))


def speaks_tls(sock: socket.socket, timeout_s: float) -> bool:
    """Whether what a caller sends first begins a TLS handshake; False too where it sends nothing in time."""
    sock.settimeout(timeout_s)
    try:
        first = sock.recv(1, socket.MSG_PEEK)
    except OSError:
        return False
    return first[:1] == bytes([_CLIENT_HELLO])
