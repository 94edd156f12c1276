"""``Node``: a remote Application Entity."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal, overload

from dicomlab.dimse import tables
from dicomlab.dimse.agreement import Agreement, Contexts, negotiate
from dicomlab.dimse.byhand import Session
from dicomlab.dimse.commitment import Commitment
from dicomlab.dimse.dissect import name_of
from dicomlab.dimse.doctor import Diagnosis, examine
from dicomlab.dimse.extended import OPTIONS
from dicomlab.dimse.identity import User, identity_of
from dicomlab.dimse.negotiation import Proposal, peer_of
from dicomlab.dimse.retrieve import Manner, Method, Model, deliver
from dicomlab.dimse.search import Search
from dicomlab.dimse.secure import TLS, security_of
from dicomlab.dimse.sending import send
from dicomlab.dimse.workflow import WorkflowPath
from dicomlab.errors import CommunicationError, RemoteProtocolError, UsageError
from dicomlab.model.address import AEAddress, OwnAE
from dicomlab.model.commitment import Inbox
from dicomlab.model.path import Match, SearchPath, StorePath, Verdict
from dicomlab.model.progress import Control, OnProgress, Operation, Work
from dicomlab.model.protocols import Sink, Wanted
from dicomlab.model.query import Query
from dicomlab.model.report import Report
from dicomlab.model.summary import Summarised, Summary
from dicomlab.model.verification import Verification
from dicomlab.profiles import is_name, names_secret, profile, secret

OUR_AE_TITLE = "DICOMLAB"
COMMIT_TIMEOUT_S = 10.0
"""How long a report of a commitment is waited for."""

_SERVICES = {
    "Verification": tables.VERIFICATION,
    **{
        f"{root} root C-{verb}": tables.MODELS[root, verb]
        for root in ("patient", "study")
        for verb in ("FIND", "GET", "MOVE")
    },
}


class Node(SearchPath, StorePath, WorkflowPath, Summarised):
    """A remote AE: ``Node("PACS@10.0.0.5:104", me="LAB1:11112")``. Constructing one sends nothing.

    Parameters
    ----------
    address : str
        ``AET@host:port``; without a port, 104. Or the name of a profile: ``Node("pacs")`` (see
        :mod:`dicomlab.profiles`).
    me : str
        Our AE title, and the port on which a C-MOVE reaches us (which the peer must know): ``"LAB1:11112"``. Without
        a port a free one is taken when one is needed.
    timeout_s : float
        Longest time without any progress, in seconds.
    connect_timeout_s : float
        Longest time for the TCP connection, in seconds.
    acse_timeout_s : float
        Longest time for the answer to a request for an association, in seconds.
    max_pdu : int
        Longest P-DATA-TF PDU that we take, in octets, 4096 to 16777216.
    tls : bool, str, SSLContext or sequence, optional
        Speak TLS 1.2 or newer, here and where we listen: True or ``"bcp195"`` (PS3.15 B.12), ``"bcp195-modified"``
        (B.13), ``(cert, key, ca)`` with PEM files where both ends show certificates, or an SSLContext of your own:
        see :func:`dicomlab.dimse.secure.security_of`. Never plaintext instead.
    user : str or tuple, optional
        Who the user is: a name, ``(name, passcode)``, ``("kerberos", ticket)``, ``("saml", assertion)`` or
        ``("jwt", token)``. Over TLS only.
    force_plaintext_user : bool
        Send the user's identity without TLS all the same.
    extended : collection of str
        What extended negotiation asks for in every query: ``relational``, ``datetime``, ``fuzzy``, ``timezone``,
        ``enhanced``, ``empty``, ``multiple`` (see :mod:`dicomlab.dimse.extended`). For one query alone:
        ``find("series", relational=True)``. What was granted is in ``cohort.granted``.
    senders : collection of str
        Addresses and networks that may send us what a C-MOVE asks for, beside the peer's own address and AE title.

    Raises
    ------
    UsageError
        An address, an AE title or a number that can't be; a user without TLS.

    Source
    ------
    PS3.4 Annexes A to C, F, J, K, CC; PS3.7; PS3.8; PS3.15 B.12, B.13.
    """

    _options = frozenset(OPTIONS)

    def __init__(
        self,
        address: str | AEAddress,
        me: str | OwnAE = OUR_AE_TITLE,
        *,
        timeout_s: float = 60.0,
        connect_timeout_s: float = 5.0,
        acse_timeout_s: float = 15.0,
        max_pdu: int = 131_072,
        tls: TLS = None,
        user: User = None,
        force_plaintext_user: bool = False,
        extended: Collection[str] = (),
        senders: Collection[str] = (),
    ) -> None:
        if isinstance(address, str) and is_name(address):
            entry = profile("node", address)
            address, me = entry["address"], me if me != OUR_AE_TITLE else entry.get("me", me)
            tls, user = tls or _tls_of(entry), user or _user_of(entry)
        security = security_of(tls)
        if security and security.client is None:
            raise UsageError("that SSLContext is for servers; to ask a peer, make one with PROTOCOL_TLS_CLIENT")
        self._peer = peer_of(
            address,
            me,
            timeout_s,
            connect_timeout_s,
            max_pdu,
            acse_timeout_s=acse_timeout_s,
            security=security,
            identity=identity_of(user, encrypted=security.client is not None, forced=force_plaintext_user),
            options=extended,
            senders=senders,
        )

    @property
    def fictional(self) -> bool:
        """Whether its patients are known to be synthetic, so that reprs and traces may show them."""
        return self._peer.fictional

    @fictional.setter
    def fictional(self, value: bool) -> None:
        self._peer = replace(self._peer, fictional=value)

    @property
    def address(self) -> AEAddress:
        """Who is asked."""
        return self._peer.address

    @property
    def me(self) -> OwnAE:
        """Who asks."""
        return self._peer.me

    def __str__(self) -> str:
        return str(self.address)

    def verify(self) -> Verification:
        """Ask whether it is there and what it offers (C-ECHO).

        Returns
        -------
        Verification
            Truthy if it answered the C-ECHO with Success; else what went wrong and what to do. Never raises for a
            negative finding.

        Source
        ------
        PS3.4 Annex A, PS3.7 §9.3.5.
        """
        started = time.monotonic()
        facts = [("tried", f"C-ECHO as {self.me.ae_title}")]

        def found(ok: bool, advice: str = "") -> Verification:
            return Verification(ok, str(self.address), time.monotonic() - started, tuple(facts), advice)

        try:
            with self._peer.associate(
                [Proposal(uid, tables.UNCOMPRESSED) for uid in _SERVICES.values()]
            ) as association:
                user = association.peer
                facts.append(("implementation", user.implementation_version_name or "not named"))
                facts.append(("implementation UID", user.implementation_class_uid))
                if association.encryption:
                    facts.append(("TLS", association.encryption))
                facts.append(("max PDU", str(user.max_pdu) if user.max_pdu else "no limit"))
                offered = [name for name, uid in _SERVICES.items() if association.context_for(uid) is not None]
                facts.append(("offers", ", ".join(offered)))
                context = association.context_for(tables.VERIFICATION)
                if context is None:
                    return found(ok=False, advice=f"it does not offer {name_of(tables.VERIFICATION)}")
                number = association.request(context, "C-ECHO-RQ")
                command = association.answer("C-ECHO-RSP", number).command
                text = tables.status_text(command.status, "ECHO", command.comment)
                facts.append(("answered", text))
                if command.status != tables.SUCCESS:
                    return found(ok=False, advice=tables.advice(command.status))
        except (CommunicationError, RemoteProtocolError) as error:
            facts.append(("found", type(error).__name__))
            return found(ok=False, advice=str(error))
        return found(ok=True)

    def doctor(self, match: Mapping[str | int, object] | None = None, **keywords: object) -> Diagnosis:
        """Find out, step by step, why something does not work: DNS, TCP, TLS, association, contexts, each service.

        The services are tried for real: a C-FIND for one study, then one instance of it by C-GET and by C-MOVE to
        ourselves; what arrives is counted and dropped.

        Parameters
        ----------
        match : mapping, optional
            Matching keys for the study, as for ``find``, where the peer does not let everybody look at everything.
        **keywords
            The same by keyword: ``node.doctor(PatientID="TEST")``.

        Returns
        -------
        Diagnosis
            Each step with what came back and what to do, and the letter to the administrator of the peer. Never raises
            for a negative finding.

        Raises
        ------
        UsageError
            Matching keys that can't be.

        Source
        ------
        PS3.8 §9.3.4, PS3.4 Annex A, §C.4.
        """
        keys: dict[str | int, object] = dict(match or {})
        keys.update(keywords)
        Query.of("study", keys)
        return examine(self, self._peer, keys)

    def _search(self, query: Query, control: Control, verdict: Verdict) -> Iterator[Match]:
        roots: Sequence[Literal["patient", "study"]] = ("patient", "study") if query.level == "patient" else ("study",)
        proposals = [Proposal(tables.MODELS[root, "FIND"], tables.UNCOMPRESSED) for root in roots]
        asked = {name for name, wanted in query.options if wanted}
        refused = {name for name, wanted in query.options if not wanted}
        peer = replace(self._peer, options=(self._peer.options | asked) - refused)
        with peer.associate(proposals) as association:
            search = Search(association, query, control, verdict, partial(peer.associate, proposals))
            verdict.granted = search.granted
            yield from search.rows()

    def deliver(
        self,
        wanted: Sequence[Wanted],
        sink: Sink,
        control: Control,
        /,
        *,
        method: Method = "auto",
        model: Model = "study",
        associations: int = 2,
        retries: int = 3,
    ) -> None:
        """Retrieve instances into `sink` as the peer sends them, undecoded.

        Parameters
        ----------
        wanted : sequence of Wanted
        sink : Sink
            Where they arrive. It may be called from other threads, though from one at a time but for ``write``.
        control : Control
            Cancelling it sends a C-CANCEL; what has arrived stays.
        method : str
            ``"get"`` (on our own association), ``"move"`` (the peer associates with us, so it must know our AE title
            and port) or ``"auto"``: C-GET where it is offered, else C-MOVE. A C-MOVE of more than one instance moves
            one first, as the proof that the way back is open.
        model : str
            ``"study"``: Study Root. ``"instance"``: Composite Instance Root, which needs no keys but SOP Instance
            UIDs. ``"without bulk data"``: the same, and pixel data and the like stay there.
        associations : int
            How many at once for C-GET, 1 to 16, each with series of its own.
        retries : int
            How often to go on after what may pass by itself: a connection that breaks, a peer that is busy or out of
            resources. What has arrived is not fetched again.

        Raises
        ------
        UsageError
            An option that can't be.
        Unreachable, Refused, Interrupted, RemoteProtocolError
            The conversation did not take place, or not to its end; so did the sink (Interrupted, Refused).
        ServiceError
            The peer won't do any of it, as where it does not know us as a destination (A801H). An instance that the
            peer failed to send is not raised but told to ``sink.failed``; a Success proves nothing, so compare.

        Source
        ------
        PS3.4 §C.4.2, §C.4.3, Annex Y, Annex Z.
        """
        deliver(self._peer, wanted, sink, control, Manner(method, model, associations, retries))

    @overload
    def store(
        self, what: Any, *, associations: int = ..., decompress: bool = ..., retries: int = ..., commit: bool = ...,
        commit_timeout_s: float = ..., inbox: Inbox | None = ..., progress: bool | OnProgress = ...,
        background: Literal[False] = ...,
    ) -> Report: ...  # fmt: skip
    @overload
    def store(
        self, what: Any, *, associations: int = ..., decompress: bool = ..., retries: int = ..., commit: bool = ...,
        commit_timeout_s: float = ..., inbox: Inbox | None = ..., progress: bool | OnProgress = ...,
        background: Literal[True],
    ) -> Operation[Report]: ...  # fmt: skip
    def store(
        self,
        what: Any,
        *,
        associations: int = 1,
        decompress: bool = False,
        retries: int = 3,
        commit: bool = False,
        commit_timeout_s: float = COMMIT_TIMEOUT_S,
        inbox: Inbox | None = None,
        progress: bool | OnProgress = True,
        background: bool = False,
    ) -> Report | Operation[Report]:
        """Store instances (C-STORE), and have them committed to (storage commitment) where that is wanted.

        Parameters
        ----------
        what, progress, background
            As for every path: :meth:`dicomlab.model.path.StorePath.store`.
        associations : int
            How many at once, 1 to 16.
        decompress : bool
            Send compressed pixel data uncompressed where the peer takes nothing else. Nothing but the pixel data (and
            what describes its encoding) changes.
        retries : int
            How often to go on after what may pass by itself: a connection that breaks, a peer that is busy or out of
            resources.
        commit : bool
            Ask the peer, once all is sent, to take responsibility for the safe keeping of each instance. What it
            reports decides: an instance that it does not commit to has failed, one that it has not reported yet is
            ``pending``. Our port (``me="LAB1:11112"``) stays open for the report as long as yours is held, and
            ``report.refresh()`` asks again.
        commit_timeout_s : float
            How long to wait for the report, in seconds.
        inbox : Inbox, optional
            Who takes the report in our name, for as long as it takes: ``archive.inbox`` of an archive that is open at
            the address of ``me``, in this process or in another (``dicomlab serve``). Ours then opens no port.

        Returns
        -------
        Report
            One row for each instance.

        Raises
        ------
        UsageError, Unreachable, Refused, Interrupted, RemoteProtocolError
            As for every path. That commitment is not offered, or refused, is in the rows.

        Source
        ------
        PS3.4 Annex B, Annex J.
        """
        if not 0 < commit_timeout_s < 86_400:
            raise UsageError(f"commit_timeout_s is a number of seconds above 0, not {commit_timeout_s!r}")

        def run(control: Control) -> Report:
            report = send(self._peer, what, control, associations=associations, decompress=decompress, retries=retries)
            return Commitment(self._peer, commit_timeout_s, inbox).of(report, control) if commit else report

        work = Work("store", "instances", run, progress=progress)
        return work.carry_out(background=background)

    def resume_commitment(self, report: Report, inbox: Inbox | None = None) -> Report:
        """Take up a report of :meth:`store` that was saved: what ``Report.refresh`` does.

        Parameters
        ----------
        report : Report
        inbox : Inbox, optional

        Source
        ------
        PS3.4 Annex J.
        """
        return Commitment(self._peer, COMMIT_TIMEOUT_S, inbox).resume(report)

    def negotiate(self, contexts: Contexts = None, *, scp: bool = False) -> Agreement:
        """Propose presentation contexts, show what came back for each, and release the association.

        Parameters
        ----------
        contexts : iterable, optional
            SOP Classes as UIDs or PS3.6 keywords, or pairs of one and its transfer syntaxes. None: Verification, query,
            retrieve, and the common Storage classes. More than 128 are proposed on several associations.
        scp : bool
            Ask for the SCP role in the Storage classes too, as a C-GET needs it.

        Returns
        -------
        Agreement
            One row for each context: result in the standard's words, transfer syntax, roles, extended negotiation.

        Raises
        ------
        UsageError, Unreachable, Refused, Interrupted, RemoteProtocolError
            As for every verb; contexts that are not accepted are rows, not errors.

        Source
        ------
        PS3.8 §9.3.2, §9.3.3; PS3.7 §D.3.3.
        """
        return negotiate(self._peer, contexts, scp=scp)

    def associate(self, contexts: Contexts = None, *, scp: bool = False) -> Session:
        """Establish an association by hand: ``with node.associate() as s: s.request("C-ECHO")``.

        The session shows its ``state`` and the ``history`` of its steps. ``send``, ``receive``, ``respond``,
        ``cancel``, ``release`` and ``abort`` are one step each; ``request`` waits for all answers.

        Parameters
        ----------
        contexts : iterable, optional
            SOP Classes as UIDs or PS3.6 keywords, or pairs of one and its transfer syntaxes. None: Verification,
            query, and the common Storage classes.
        scp : bool
            Ask for the SCP role in the Storage classes (and, without `contexts`, for retrieve too), as a C-GET by hand
            needs it.

        Raises
        ------
        UsageError, Unreachable, Refused, Interrupted, RemoteProtocolError
            As for every verb.
        """
        return Session(self._peer, contexts, scp=scp)

    def _summary_(self) -> Summary:
        facts = (
            ("address", str(self.address)),
            ("me", str(self.me)),
            ("timeout", f"{self._peer.timeout_s:g} s"),
            ("max PDU", str(self._peer.max_pdu)),
            ("TLS", self._peer.security.profile or "none"),
        )
        return Summary(f"Node {self.address.ae_title}", facts)


def _tls_of(entry: Mapping[str, str]) -> TLS:
    """TLS as a profile has it: a name, or files."""
    if "cert" in entry:
        return entry["cert"], entry.get("key"), entry.get("ca"), entry.get("tls")
    return entry.get("tls")


def _user_of(entry: Mapping[str, str]) -> User:
    """The user of a profile; the secrets themselves stand elsewhere."""
    if not names_secret(entry, "user"):
        return None
    name = secret(entry, "user")
    return (name, secret(entry, "password")) if names_secret(entry, "password") else name
