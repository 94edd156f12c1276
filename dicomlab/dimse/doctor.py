"""Why a peer does not do what is wanted of it: step by step, with what came back, what to do, and whom to ask.

Source
------
PS3.8 §9.3.4 (rejection), §9.3.3.2 (contexts); PS3.4 Annex A (Verification), §C.4.1 to §C.4.3, Table C.4-2.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from dicomlab.dimse import tables
from dicomlab.dimse.agreement import Agreement, roles_of
from dicomlab.dimse.dissect import name_of
from dicomlab.dimse.negotiation import Peer, Proposal
from dicomlab.dimse.secure import SecureSocket
from dicomlab.errors import DicomlabError, Interrupted, Refused, RemoteProtocolError, ServiceError, Unreachable
from dicomlab.model.progress import Control
from dicomlab.model.protocols import Arrival, Octets, Wanted
from dicomlab.model.report import Outcome
from dicomlab.model.summary import Summarised, Summary
from dicomlab.part10.meta import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

if TYPE_CHECKING:
    from pandas import DataFrame

    from dicomlab.dimse.node import Node

Result = Literal["ok", "failed", "not offered", "skipped"]

SUGGESTED_PORT = 11112
"""The registered port ``dicom`` (PS3.8 §9.1), for a letter in which we name none of our own."""
PATIENCE_S = 15.0
"""Longest wait for the answer to a request for an association."""
_MARKS = {"ok": "✓", "failed": "✗", "not offered": "–", "skipped": "–"}
_UNKNOWN_DESTINATION = 0xA801
_SERVICES = ("FIND", "GET", "MOVE")


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an examination.

    Attributes
    ----------
    name : str
        ``"DNS"``, ``"TCP"``, ``"TLS"``, ``"association"``, ``"contexts"``, ``"C-ECHO"``, ``"C-FIND"``, ``"C-GET"``,
        ``"C-MOVE"``.
    result : str
        ``"ok"``, ``"failed"``, ``"not offered"`` (no fault, but good to know) or ``"skipped"``.
    tried, found, advice : str
        What was done, what came back, and what to do about it (``""``: nothing).
    seconds : float
    """

    name: str
    result: Result
    tried: str
    found: str
    advice: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, eq=False, repr=False)
class Diagnosis(Summarised):
    """What :meth:`dicomlab.dimse.node.Node.doctor` found out. Truthy if no step failed.

    Attributes
    ----------
    target : str
        Who was examined.
    steps : tuple of Step
    letter : str
        To the administrator of the peer, ready to be sent: who we are, and what must be allowed.
    """

    target: str
    steps: tuple[Step, ...]
    letter: str

    @property
    def ok(self) -> bool:
        """Whether no step failed."""
        return not any(step.result == "failed" for step in self.steps)

    def __bool__(self) -> bool:
        return self.ok

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    def __getitem__(self, name: str) -> Step:
        return {step.name: step for step in self.steps}[name]

    def to_dataframe(self) -> DataFrame:
        """One row for each step."""
        import pandas as pd

        names = ["name", "result", "tried", "found", "advice", "seconds"]
        return pd.DataFrame([[getattr(step, name) for name in names] for step in self.steps], columns=names)

    def _summary_(self) -> Summary:
        failed = [step.name for step in self.steps if step.result == "failed"]
        good = "all is well" if all(step.result == "ok" for step in self.steps) else "nothing failed"
        title = f"{self.target}: {'✗ ' + ', '.join(failed) + ' failed' if failed else '✓ ' + good}"
        facts = tuple((step.name, f"{_MARKS[step.result]} {step.found}") for step in self.steps)
        notes = tuple(f"{step.name}: {step.advice}" for step in self.steps if step.advice)
        return Summary(title, facts, notes=notes, letter=tuple(self.letter.splitlines()))


def examine(node: Node, peer: Peer, match: Mapping[str | int, object]) -> Diagnosis:
    """Examine a peer; :meth:`dicomlab.dimse.node.Node.doctor` documents it."""
    examination = _Examination(node, replace(peer, timeout_s=min(peer.timeout_s, PATIENCE_S)), match)
    for step in (
        examination.look_up, examination.connect, examination.secure, examination.associate, examination.echo,
        examination.find, examination.get, examination.move,
    ):  # fmt: skip
        step()
    return Diagnosis(str(peer.address), tuple(examination.steps), examination.letter())


