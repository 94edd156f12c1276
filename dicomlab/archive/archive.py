"""The embedded archive: everything a notebook needs to talk DICOM, in one object and on this machine."""

from __future__ import annotations

import shutil
import socket
import sys
import weakref
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dicomlab.archive.commitments import CommitmentStore
from dicomlab.archive.department import Department
from dicomlab.archive.owner import owned
from dicomlab.archive.performed import PerformedSteps
from dicomlab.archive.scratch import scratch_folder
from dicomlab.archive.store import Arrived, Store, StoreSink
from dicomlab.archive.worklist import Worklist
from dicomlab.dimse import services
from dicomlab.dimse.handlers import Handlers, check_handlers
from dicomlab.dimse.listener import MAX_ASSOCIATIONS, OnIdentity, Terms
from dicomlab.dimse.node import Node
from dicomlab.dimse.outward import Outward
from dicomlab.dimse.secure import TLS, security_of
from dicomlab.dimse.services import MAX_INSTANCE_OCTETS
from dicomlab.dimse.serving import Service
from dicomlab.errors import DicomlabError, UsageError
from dicomlab.media.media_set import MediaSet
from dicomlab.model.address import AEAddress
from dicomlab.model.commitment import Inbox
from dicomlab.model.faults import Faults
from dicomlab.model.instance import Instance
from dicomlab.model.links import above
from dicomlab.model.progress import Control, OnProgress, Operation, Work
from dicomlab.model.protocols import Arrival, Held
from dicomlab.model.report import Outcome, Report
from dicomlab.model.summary import Summarised, Summary
from dicomlab.model.trace import Trace
from dicomlab.model.workitems import WorkItems
from dicomlab.part10.files import CHUNK_OCTETS, Unfit, parcels
from dicomlab.web import origin
from dicomlab.web.endpoint import WebEndpoint
from dicomlab.web.in_process import InProcessAdapter

