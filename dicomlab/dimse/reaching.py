"""Opening a transport connection: a wait that ends with the verb that wanted it.

Source
------
PS3.8 §9.1 (transport connection).
"""

from __future__ import annotations

import os
import socket
from contextlib import closing, suppress

from dicomlab.dimse.secure import wait_for
from dicomlab.errors import Interrupted
from dicomlab.model.progress import ended_by_cancel

CANCELLED = "cancelled before the connection was there"


def connected(host: str, port: int, timeout_s: float, *, endpoint: str) -> socket.socket:
    """Connect to the first of a host's addresses that answers.

    Parameters
    ----------
    host, port : str, int
    timeout_s : float
        For each address; what is given has it as its timeout.
    endpoint : str
        The other side, for messages.

    Returns
    -------
    socket

    Raises
    ------
    OSError, UnicodeError
        As ``socket.create_connection`` does.
    Interrupted
        The verb that is carried out here was cancelled meanwhile.

    Source
    ------
    PS3.8 §9.1.
    """
    woken, wake = socket.socketpair()
    wake.setblocking(False)

    def stop() -> None:
        with suppress(OSError):
            wake.send(b"\0")

    failed: OSError = OSError(f"{host} has no address")
    with closing(woken), closing(wake), ended_by_cancel(stop):
        for family, kind, protocol, _, where in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            try:
                sock = socket.socket(family, kind, protocol)
            except OSError as error:
                failed = error
                continue
            try:
                if not _connect(sock, where, woken, timeout_s):
                    raise Interrupted(CANCELLED, endpoint=endpoint)
            except OSError as error:
                sock.close()
                failed = error
            except BaseException:
                sock.close()
                raise
            else:
                return sock
    raise failed


def _connect(sock: socket.socket, where: tuple[object, ...], woken: socket.socket, timeout_s: float) -> bool:
    """Connect, or say that somebody does not want it any more."""
    sock.setblocking(False)
    try:
        sock.connect(where)
    except BlockingIOError:
        there = wait_for(sock.fileno(), writable=True, woken_by=woken.fileno(), timeout_s=timeout_s)
        if wait_for(woken.fileno(), timeout_s=0):
            return False
        if not there:
            raise TimeoutError from None
        if number := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            failed = OSError(number, os.strerror(number))  # of the class that the number has
            raise failed from None
    sock.settimeout(timeout_s)
    return True
