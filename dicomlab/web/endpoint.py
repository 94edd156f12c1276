"""``WebEndpoint``: a DICOMweb origin server, as its user agent sees it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal, overload
from urllib.parse import urlsplit, urlunsplit

from dicomlab.errors import DicomlabError, Refused, ServiceError, Unreachable, UsageError
from dicomlab.model.cells import typed_rows
from dicomlab.model.columns import Cells
from dicomlab.model.path import SearchPath, StorePath, Verdict
from dicomlab.model.progress import Control, OnProgress, Operation, Work
from dicomlab.model.protocols import Sink, Wanted
from dicomlab.model.query import Query
from dicomlab.model.report import Report
from dicomlab.model.summary import Summarised, Summary, visible
from dicomlab.model.verification import Verification
from dicomlab.model.workitems import RECEIVER, WorkItems
from dicomlab.profiles import is_name, profile
from dicomlab.web.abilities import Capabilities, capabilities, kind_of
from dicomlab.web.auth import Auth, authentication, from_profile
from dicomlab.web.commitment import Commitment
from dicomlab.web.deletion import delete
from dicomlab.web.event_reports import is_ae_title
from dicomlab.web.http import Conversation, Site
from dicomlab.web.json_model import decode
from dicomlab.web.media_types import DICOM, DICOM_JSON
from dicomlab.web.places import Where, places
from dicomlab.web.representations import Representations
from dicomlab.web.retrieve import Retriever
from dicomlab.web.search import Searcher, json_body
from dicomlab.web.servers import STANDARD, Server, server_at, server_named
from dicomlab.web.store import Storer
from dicomlab.web.streams import checked
from dicomlab.web.workitems import WorkItemAgent

STREAMS = 4
"""Series that a retrieve fetches, and requests that a store has under way, at once."""
COMMIT_TIMEOUT_S = 10.0
"""How long the answer to a request for commitment is waited for."""
PAGE = 1000
"""Rows that one search request asks for."""
ROWS_AT_ONCE = 250
"""Rows that are made cells together."""


class WebEndpoint(SearchPath, StorePath, Representations, Summarised):
    """A DICOMweb origin server: ``WebEndpoint("https://pacs.example.org/dicom-web")``.

    Making one touches no network.

    Parameters
    ----------
    url : str
        The base URL, up to where ``/studies`` begins. No credentials in it: those go into `auth`.
        Or the name of a profile: ``WebEndpoint("pacs")`` (see :mod:`dicomlab.profiles`).
    auth : (user, password), Bearer, callable or AuthBase, optional
        ``dicomlab.web.auth.Bearer(token)``, a function that gives a token (or a token and for how many seconds it is
        good), ``dicomlab.web.oidc.ClientCredentials`` or ``DeviceSignIn``, or any ``AuthBase`` of requests, such as
        those of cloud vendors. Without it, ``~/.netrc`` is asked. Never shown, never sent to another origin.
    timeout_s : float
        Seconds without an octet after which an answer counts as broken off; and an answer that comes in drops.
    connect_timeout_s : float
        Seconds to wait for a connection.
    verify_tls : bool or str
        False accepts any certificate; a path names the certificates to trust.
    certificate : str or (str, str), optional
        Our own certificate, for servers that want one (mutual TLS): a file with certificate and key, or one for each.
    page : int
        Rows to ask for in one request of a search.
    server : str or Server, optional
        Which kind of server it is, where it does things otherwise than the standard says: ``"orthanc"``, ``"google"``,
        ... (see :mod:`dicomlab.web.servers`). Else it is told by its address, by :meth:`verify` and
        :meth:`capabilities`. ``web.server`` shows what is known.
    me : str
        The AE title under which we subscribe to events of work items.
    fuzzy : bool
        Ask for fuzzy matching of person names; servers that don't have it match them literally. Of one search:
        ``find("study", PatientName="Doe", fuzzy=True)``; whether the server does it is in ``cohort.granted``.
    fictional : bool
        Its patients are known to be synthetic, so reprs show them.
    adapter : requests.adapters.BaseAdapter, optional
        Carries requests instead of a connection, such as an :class:`~dicomlab.web.in_process.InProcessAdapter`.

    Source
    ------
    PS3.18 §10 (Studies Service).
    """

    _options = frozenset({"fuzzy"})

    def __init__(
        self,
        url: str,
        *,
        auth: Auth = None,
        timeout_s: float = 60.0,
        connect_timeout_s: float = 5.0,
        verify_tls: bool | str = True,
        certificate: str | tuple[str, str] | None = None,
        page: int = PAGE,
        server: str | Server | None = None,
        me: str = RECEIVER,
        fuzzy: bool = False,
        fictional: bool = False,
        adapter: Any = None,
    ) -> None:
        if isinstance(url, str) and is_name(url):
            entry = profile("web", url)
            url, auth = entry["url"], auth if auth is not None else from_profile(entry)
        if timeout_s <= 0 or connect_timeout_s <= 0 or page < 1:
            raise UsageError("timeout_s, connect_timeout_s and page must be above 0")
        base = _base_url(url)
        timeouts = timeout_s, connect_timeout_s
        credentials = authentication(auth)
        self._site = Site(base, credentials, *timeouts, verify_tls, certificate, adapter, fictional)
        self._server = server_named(server) if isinstance(server, str) else server or server_at(base)
        self._page, self._fuzzy = page, fuzzy
        if not is_ae_title(me):
            raise UsageError(f"{me[:40]!r} is no AE title: at most 16 characters of ASCII")
        self._me, self._channels = me, dict[str, str]()

    @property
    def fictional(self) -> bool:
        """Whether its patients are known to be synthetic, so that reprs and traces may show them."""
        return self._site.fictional

    @fictional.setter
    def fictional(self, value: bool) -> None:
        self._site = replace(self._site, fictional=value)

    @property
    def url(self) -> str:
        """The base URL."""
        return self._site.url

    @property
    def server(self) -> Server:
        """How the server behaves where that is not as the standard says, as far as it is known."""
        return self._server or STANDARD

    def __str__(self) -> str:
        return self._site.url

    def _summary_(self) -> Summary:
        who = "none" if self._site.auth is None else repr(self._site.auth)
        shown = who if self._site.auth is None or type(self._site.auth).__module__.startswith("dicomlab") else "given"
        facts = [("url", self._site.url), ("auth", shown)]
        if self._server is not None:
            facts.append(("server", self._server.name))
        return Summary("WebEndpoint", tuple(facts))

    # --- verify ------------------------------------------------------------------------------------------------------

    def verify(self) -> Verification:
        """Ask whether the server answers as a DICOMweb origin server: a search for one study, and its capabilities.

        Returns
        -------
        Verification
            Falsy, with advice, where it does not; a negative finding is never raised.

        Source
        ------
        PS3.18 §10.6 (search), §8.9 (capabilities).
        """
        started = time.monotonic()
        facts: list[tuple[str, str]] = []
        advice = ""
        try:
            with Conversation(self._site) as http:
                self._probe(http, facts)
        except Unreachable as error:
            advice = str(error)
        except Refused as error:
            facts.append(("search", "declined"))
            advice = str(error)
        except DicomlabError as error:
            facts.append(("search", "failed"))
            advice = f"{error}. Is {self._site.url} the base URL of a DICOMweb server?"
        return Verification(not advice, str(self), time.monotonic() - started, tuple(facts), advice)

    def _probe(self, http: Conversation, facts: list[tuple[str, str]]) -> None:
        self._server = self._server or kind_of(http)
        facts.append(("kind", self._server.name if self._server else "unknown"))
        with http.request("GET", "/studies?limit=1", accept=DICOM_JSON) as answer:
            if server := answer.headers.get("Server"):
                facts.append(("server", visible(server, 80)))
            if answer.status not in (200, 204, 206):
                answer.refuse()
            found = [] if answer.status == 204 else decode(json_body(answer) or b"[]")
            if not isinstance(found, list):
                raise ServiceError("the answer to a search is no array (PS3.18 §F.2.1)", status=answer.status)
            facts.append(("search", f"answers ({answer.status_line}), {'holds studies' if found else 'holds nothing'}"))
        with http.request("OPTIONS", "/", accept="*/*") as answer:
            known = answer.status in (200, 204)
            facts.append(("capabilities", "described" if known else f"not described ({answer.status})"))

    def capabilities(self) -> Capabilities:
        """What the server can do: by its own description where it has one, and by trying what changes nothing.

        What is learned about the kind of server is used from then on.

        Returns
        -------
        Capabilities
            A table; ``capabilities["thumbnail"]``.

        Raises
        ------
        Unreachable, Refused
            Nobody answers, or nobody may ask.

        Source
        ------
        PS3.18 §8.9 (Retrieve Capabilities), Annex H.
        """
        found = self._with_server("capabilities", capabilities)
        self._server = self._server or found.server
        return found

    # --- find --------------------------------------------------------------------------------------------------------

    def _search(self, query: Query, control: Control, verdict: Verdict) -> Iterator[Cells]:
        with Conversation(self._site, control) as http, control.on_cancel(http.shut):
            fuzzy = dict(query.options).get("fuzzy", self._fuzzy)
            searcher = Searcher(http, verdict, self._page, query.limit, self.server, fuzzy)
            yield from typed_rows(query.columns, searcher.rows(query), min(ROWS_AT_ONCE, (query.limit or PAGE) + 1))

    # --- retrieve ----------------------------------------------------------------------------------------------------

    def deliver(
        self,
        wanted: Sequence[Wanted],
        sink: Sink,
        control: Control,
        /,
        *,
        transfer_syntax: str | Sequence[str] = "*",
        streams: int = STREAMS,
    ) -> None:
        """Push every wanted instance into `sink`: series by series, the octets as the server sends them.

        Parameters
        ----------
        wanted : sequence of Wanted
        sink : Sink
        control : Control
        transfer_syntax : str or sequence of str
            A UID, ``"*"`` for whatever the server has stored, or several in order of preference.
        streams : int
            Series that are fetched at once, at most. Over a link with a long way several are faster than one.

        Raises
        ------
        Unreachable, Refused, Interrupted
            No conversation, or none to the end; what arrived whole is in the sink.

        Source
        ------
        PS3.18 §10.4 (retrieve), §8.7.3.5.2 (the transfer syntax parameter).
        """
        accepts = self._accepting(DICOM, transfer_syntax)
        Retriever(self._site, sink, control, accepts, checked(streams)).deliver(wanted)

    # --- store -------------------------------------------------------------------------------------------------------

    @overload
    def store(
        self, what: Any, *, streams: int = ..., commit: bool = ..., commit_timeout_s: float = ...,
        progress: bool | OnProgress = ..., background: Literal[False] = ...,
    ) -> Report: ...  # fmt: skip
    @overload
    def store(
        self, what: Any, *, streams: int = ..., commit: bool = ..., commit_timeout_s: float = ...,
        progress: bool | OnProgress = ..., background: Literal[True],
    ) -> Operation[Report]: ...  # fmt: skip
    def store(
        self,
        what: Any,
        *,
        streams: int = STREAMS,
        commit: bool = False,
        commit_timeout_s: float = COMMIT_TIMEOUT_S,
        progress: bool | OnProgress = True,
        background: bool = False,
    ) -> Report | Operation[Report]:
        """Store instances (STOW-RS), and have them committed to (storage commitment) where that is wanted.

        Parameters
        ----------
        what, progress, background
            As for every path: :meth:`dicomlab.model.path.StorePath.store`.
        streams : int
            Requests that are under way at once, 1 to 32: the server stores one batch while the next is sent. With 1,
            whatever `what` names twice is stored in its order.
        commit : bool
            Ask the server, once all is sent, to take responsibility for the safe keeping of each instance. What it
            answers decides: an instance that it does not commit to has failed, one that it has not answered yet is
            ``pending``, and ``report.refresh()`` asks again, also after ``report.save`` and ``Report.load``.
        commit_timeout_s : float
            How long to wait for the answer, in seconds.

        Returns
        -------
        Report
            One row for each instance, in the order of `what`.

        Raises
        ------
        UsageError, Unreachable, Refused, Interrupted, RemoteProtocolError
            As for every path. That commitment is not offered, or refused, is in the rows.

        Source
        ------
        PS3.18 §10.5 (store), §13 (storage commitment).
        """
        if not 0 < commit_timeout_s < 86_400:
            raise UsageError(f"commit_timeout_s is a number of seconds above 0, not {commit_timeout_s!r}")
        checked(streams)

        def run(control: Control) -> Report:
            with Conversation(self._site, control) as http:
                report = Storer(self._site, http, streams, f"Stored to {self}").store(what)
            return Commitment(self._site, commit_timeout_s).of(report, control) if commit else report

        work = Work("store", "instances", run, progress=progress)
        return work.carry_out(background=background)

    def resume_commitment(self, report: Report) -> Report:
        """Take up a report of :meth:`store` that was saved: what ``Report.refresh`` does.

        Source
        ------
        PS3.18 §13.
        """
        return Commitment(self._site, COMMIT_TIMEOUT_S).resume(report)

    # --- work items --------------------------------------------------------------------------------------------------

    @property
    def workitems(self) -> WorkItems:
        """The server's work items (Unified Procedure Steps): the Worklist Service.

        Source
        ------
        PS3.18 §11 (Worklist Service).
        """
        return WorkItems(WorkItemAgent(self._site, self._page, self._channels), str(self), self._me)

    # --- delete ------------------------------------------------------------------------------------------------------

    def delete(self, what: Where, *, confirm: int) -> Report:
        """Delete studies, series or instances at the server, where it has that.

        Parameters
        ----------
        what : Instance, Cohort, or UIDs
            As for :meth:`metadata`.
        confirm : int
            How many resources that are: nothing is deleted by mistake.

        Returns
        -------
        Report
            One row for each resource, by what the server says. Some go on after their answer: those are pending.

        Raises
        ------
        UsageError
            `what` names no resource, or another number of them than was confirmed.
        ServiceError
            The server does not delete.
        Unreachable, Refused, Interrupted
            As for ``retrieve``.

        Source
        ------
        PS3.18 has no deletion; RFC 9110 §9.3.5 (DELETE).
        """
        resources = places(what, "retrieve")
        if isinstance(confirm, bool) or confirm != len(resources):
            raise UsageError(f"this would delete {len(resources)} {resources[0].level if resources else ''} resources:"
                             f" confirm={len(resources)} says that this is meant")  # fmt: skip

        def work(http: Conversation) -> Report:
            return delete(http, http.control, resources, f"Deleted from {self}")

        return self._with_server("delete", work)


def _base_url(url: str) -> str:
    """Check a base URL and give it without a slash at its end."""
    parts = urlsplit(str(url))
    if "@" in parts.netloc:
        raise UsageError(
            "no user or password in a URL: WebEndpoint(url, auth=(user, password)) keeps them out of sight"
        )
    try:
        port_ok = parts.port is None or parts.port > 0
    except ValueError:
        port_ok = False
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_ok or any(c.isspace() for c in url):
        raise UsageError(f"{visible(str(url), 100)!r} is no base URL: write http://host:port/dicom-web")
    if parts.query or parts.fragment:
        raise UsageError(f"{visible(str(url), 100)!r}: a base URL has no query and no fragment")
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))
