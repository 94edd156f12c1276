"""dicomlab: the DICOM communication model, usable from a notebook.

``Node`` (DIMSE), ``WebEndpoint`` (DICOMweb), ``MediaSet`` (files) and the embedded ``Archive`` share one shape:
``verify``, ``find``, ``retrieve``, ``store``. ``Archive.demo()`` brings everything needed to start.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from dicomlab import errors as _errors
from dicomlab.model import links as _links

if _TYPE_CHECKING:
    from dicomlab.archive.archive import Archive
    from dicomlab.dimse.node import Node
    from dicomlab.errors import (
        Cancelled,
        CommunicationError,
        DicomlabError,
        Interrupted,
        LocalProtocolError,
        MissingExtra,
        ProtocolError,
        Refused,
        RemoteProtocolError,
        ServiceError,
        Unreachable,
        UsageError,
    )
    from dicomlab.media.media_set import MediaSet
    from dicomlab.media.volume import Volume
    from dicomlab.model.cohort import Cohort
    from dicomlab.model.instance import Instance
    from dicomlab.model.options import options
    from dicomlab.model.progress import Operation
    from dicomlab.model.query import Query
    from dicomlab.model.report import Report
    from dicomlab.model.trace import Trace, trace
    from dicomlab.model.verification import Verification
    from dicomlab.model.views import inspect, model_map
    from dicomlab.rtv.broadcast import Broadcast
    from dicomlab.rtv.live_stream import LiveStream
    from dicomlab.web.endpoint import WebEndpoint

__version__ = "0.1.0"

_HOMES = {
    "Archive": "archive.archive",
    "Broadcast": "rtv.broadcast",
    "Cohort": "model.cohort",
    "Instance": "model.instance",
    "LiveStream": "rtv.live_stream",
    "MediaSet": "media.media_set",
    "Node": "dimse.node",
    "Operation": "model.progress",
    "Query": "model.query",
    "Report": "model.report",
    "Trace": "model.trace",
    "Verification": "model.verification",
    "Volume": "media.volume",
    "WebEndpoint": "web.endpoint",
    "inspect": "model.views",
    "model_map": "model.views",
    "options": "model.options",
    "trace": "model.trace",
    **dict.fromkeys(
        (
            "Cancelled", "CommunicationError", "DicomlabError", "Interrupted", "LocalProtocolError", "MissingExtra",
            "ProtocolError", "Refused", "RemoteProtocolError", "ServiceError", "Unreachable", "UsageError",
        ),
        "errors",
    ),
}  # fmt: skip

__all__ = [  # what loads when it is first asked for
    "Archive",
    "Broadcast",
    "Cancelled",
    "Cohort",
    "CommunicationError",
    "DicomlabError",
    "Instance",
    "Interrupted",
    "LiveStream",
    "LocalProtocolError",
    "MediaSet",
    "MissingExtra",
    "Node",
    "Operation",
    "ProtocolError",
    "Query",
    "Refused",
    "RemoteProtocolError",
    "Report",
    "ServiceError",
    "Trace",
    "Unreachable",
    "UsageError",
    "Verification",
    "Volume",
    "WebEndpoint",
    "inspect",
    "model_map",
    "options",
    "trace",
]

_links.bind(
    html="dicomlab.notebook.html:render",
    dashboard="dicomlab.notebook.dashboard:dashboard",
    browse="dicomlab.notebook.browser:browse",
    transfer="dicomlab.notebook.transfer:watch",
    play="dicomlab.notebook.player:play",
    view="dicomlab.notebook.viewer:view",
    view_report="dicomlab.notebook.viewer:view_report",
    inspect="dicomlab.notebook.data_set:inspect",
    model_map="dicomlab.notebook.model_map:model_map",
    failure="dicomlab.notebook.failure:bundle",
    ladder="dicomlab.notebook.ladder:ladder",
    message="dicomlab.notebook.message:opened",
    compare="dicomlab.notebook.comparison:compare",
    plot_volume="dicomlab.notebook.slices:plot",
    plot_cohort="dicomlab.notebook.overview:plot_cohort",
    plot_stream="dicomlab.notebook.overview:plot_stream",
    mermaid="dicomlab.notebook.diagram:mermaid",
    svg="dicomlab.notebook.diagram:svg",
    negotiation="dicomlab.dimse.matrix:matrix",
    wire_view="dicomlab.notebook.wire:wire_view",
    curl="dicomlab.web.curl:curl",
    save_trace="dicomlab.notebook.capture:save",
    load_trace="dicomlab.notebook.capture:load",
    retrieve="dicomlab.cohorts.pull:retrieve",
    datasets="dicomlab.cohorts.stream:datasets",
    dataset="dicomlab.cohorts.stream:dataset",
    peek="dicomlab.cohorts.peek:peek",
    parcels="dicomlab.cohorts.stream:parcels",
    report="dicomlab.cohorts.ledger:load",
    save_report="dicomlab.cohorts.ledger:save",
    follow="dicomlab.cohorts.commitments:follow",
    media="dicomlab.media.media_set:MediaSet",
)


def _shown(error: _errors.DicomlabError) -> dict[str, str]:
    bundle: dict[str, str] = _links.above("failure")(error)
    return bundle


_errors.shown_by(_shown)


def __getattr__(name: str) -> _Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dicomlab' has no attribute {name!r}")
    value = getattr(_import_module(f"dicomlab.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*_HOMES, "__version__"})
