"""The DICOM communication model as a picture to open: each box says what it is, which object it is here, and shows it.

::

    dicomlab.model_map()            # with code to try
    dicomlab.model_map(archive)     # and with what that archive answers now

Source
------
PS3.1 §5, Figure 5-1 (the general communication model).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dicomlab.errors import DicomlabError
from dicomlab.model.summary import Summarised, Summary, visible
from dicomlab.model.trace import Trace, trace
from dicomlab.notebook.html import Markup, el, preformatted, scrolled, style


@dataclass(frozen=True, slots=True)
class Box:
    """One box of the figure.

    Attributes
    ----------
    name : str
    part : str
        Where the standard has it.
    path : str
        Which of the paths it belongs to: ``"dimse"``, ``"web"``, ``"media"``, ``"rtv"``, or ``""`` for all.
    column, width : int
        Where it stands in the figure's four columns.
    what : str
        What it is.
    here : str
        What it is in this library.
    code : str
        To try.
    tutorial : str
        The notebook that shows it.
    """

    name: str
    part: str
    path: str
    column: int
    width: int
    what: str
    here: str
    code: str
    tutorial: str


BOXES = (
    Box(
        "Medical information application", "PS3.1 §5", "", 1, 4,
        "What people work with: a viewer, an archive, an analysis. All of DICOM is there so that two of these can work"
        " together whoever made them.",
        "Your notebook; and Archive, a whole archive in this process, which opens both doors: DIMSE and the web.",
        "archive = dicomlab.Archive.demo()",
        "00-tour",
    ),
    Box(
        "Service Classes", "PS3.4", "", 1, 2,
        "What can be asked of somebody else: verify, find, retrieve, store, commit. A Service Class joins a service"
        " with the objects that it is about; who asks is its user (SCU), who does it is its provider (SCP).",
        "The verbs, the same on every path: node.verify, find, retrieve, store.",
        'archive.node.find("series", Modality="CT")',
        "01-model",
    ),
    Box(
        "Information Objects", "PS3.3", "", 3, 2,
        "What things are made of: patient, study, series, instance, and the modules that each kind of image must have.",
        "Cohort, the rows at one level; Instance, one of them; Volume, the images of a series in space.",
        'cohort = archive.media.find("instance"); next(iter(cohort))',
        "01-model",
    ),
    Box(
        "Data structures and encoding", "PS3.5", "", 1, 2,
        "How a data set becomes octets: elements with tag, VR, length and value; sequences of items; transfer syntaxes"
        " that say in which order, and how pixels are compressed.",
        "inspect shows one data set as a table; wire[n] shows the very octets.",
        "dicomlab.inspect(next(iter(cohort)))",
        "02-encodings",
    ),
    Box(
        "Data dictionary", "PS3.6", "", 3, 2,
        "The names: 5,000 attributes with tag, keyword and VR, and the UIDs of everything.",
        "Keywords are Python names in Query.of and find: PatientID, StudyDate. What is none fails before it is sent.",
        'dicomlab.Query.of("study", PatientID="SYN*", StudyDate=("2026-01-01", None))',
        "05-find",
    ),
    Box(
        "DICOM messages (DIMSE)", "PS3.7", "dimse", 1, 1,
        "Commands between two Application Entities: C-ECHO, C-FIND, C-GET, C-MOVE, C-STORE, each with its answer.",
        "Node: a remote Application Entity.",
        'dicomlab.Node("PACS@host:104", me="LAB1:11112")',
        "04-store",
    ),
    Box(
        "DICOM Web Services", "PS3.18", "web", 2, 1,
        "The same questions as HTTP requests: QIDO-RS finds, WADO-RS retrieves, STOW-RS stores.",
        "WebEndpoint: an origin server.",
        'dicomlab.WebEndpoint("https://host/dicom-web")',
        "07-web",
    ),
    Box(
        "Media storage", "PS3.10", "media", 3, 1,
        "Files on a disc or a stick: each with its File Meta Information, and a DICOMDIR that lists them.",
        "MediaSet: a folder, a disc, a ZIP archive.",
        'dicomlab.MediaSet("folder").volumes()',
        "10-media",
    ),
    Box(
        "Real-time communication", "PS3.22", "rtv", 4, 1,
        "Live video and sound over IP, each frame with the DICOM metadata of its own instant.",
        "LiveStream receives, Broadcast sends.",
        'dicomlab.LiveStream("theatre.sdp")',
        "11-live",
    ),
    Box(
        "Upper Layer", "PS3.8", "dimse", 1, 1,
        "An association: who calls whom, which services in which encodings, how it ends. A state machine of 13 states.",
        "node.associate by hand; wire.negotiation() as a table.",
        "with dicomlab.trace() as wire:\n    archive.node.verify()\nwire",
        "03-associations",
    ),
    Box(
        "HTTP", "PS3.18 §8", "web", 2, 1,
        "Requests and responses, media types, multipart bodies; the security of the web.",
        "The same trace: wire, with each request as a curl command.",
        "with dicomlab.trace() as wire:\n    archive.web.verify()\nwire",
        "07-web",
    ),
    Box(
        "Media formats and profiles", "PS3.11, PS3.12", "media", 3, 1,
        "Which files a disc may hold for which use, and on which kinds of media.",
        "media.write makes a File-set, checked against its profile.",
        'archive.media.write("disc")',
        "10-media",
    ),
    Box(
        "RTP, SMPTE ST 2110", "PS3.22 §6", "rtv", 4, 1,
        "Packets with a sequence number and a timestamp: what is lost is known, what belongs together too.",
        "live.statistics(), and the same trace.",
        "live.statistics()",
        "11-live",
    ),
)  # fmt: skip
_SHOWN: Mapping[str, Callable[[Any], Any]] = {
    "Medical information application": lambda archive: archive,
    "Service Classes": lambda archive: archive.node.find("series", limit=3, progress=False),
    "Information Objects": lambda archive: archive.media.find("study", limit=3, progress=False),
    "Data dictionary": lambda archive: _query(),
    "DICOM messages (DIMSE)": lambda archive: archive.node.verify(),
    "DICOM Web Services": lambda archive: archive.web.verify(),
    "Media storage": lambda archive: archive.media.scan(progress=False),
    "Upper Layer": lambda archive: _verified(archive).negotiation(),
}
"""What is shown of an archive, by box."""


@dataclass(frozen=True, eq=False, repr=False)
class ModelMap(Summarised):
    """The figure. ``map["Upper Layer"]`` is one box as text."""

    live: Mapping[str, Summary] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Box:
        return next(box for box in BOXES if box.name == name)

    def __iter__(self) -> Iterator[Box]:
        return iter(BOXES)

    def _summary_(self) -> Summary:
        rows = tuple((box.name, box.part, box.here, f"{box.tutorial}.ipynb") for box in BOXES)
        names = ("box", "standard", "here", "tutorial")
        return Summary("The DICOM communication model (PS3.1)", (), names, rows)

    def _repr_html_(self) -> str:
        boxes = [_box(box, self.live.get(box.name)) for box in BOXES]
        grid = "display:grid;grid-template-columns:repeat(4,minmax(0,1fr));gap:6px"
        title = el("div", "The DICOM communication model (PS3.1): open a box", cls="dl-title")
        return el("div", style("summary", "model_map"), title, el("div", *boxes, cls="dl-map", style=grid), cls="dl")


def _box(box: Box, live: Summary | None) -> Markup:
    said = [el("summary", el("b", box.name), " ", el("span", box.part, cls="dl-more"))]
    said.append(el("div", box.what))
    said.append(el("div", el("b", "Here: "), box.here))
    said.append(preformatted(box.code.splitlines()))
    if live is not None:
        said += list(_live(live))
    said.append(el("div", f"Tutorial: notebooks/{box.tutorial}.ipynb", cls="dl-more"))
    cls = f"dl-box dl-{box.path}" if box.path else "dl-box"
    return el("details", *said, cls=cls, style=f"grid-column:{box.column}/span {box.width};padding:6px 9px")


def _live(live: Summary) -> Iterator[Markup]:
    """What an archive answered, in short."""
    yield el("div", visible(live.title), cls="dl-title")
    if live.facts:
        rows = (el("tr", el("th", name, scope="row"), el("td", visible(value, 100))) for name, value in live.facts[:6])
        yield el("table", *rows, cls="dl-facts")
    if live.rows:
        head = el("tr", *(el("th", name, scope="col") for name in live.columns[:6]))
        rows = (el("tr", *(el("td", visible(cell, 60)) for cell in row[:6])) for row in live.rows[:3])
        yield scrolled(el("table", el("thead", head), el("tbody", *rows), cls="dl-rows"), live.title)


def model_map(archive: Any) -> ModelMap:
    """Carry out ``dicomlab.model_map``, which documents it."""
    live: dict[str, Summary] = {}
    for name, ask in _SHOWN.items() if archive is not None else ():
        try:
            live[name] = ask(archive)._summary_()
        except DicomlabError as error:
            live[name] = Summary(f"✗ {type(error).__name__}", (("what happened", str(error)),))
    return ModelMap(live)


def _query() -> Any:
    from dicomlab.model.query import Query

    return Query.of("study", PatientID="SYN*", StudyDate=("2026-01-01", None))


def _verified(archive: Any) -> Trace:
    with trace() as wire:
        archive.node.verify()
    return wire