AE_TITLE = "DICOMLAB"
FREE_OCTETS = 256 << 20
"""Room on the medium below which nothing is taken over DIMSE."""
IN_PROCESS_URL = f"http://{origin.IN_PROCESS}{origin.ROOT}"
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class Archive(Summarised):
    """One store behind two doors: an SCP (``archive.node``) and an origin server (``archive.web``).

    ::

        with Archive() as archive:
            archive.add("folder/")
            archive.node.find("study")

    Constructing one opens nothing; the doors open on first use of ``node``, ``web`` or ``address``, or with ``with``.

    Parameters
    ----------
    path : path, optional
        The folder where everything is kept, from one session to the next. None: a temporary one, removed at the end.
        One process at a time has it open; whoever opens it meanwhile gets :class:`dicomlab.errors.Refused`, which says
        who that is. A process that was killed keeps nobody out.
    address : str, optional
        ``"AET@host:port"`` of the SCP; port 0: a free one. None: ``DICOMLAB`` on a free port of the loopback interface,
        where nobody but this machine can reach it. Any other host opens the archive, unprotected, to whoever can reach
        that address.
    web_port : int, optional
        Port of the origin server on the same host; 0: a free one. None: no port at all; ``archive.web`` reaches it
        inside this process, and so does a session given to ``archive.mount``.
    on_store : callable, optional
        Called with the :class:`Instance` after each one is stored, in the thread that stored it.
    known : mapping of str to (host, port), optional
        The Application Entities to which a C-MOVE, a commitment report or an event report may go, beside
        ``archive.node`` itself, which is LAB1, or the next LAB whose title is not taken here.
    callers : collection of str, optional
        The AE titles that may call over DIMSE; None: all.
    hosts : collection of str, optional
        The addresses and networks (``"10.0.0.0/8"``) that may connect over DIMSE; None: all.
    tls : sequence, optional
        Speak TLS over DIMSE, and nothing else: ``(cert, key, ca)`` with PEM files, where callers must show a
        certificate that ``ca`` signed. See :func:`dicomlab.dimse.secure.security_of`.
    on_identity : callable, optional
        ``on_identity(identity, caller)`` says whether that user may come in over DIMSE.
    handlers : mapping of str to callable, optional
        Your own functions in the place of what the archive answers: ``{"C-FIND": answer}``. Each gets one
        :class:`dicomlab.dimse.handlers.Asked` and gives data sets (C-FIND), paths or data sets to be sent (C-GET,
        C-MOVE), a status (C-ECHO, C-STORE) or the reasons for what can't be kept safe, by UID (N-ACTION).
    services : sequence of Service, optional
        Further DIMSE services: see :class:`dicomlab.dimse.serving.Service`.
    max_associations, max_instance_octets, free_octets : int
        Most associations at a time; the largest instance that is taken over DIMSE; the room on the medium below which
        nothing is taken.
    timeout_s, idle_timeout_s : float
        Longest time without progress inside a message, and between two messages, in seconds.
    trace : Trace, optional
        Where what crosses the DIMSE door is recorded, as its own side sees it.
    web_hosts : sequence of str
        Names, beside localhost and numbers, under which the origin server is reached: those of a proxy before it.
    web_origins : sequence of str
        Web origins, beside those of this machine, whose pages may read and store.

    Source
    ------
    PS3.4 Annexes A, B, C, J, Y, Z (Verification, Storage, Query/Retrieve, Storage Commitment), F, K, CC (performed
    steps, worklist, work items); PS3.18 §10, §11.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        address: str | None = None,
        on_store: Callable[[Instance], None] | None = None,
        *,
        web_port: int | None = 0,
        known: dict[str, tuple[str, int]] | None = None,
        web_hosts: Sequence[str] = (),
        web_origins: Sequence[str] = (),
        callers: Collection[str] | None = None,
        hosts: Collection[str] | None = None,
        tls: TLS = None,
        on_identity: OnIdentity | None = None,
        handlers: Handlers | None = None,
        services: Sequence[Service] = (),
        max_associations: int = MAX_ASSOCIATIONS,
        max_instance_octets: int = MAX_INSTANCE_OCTETS,
        free_octets: int = FREE_OCTETS,
        timeout_s: float = 60.0,
        idle_timeout_s: float = 60.0,
        trace: Trace | None = None,
    ) -> None:
        self._given = Path(path) if path is not None else None
        self._at = AEAddress.parse(address, listening=True) if address is not None else None
        self._on_store = on_store
        self._web_port = web_port
        self._known = dict(known or {})
        self._security, self._tls = security_of(tls), tls
        self._free_octets, self._services = free_octets, tuple(services)
        self.faults = Faults()
        """What it does wrong on purpose, on both doors."""
        self._door: dict[str, Any] = {
            "terms": Terms(
                callers=callers,
                hosts=hosts,
                on_identity=on_identity,
                max_associations=max_associations,
                timeout_s=timeout_s,
                idle_timeout_s=idle_timeout_s,
            ),
            "security": self._security,
            "handlers": check_handlers(handlers),
            "max_instance_octets": max_instance_octets,
            "faults": self.faults,
            "trace": trace,
        }
        if self._security and None in (self._security.client, self._security.server):
            raise UsageError("an archive listens and asks: give it tls=(cert, key, ca)")
        self._web_hosts, self._web_origins = tuple(web_hosts), tuple(web_origins)
        self._open: _Open | None = None
        self._closer: weakref.finalize[Any, Any] | None = None
        self._fictional = False

    @classmethod
    def demo(cls) -> Self:
        """Give an archive that is filled: real files that come with pydicom, and synthetic patients."""
        from dicomlab.samples import real_files
        from dicomlab.samples.phantom import phantom_datasets

        archive = cls()
        archive._fictional = True
        archive.add([*real_files(), phantom_datasets()], progress=False).raise_for_failures()
        return archive

    # --- doors -----------------------------------------------------------------------------------------------------

    def _opened(self) -> _Open:
        if self._open is None:
            self._open = _Open(self)
            self._closer = weakref.finalize(self, self._open.close)
        return self._open

    @property
    def folder(self) -> Path:
        """Where it keeps its files and its index."""
        return self._opened().store.folder

    @property
    def node(self) -> Node:
        """The archive over DIMSE. Our side listens on a free port that the archive knows, so C-MOVE works too."""
        return self._opened().node

    @property
    def web(self) -> WebEndpoint:
        """The archive over the web."""
        return self._opened().web

    def mount(self, session: Any) -> str:
        """Let a session of requests reach the origin server inside this process, without a port.

        ::

            session = requests.Session()
            client = DICOMwebClient(archive.mount(session), session=session)

        Parameters
        ----------
        session : requests.Session

        Returns
        -------
        str
            The base URL, which only this session understands.
        """
        session.mount(IN_PROCESS_URL.rpartition("/")[0], self._opened().adapter())
        return IN_PROCESS_URL

    def mount_viewer(self, folder: str | Path) -> str:
        """Serve a prebuilt web viewer beside the data, such as the folder ``dist`` of the npm package ``@ohif/app``.

        Parameters
        ----------
        folder : path
            With an ``index.html`` in it.

        Returns
        -------
        str
            The URL to open in a browser: the list of studies; ``viewer?StudyInstanceUIDs=...`` below it shows one.

        Raises
        ------
        UsageError
            There is no viewer in that folder, or the archive has no port.
        """
        server = self._opened().server
        if server is None:
            raise UsageError("a browser needs a port: Archive(web_port=0)")
        return server.mount_viewer(folder)

    @property
    def worklist(self) -> Worklist:
        """What is to be done, for modalities to ask for (Modality Worklist): ``archive.worklist.fill(df)``."""
        return self._opened().department.worklist

    @property
    def performed_steps(self) -> PerformedSteps:
        """What modalities have said they do (Modality Performed Procedure Step)."""
        return self._opened().department.performed_steps

    @property
    def workitems(self) -> WorkItems:
        """The work items (Unified Procedure Steps) that it keeps, straight, without a network."""
        return WorkItems(self._opened().department.workitems, "the archive")

    @property
    def inbox(self) -> Inbox:
        """Where results of commitments wait that were asked for in this archive's name: ``store(..., inbox=)``."""
        return self._opened().commitments

    @property
    def media(self) -> MediaSet:
        """The archive's own files as a folder, to be read only."""
        media = MediaSet(self._opened().store.instances)
        media.fictional = self._fictional
        return media

    def sink(self, source: str) -> StoreSink:
        """Where ``cohort.retrieve(to=archive)`` puts what arrives."""
        return self._opened().store.sink(source)

    def __len__(self) -> int:
        return len(self._opened().store.index)

    def __bool__(self) -> bool:
        return True

    def add(self, what: Any, *, progress: bool | OnProgress = True, background: bool = False) -> Report | Any:
        """Put files straight into the store, without a network.

        Parameters
        ----------
        what : path, Dataset, Cohort, MediaSet, or an iterable of these

        Returns
        -------
        Report
            One row for each; what is no whole DICOM file has failed, with the reason, and stops nothing.
        """
        store = self._opened().store

        def run(control: Control) -> Report:
            outcomes: list[Outcome] = []
            for parcel in parcels(what):
                if control.cancelled:
                    break
                if isinstance(parcel, Unfit):
                    outcomes.append(Outcome("", "failed", parcel.reason, path=Path(parcel.name).name))
                    control.advance(0, failed=1)
                    continue
                meta = parcel.meta
                try:
                    with parcel.open() as view:
                        head = bytes(view[: meta.length])
                    syntax = meta.transfer_syntax_uid
                    arrival = Arrival(meta.sop_class_uid, meta.sop_instance_uid, syntax, head, "add")
                    writer = store.sink("add").begin(arrival)
                    try:
                        with parcel.dataset() as octets:
                            for start in range(0, len(octets), CHUNK_OCTETS):
                                writer.write(octets[start : start + CHUNK_OCTETS])
                    except BaseException:
                        writer.abandon()
                        raise
                    outcomes.append(writer.finish())
                    control.advance(octets=parcel.dataset_size)
                except (DicomlabError, OSError) as error:
                    outcomes.append(Outcome(meta.sop_instance_uid, "failed", str(error), meta.sop_class_uid))
                    control.advance(0, failed=1)
            failed = sum(o.result == "failed" for o in outcomes)
            note = "cancelled" if control.cancelled else f"{failed} could not be added" if failed else ""
            return Report("Added to the archive", tuple(outcomes), not note, note, folder=store.folder)

        work: Work[Report] = Work("add", "instances", run, progress=progress)
        result: Report | Operation[Report] = work.carry_out(background=background)
        return result

    def watch(self, take: Callable[[Arrived], None]) -> Callable[[], None]:
        """Have `take` called with each instance stored (and from whom), in the thread that stored it.

        Returns
        -------
        callable
            Ends it.
        """
        return self._opened().store.watch(take)

    def dashboard(self) -> Any:
        """See in the notebook what arrives, and from whom: :func:`dicomlab.notebook.dashboard.dashboard`."""
        return above("dashboard")(self)

    @property
    def fictional(self) -> bool:
        """Whether the patients are known to be synthetic."""
        return self._fictional

    def totals(self) -> dict[str, int]:
        """How much is stored: ``patients``, ``studies``, ``series``, ``instances``, ``octets``."""
        return self._opened().store.index.totals()

    # --- life ------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._opened()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close both doors; a temporary folder goes with them. May be called twice."""
        if self._closer is not None:
            self._closer()
        self._open, self._closer = None, None

    def _summary_(self) -> Summary:
        if self._open is None:
            where = str(self._given) if self._given else "a temporary folder"
            return Summary("Archive (closed)", (("folder", where), ("opens", "on first use")))
        opened = self._open
        facts = [
            ("DIMSE", str(opened.node.address) + (" over TLS" if self._security else "")),
            ("DICOMweb", str(opened.web)),
            ("instances", str(len(opened.store.index))),
            ("folder", "temporary" if self._given is None else str(self._given)),
        ]
        host = self._at.host if self._at is not None else "127.0.0.1"
        notes = () if host in ("127.0.0.1", "localhost", "::1") else (f"reachable from other machines ({host})",)
        return Summary("Archive", tuple(facts), notes=notes)


