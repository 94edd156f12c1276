"""A peer that plays a script on a real socket, for what no well-behaved peer does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from dicomlab.dimse import pdu
from dicomlab.dimse.command import Command, decode_command, encode_command
from dicomlab.dimse.items import UserInformation


class Script:
    """The peer's end of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.heard: list[pdu.PDU] = []

    def octets(self, size: int) -> bytes:
        parts = b""
        while len(parts) < size:
            part = self.sock.recv(size - len(parts))
            if not part:
                raise ConnectionError("the other side has closed")
            parts += part
        return parts

    def read(self) -> pdu.PDU:
        header = self.octets(6)
        value = pdu.decode(header + self.octets(int.from_bytes(header[2:], "big")))
        self.heard.append(value)
        return value

    def send(self, value: pdu.PDU | bytes) -> None:
        self.sock.sendall(value if isinstance(value, bytes) else pdu.encode(value))

    def answer(self, *, max_pdu: int = 0, scp: bool = False) -> pdu.AssociateRequest:
        """Read the request for an association and give the octets that accept all of it to the caller's `send`."""
        request = self.read()
        assert isinstance(request, pdu.AssociateRequest)
        self.request = request
        answers = tuple(pdu.AnsweredContext(c.id, 0, c.transfer_syntaxes[0]) for c in request.contexts)
        roles = request.user.roles if scp else ()
        user = UserInformation(max_pdu, "1.2.3", "SCRIPT", roles=roles)
        self.accept = pdu.AssociateAccept(request.called, request.calling, answers, user)
        return request

    def establish(self, *, max_pdu: int = 0, scp: bool = False) -> pdu.AssociateRequest:
        request = self.answer(max_pdu=max_pdu, scp=scp)
        self.send(self.accept)
        return request

    def message(self) -> tuple[Command, bytes]:
        """Read one whole message."""
        parts = {0: b"", 1: b""}
        command: Command | None = None
        while True:
            value = self.read()
            assert isinstance(value, pdu.DataTransfer), value
            for pdv in value.values:
                parts[pdv.control & 1] += bytes(pdv.fragment)
                if pdv.control == pdu.COMMAND | pdu.LAST:
                    command = decode_command(parts[1])
                    if not command.has_data:
                        return command, b""
                elif pdv.control == pdu.LAST:
                    assert command is not None
                    return command, parts[0]

    def say(self, command: Command, data: bytes | None = None, *, context: int = 1) -> None:
        values = [pdu.PDV(context, 3, encode_command(command))]
        values += [pdu.PDV(context, 2, data)] if data is not None else []
        self.send(pdu.DataTransfer(tuple(values)))

    def release(self) -> None:
        assert isinstance(self.read(), pdu.ReleaseRequest)
        self.send(pdu.ReleaseReply())


@contextmanager
def playing(play: Callable[[Script], object], connections: int = 1) -> Iterator[str]:
    """Play on a free port, for one connection after the other; gives the address. What the script finds wrong, the test fails with."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            for _ in range(connections):
                sock, _ = server.accept()
                with sock:
                    sock.settimeout(10)
                    play(Script(sock))
        except ConnectionError:
            pass  # the other side ended it, which the test looks at from there
        except BaseException as error:  # noqa: BLE001  (carried to the thread of the test)
            failures.append(error)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield f"PACS@127.0.0.1:{server.getsockname()[1]}"
        finally:
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            thread.join(10)
    if failures:
        raise failures[0]