class _Examination:
    """The steps so far, and what later ones stand on."""

    def __init__(self, node: Node, peer: Peer, match: Mapping[str | int, object]) -> None:
        self.steps: list[Step] = []
        self._node, self._peer, self._match = node, peer, match
        self._host = ""
        self._secured = peer.security.client is not None
        self._agreement: Agreement | None = None
        self._wanted: Wanted | None = None
        self._started = time.monotonic()

    def _keep(self, name: str, result: Result, tried: str, found: str, advice: str = "") -> None:
        now = time.monotonic()
        self.steps.append(Step(name, result, tried, found, advice, now - self._started))
        self._started = now

    def _result(self, name: str) -> Result:
        return next((step.result for step in self.steps if step.name == name), "skipped")

    def _missing(self, name: str, *needed: str) -> bool:
        """Skip a step that stands on others which are not ok."""
        lacking = [one for one in needed if self._result(one) != "ok"]
        if lacking:
            self._keep(name, "skipped", "", f"not tried: it needs {' and '.join(lacking)}")
        return bool(lacking)

    # --- transport -------------------------------------------------------------------------------------------------

    def look_up(self) -> None:
        """DNS: what address the host has."""
        host = self._peer.address.host
        try:
            found = socket.getaddrinfo(host, self._peer.address.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or str(error)
            advice = f"check the spelling of {host}, or give its IP address; inside a hospital, is the VPN up?"
            self._keep("DNS", "failed", f"looked {host} up", f"no address ({why})", advice)
            return
        addresses = ", ".join(dict.fromkeys(str(where[4][0]) for where in found))
        self._host = _route_to(found[0])
        self._keep("DNS", "ok", f"looked {host} up", addresses)

    def connect(self) -> None:
        """TCP: whether somebody listens on the port."""
        if self._missing("TCP", "DNS"):
            return
        port = self._peer.address.port
        tried = f"opened a connection to port {port}"
        try:
            with closing(self._peer.connect()) as sock:
                self._host = str(sock.getsockname()[0])
        except Unreachable as error:
            advice = f"ask its administrator: is it running, is {port} its DICOM port, does a firewall let us through?"
            self._keep("TCP", "failed", tried, _without_endpoint(error), advice)
            return
        self._keep("TCP", "ok", tried, f"somebody listens; from there we are {self._host}")

    def secure(self) -> None:
        """TLS: whether both ends agree on it, and accept each other's certificates."""
        if not self._secured or self._missing("TLS", "TCP"):
            return
        tried = f"TLS ({self._peer.security.profile})"
        try:
            with closing(self._peer.secure(self._peer.connect())) as sock:
                agreed = sock.agreed if isinstance(sock, SecureSocket) else ""
        except DicomlabError as error:
            advice = "does it speak TLS on that port? Else: which certificates, and of which authority, does it expect?"
            self._keep("TLS", "failed", tried, _without_endpoint(error), advice)
            return
        self._keep("TLS", "ok", tried, agreed)

    # --- association -----------------------------------------------------------------------------------------------

    def associate(self) -> None:
        """Association and contexts: whether it lets us in, and what it offers."""
        if self._missing("association", "TLS" if self._secured else "TCP"):
            self._missing("contexts", "association")
            return
        us, them = self._peer.me.ae_title, self._peer.address.ae_title
        tried = f"asked {them} for an association as {us}"
        proposals = [
            *(Proposal(uid, tables.UNCOMPRESSED) for uid in (tables.VERIFICATION, *tables.MODELS.values())),
            *(Proposal(uid, tables.UNCOMPRESSED, scp=True) for uid in tables.COMMON_STORAGE),
        ]
        try:
            with self._peer.associate(proposals, none_is_refused=False) as association:
                agreement = Agreement.of(str(self._peer.address), association, roles_of(proposals))
        except DicomlabError as error:
            self._keep("association", "failed", tried, _without_endpoint(error), self._why_no_association(error))
            self._missing("contexts", "association")
            return
        self._agreement = agreement
        facts = dict(agreement.facts)
        self._keep("association", "ok", tried, f"accepted, by {facts['implementation']}, max PDU {facts['max PDU']}")
        offered = [name for name in ("C-ECHO", *(f"C-{verb}" for verb in _SERVICES)) if self._offers(name)]
        storage = sum(agreement.accepted(uid) for uid in tables.COMMON_STORAGE)
        found = f"offers {', '.join(offered) or 'none of C-ECHO, C-FIND, C-GET and C-MOVE'}; Storage: "
        found += f"{storage} of {len(tables.COMMON_STORAGE)} common SOP Classes"
        advice = "" if agreement else f"ask its administrator what {us} may do; node.negotiate() shows each answer"
        tried = f"proposed {len(agreement)} presentation contexts"
        self._keep("contexts", "ok" if agreement else "failed", tried, found, advice)

    def _why_no_association(self, error: DicomlabError) -> str:
        text = str(error)
        if isinstance(error, Refused) and "calling AE title" in text:
            return f"it does not know {self._peer.me.ae_title}: send the letter below to its administrator"
        if isinstance(error, Refused) and "called AE title" in text:
            return f"it is not called {self._peer.address.ae_title}: check the AE title in the address"
        if isinstance(error, Refused):
            return "try again later; if it stays so, its log says why"
        if isinstance(error, RemoteProtocolError) and "TLS" in text:
            return "it speaks TLS: set tls, or ask for its plain DICOM port"
        if isinstance(error, RemoteProtocolError):
            return "what listens there is no DICOM peer: ask its administrator for the DICOM port"
        if isinstance(error, Interrupted) and "aborted" in text:
            return f"some peers abort for those they don't know: is {self._peer.me.ae_title} registered there?"
        return "a DICOM peer answers at once: is this its DICOM port, and does it expect TLS there?"

    def _offers(self, name: str) -> bool:
        if self._agreement is None:
            return False
        if name == "C-ECHO":
            return self._agreement.accepted(tables.VERIFICATION)
        return any(self._agreement.accepted(uid) for (_, verb), uid in tables.MODELS.items() if f"C-{verb}" == name)

    def _not_offered(self, name: str, advice: str) -> bool:
        if self._offers(name):
            return False
        self._keep(name, "not offered", "", "no presentation context for it was accepted", advice)
        return True

    # --- services --------------------------------------------------------------------------------------------------

    def echo(self) -> None:
        """Verification."""
        if self._missing("C-ECHO", "contexts") or self._not_offered("C-ECHO", ""):
            return
        tried = "sent a C-ECHO"
        try:
            with self._peer.associate([Proposal(tables.VERIFICATION, tables.UNCOMPRESSED)]) as association:
                context = next(iter(association.contexts.values()))
                number = association.request(context, "C-ECHO-RQ")
                command = association.answer("C-ECHO-RSP", number).command
        except DicomlabError as error:
            self._keep("C-ECHO", "failed", tried, _without_endpoint(error), "its log may say why")
            return
        text = tables.status_text(command.status, "ECHO", command.comment)
        if command.status == tables.SUCCESS:
            self._keep("C-ECHO", "ok", tried, text)
        else:
            self._keep("C-ECHO", "failed", tried, text, tables.advice(command.status))

    def find(self) -> None:
        """One study, and one instance in it."""
        if self._missing("C-FIND", "contexts"):
            return
        if self._not_offered("C-FIND", "it can't be searched; to store, you need not search"):
            return
        keys = f" with {', '.join(map(str, self._match))}" if self._match else ""
        tried = f"asked for one study{keys}, and for one instance of it"
        try:
            study = self._node.find("study", limit=1, progress=False, match=self._match)
            uids = [str(uid) for uid in study["StudyInstanceUID"].dropna()]
            found = list(self._node.find("instance", StudyInstanceUID=uids[0], limit=1, progress=False)) if uids else []
        except DicomlabError as error:
            advice = f"its administrator must allow {self._peer.me.ae_title} to query: see the letter below"
            if isinstance(error, ServiceError) and 0xA700 <= error.status < 0xA900:
                advice = 'it wants a narrower question: node.doctor(StudyDate="2026-01-31"), or PatientID=...'
            elif isinstance(error, ServiceError):
                advice = tables.advice(error.status)
            self._keep("C-FIND", "failed", tried, _without_endpoint(error, "FIND"), advice)
            return
        if not found:
            what = f"study {uids[0]}, and no instance of it" if uids else "no study"
            advice = "name one that is there: node.doctor(PatientID=...); some peers hide what a caller may not see"
            self._keep("C-FIND", "ok", tried, what, advice)
            return
        self._wanted = found[0].wanted
        name = name_of(self._wanted.sop_class_uid) if self._wanted.sop_class_uid else "of a class that it does not tell"
        self._keep("C-FIND", "ok", tried, f"an instance, {name}, {self._wanted.sop_instance_uid}")

    def get(self) -> None:
        """Retrieve that instance on our own association."""
        if self._missing("C-GET", "contexts") or self._not_offered("C-GET", "retrieve with C-MOVE"):
            return
        self._retrieve("C-GET", "get", "retrieved that instance on our own association", self._why_no_get)

    def move(self) -> None:
        """Have that instance sent to ourselves."""
        if self._missing("C-MOVE", "contexts") or self._not_offered("C-MOVE", "retrieve with C-GET"):
            return
        us = self._peer.me
        port = f"port {us.port}" if us.port else "a free port, since none is named in me"
        self._retrieve("C-MOVE", "move", f"listened as {us.ae_title} on {port}, had it sent there", self._why_no_move)

    def _retrieve(self, name: str, method: str, tried: str, why_not: Callable[[DicomlabError | None], str]) -> None:
        if self._wanted is None:
            self._keep(name, "skipped", "", "not tried: no instance is known that could be retrieved")
            return
        probe = _Probe()
        try:
            self._node.deliver([self._wanted], probe, Control(), method=method)  # type: ignore[arg-type]
        except DicomlabError as error:
            self._keep(name, "failed", tried, _without_endpoint(error, name[2:]), why_not(error))
            return
        if probe.arrived:
            self._keep(name, "ok", tried, f"it arrived: {probe.octets:,} octets in {name_of(probe.transfer_syntax)}")
            return
        found = probe.failure or "it answered with Success, but nothing arrived"
        self._keep(name, "failed", tried, found, why_not(None))

    def _why_no_get(self, error: DicomlabError | None) -> str:
        if isinstance(error, ServiceError):
            return tables.advice(error.status)
        if isinstance(error, Refused):
            return "it offers C-GET, but won't let us be the SCP of Storage: retrieve with C-MOVE"
        return f"may {self._peer.me.ae_title} retrieve? Its log says why it did not send"

    def _why_no_move(self, error: DicomlabError | None) -> str:
        us, here = self._peer.me, self._here()
        if isinstance(error, ServiceError) and error.status == _UNKNOWN_DESTINATION:
            return f"it does not know {us.ae_title} as a destination: ask its administrator to register it at {here}"
        if isinstance(error, ServiceError):
            return tables.advice(error.status)
        if isinstance(error, Unreachable) and error.endpoint != str(self._peer.address):
            return f"our own port {us.port} can't be opened: end what holds it, or name another in me and in the letter"
        if us.port is None:
            return f'it sends to the port that it has on record for us: name that one, me="{us.ae_title}:PORT"'
        return f"{us.ae_title} must be on record there as {here}, and a firewall must let it through to us"

    # --- the letter ------------------------------------------------------------------------------------------------

    def _here(self) -> str:
        return f"{self._host or 'the address of this computer'}:{self._peer.me.port or SUGGESTED_PORT}"

    def letter(self) -> str:
        """Who we are and what must be allowed, for somebody who has never heard of us."""
        them, us = self._peer.address, self._peer.me
        port = f"{us.port}" if us.port else f"{SUGGESTED_PORT} (or another that suits you; please tell us)"
        lines = [
            f"To the administrator of {them.ae_title} ({them.host}:{them.port})",
            "",
            "Please register this DICOM application with your system:",
            "",
            f"  AE title      {us.ae_title}",
            f"  host          {self._host or '(the address of this computer)'}",
            f"  port          {port}",
            f"  TLS           {f'yes, {self._peer.security.profile} (PS3.15 B.12)' if self._secured else 'no'}",
            f"  software      {IMPLEMENTATION_VERSION_NAME}, implementation class UID {IMPLEMENTATION_CLASS_UID}",
            "",
            "and allow it:",
            "",
            f"  - to associate with {them.ae_title} as {us.ae_title}: Verification (C-ECHO)",
            "  - to query: C-FIND, Study Root and Patient Root",
            f"  - to retrieve: C-GET; and C-MOVE with {us.ae_title} as the destination, for which your system",
            f"    opens an association to {self._here()} (C-STORE, in the transfer syntax as stored), so firewalls",
            "    must let that through",
            "",
            "What we found:",
            "",
        ]
        for step in self.steps:
            lines.append(f"  {step.name:<12}  {step.result}: {step.found}")
        return "\n".join(lines)


class _Probe:
    """Takes one instance and keeps nothing of it; both sink and writer."""

    def __init__(self) -> None:
        self.octets = 0
        self.arrived = False
        self.failure = ""
        self.transfer_syntax = ""
        self._uid = ""

    def begin(self, arrival: Arrival) -> _Probe:
        self._uid, self.transfer_syntax, self.octets = arrival.sop_instance_uid, arrival.transfer_syntax_uid, 0
        return self

    def failed(self, sop_instance_uid: str, status: str) -> None:
        self.failure = status

    def write(self, octets: Octets, /) -> object:
        self.octets += len(octets)
        return None

    def finish(self) -> Outcome:
        self.arrived = True
        return Outcome(self._uid, "done", octets=self.octets)

    def abandon(self) -> None:
        return None


def _route_to(found: tuple[Any, ...]) -> str:
    """Our address on the way there; nothing is sent for it."""
    family, _, _, _, where = found
    with suppress(OSError), closing(socket.socket(family, socket.SOCK_DGRAM)) as sock:
        sock.connect(where)
        return str(sock.getsockname()[0])
    return ""


def _without_endpoint(error: DicomlabError, verb: str = "") -> str:
    """What happened; who it happened with stands in the title already, and what to do beside it."""
    if isinstance(error, ServiceError):
        return tables.status_text(error.status, verb)
    return str(error).removeprefix(f"{getattr(error, 'endpoint', '')}: ")