class _Open:
    """The open doors of an archive, and what must be closed with them."""

    def __init__(self, archive: Archive) -> None:
        with ExitStack() as stack:
            if archive._given is None:
                folder = stack.enter_context(scratch_folder())
            else:
                folder = archive._given
                if folder.exists() and not folder.is_dir():
                    raise UsageError(f"{folder} is a file; an archive needs a folder")
                stack.enter_context(owned(folder))
            tell = _teller(weakref.ref(archive)) if archive._on_store is not None else None
            self.store = Store(folder, tell)
            stack.callback(self.store.close)
            self.commitments = CommitmentStore(folder / "commitments.sqlite", self.store)
            stack.callback(self.commitments.close)
            at = archive._at or AEAddress(AE_TITLE, "127.0.0.1", 0)
            ours = stack.enter_context(_own_port())
            me = next(title for number in count(1) if (title := f"LAB{number}") not in archive._known)
            known = {**archive._known, me: ("127.0.0.1", ours)}
            free, instances = archive._free_octets, self.store.instances
            outward = Outward(at.ae_title, known.get, archive._security)
            self.department = Department(folder, outward, archive.faults, fictional=archive._fictional)
            stack.callback(self.department.close)
            listener = services.serve(
                self.store,
                ae_title=at.ae_title,
                host=at.host,
                port=at.port,
                destination=known.get,
                inbox=self.commitments,
                free_octets=lambda: shutil.disk_usage(instances).free - free,
                services=(*self.department.services, *archive._services),
                **archive._door,
            )
            stack.callback(listener.close)
            setting = origin.Setting(faults=archive.faults, hosts=archive._web_hosts, origins=archive._web_origins)
            both: Any = {"workitems": self.department.workitems, "commitments": self.commitments}
            self._application = origin.app(self.store, setting, **both)
            self.server: origin.OriginServer | None = None
            if archive._web_port is not None:
                self.server = origin.serve(self.store, host=at.host, port=archive._web_port, setting=setting, **both)
                stack.callback(self.server.close)
            near = AEAddress(at.ae_title, _ANYWHERE.get(at.host, at.host), listener.port)
            self.node = Node(str(near), me=f"{me}:{ours}", tls=archive._tls)
            if self.server is not None:
                self.web = WebEndpoint(self.server.url.replace(at.host, near.host, 1))
            else:
                adapter = InProcessAdapter(self._application)
                stack.callback(adapter.close)
                self.web = WebEndpoint(IN_PROCESS_URL, adapter=adapter)
            self.node.fictional = self.web.fictional = archive._fictional
            self._stack = stack.pop_all()

    def adapter(self) -> InProcessAdapter:
        """One more way to the origin server without a port; whoever is given it may close it."""
        adapter = InProcessAdapter(self._application)
        self._stack.callback(adapter.close)
        return adapter

    def close(self) -> None:
        self._stack.close()


def _teller(archive: weakref.ref[Archive]) -> Callable[[Held], None]:
    """Call ``on_store`` without keeping the archive alive."""

    def tell(held: Held) -> None:
        alive = archive()
        if alive is not None and alive._on_store is not None:
            opened = alive._open
            source = opened.node if opened is not None else None
            instance = Instance(
                held.study_instance_uid, held.series_instance_uid, held.sop_instance_uid, held.sop_class_uid, source
            )
            alive._on_store(instance)

    return tell


@contextmanager
def _own_port() -> Iterator[int]:
    """A port for what a peer sends us on our request. Nobody else on this machine is given it as long as this lasts."""
    with socket.socket() as reserved:
        if sys.platform == "linux":  # elsewhere our own listener could not have it either
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        port: int = reserved.getsockname()[1]
        if sys.platform != "linux":
            reserved.close()
        yield port
