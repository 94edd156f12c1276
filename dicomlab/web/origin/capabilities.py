"""What the origin server can do, as WADL, JSON, or a page for people. No I/O.

Source
------
PS3.18 §8.9 (Retrieve Capabilities), Annex H (Capabilities Description).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from dicomlab.web.media_types import DICOM, DICOM_JSON, OCTETS, multipart_of

WADL, JSON, HTML = "application/vnd.sun.wadl+xml", "application/json", "text/html"
OFFERS = (WADL, JSON, HTML)

_XML = multipart_of("application/dicom+xml")
_MATCHES = (DICOM_JSON, _XML)
_INSTANCES = (multipart_of(DICOM), DICOM)
_BULK = (multipart_of(OCTETS), OCTETS, "image/*")
_IMAGES = ("image/jpeg", "image/png", "image/gif", 'multipart/related; type="image/jpeg"')
_SEARCH = ("limit", "offset", "includefield", "fuzzymatching", "{attribute}", "accept")
_RENDER = ("viewport", "window", "quality", "annotation", "iccprofile", "accept")
_SENT = (multipart_of(DICOM), DICOM, multipart_of(DICOM_JSON), _XML)


@dataclass(frozen=True, slots=True)
class Transaction:
    """One method of one resource."""

    method: str
    name: str
    gives: Sequence[str]
    parameters: Sequence[str] = ()
    takes: Sequence[str] = ()


Resources = Mapping[str, tuple[Transaction, ...]]
"""Path to what can be done there."""


def _retrieve(what: str, rendered: bool = True) -> dict[str, tuple[Transaction, ...]]:
    get = {
        "": Transaction("GET", f"Retrieve{what}", _INSTANCES, ("accept",)),
        "/metadata": Transaction("GET", f"Retrieve{what}Metadata", _MATCHES, ("accept",)),
        "/bulkdata": Transaction("GET", f"Retrieve{what}Bulkdata", _BULK, ("accept",)),
        "/pixeldata": Transaction("GET", f"Retrieve{what}PixelData", _BULK, ("accept",)),
        "/rendered": Transaction("GET", f"Retrieve{what}Rendered", _IMAGES, _RENDER),
        "/thumbnail": Transaction("GET", f"Retrieve{what}Thumbnail", _IMAGES[:3], ("viewport", "accept")),
    }
    return {path: (one,) for path, one in get.items()}


def _search(what: str) -> Transaction:
    return Transaction("GET", f"SearchFor{what}", _MATCHES, _SEARCH)


def _resources() -> dict[str, tuple[Transaction, ...]]:
    study, series, instance = "/studies/{study}", "/studies/{study}/series/{series}", "/instances/{instance}"
    store = Transaction("POST", "StoreInstances", (DICOM_JSON, "application/dicom+xml"), takes=_SENT)
    found: dict[str, tuple[Transaction, ...]] = {
        "/": (Transaction("OPTIONS", "RetrieveCapabilities", OFFERS),),
        "/studies": (_search("Studies"), store),
        "/series": (_search("Series"),),
        "/instances": (_search("Instances"),),
        f"{study}/series": (_search("StudySeries"),),
        f"{study}/instances": (_search("StudyInstances"),),
        f"{series}/instances": (_search("StudySeriesInstances"),),
    }
    for path, what in ((study, "Study"), (series, "Series"), (series + instance, "Instance")):
        for below, transactions in _retrieve(what).items():
            extra = () if below else (Transaction("DELETE", f"Delete{what}", ()),)
            found[path + below] = (*transactions, *extra)
    found[study] = (*found[study], store)
    frames = f"{series}{instance}/frames/{{frames}}"
    found[frames] = (Transaction("GET", "RetrieveFrames", _BULK, ("accept",)),)
    found[f"{frames}/rendered"] = (Transaction("GET", "RetrieveFramesRendered", _IMAGES, _RENDER),)
    found[f"{frames}/thumbnail"] = (Transaction("GET", "RetrieveFramesThumbnail", _IMAGES[:3], ("viewport",)),)
    found[f"{series}{instance}/bulkdata/{{element}}"] = (Transaction("GET", "RetrieveBulkdata", _BULK, ("accept",)),)
    return found


def _work() -> dict[str, tuple[Transaction, ...]]:
    one, subscriber = "/workitems/{workitem}", "/workitems/{workitem}/subscribers/{aetitle}"
    dataset, commitment = (DICOM_JSON, "application/dicom+xml"), "/commitment-requests/{transaction}"
    return {
        "/workitems": (_search("Workitems"), Transaction("POST", "CreateWorkitem", (), ("workitem",), dataset)),
        one: (
            Transaction("GET", "RetrieveWorkitem", dataset, ("accept",)),
            Transaction("POST", "UpdateWorkitem", (), ("transaction-uid",), dataset),
        ),
        f"{one}/state": (Transaction("PUT", "ChangeWorkitemState", (), (), dataset),),
        f"{one}/cancelrequest": (Transaction("POST", "RequestWorkitemCancellation", (), (), dataset),),
        subscriber: (
            Transaction("POST", "SubscribeWorkitem", (), ("deletionlock", "filter")),
            Transaction("DELETE", "UnsubscribeWorkitem", ()),
        ),
        f"{subscriber}/suspend": (Transaction("POST", "SuspendSubscription", ()),),
        "/subscribers/{aetitle}": (Transaction("GET", "OpenNotificationConnection", ()),),
        commitment: (
            Transaction("POST", "RequestStorageCommitment", dataset, ("accept",), dataset),
            Transaction("GET", "ResultOfStorageCommitment", dataset, ("accept",)),
        ),
    }


RESOURCES = _resources()
"""Every resource of instances below the base URL, and what can be done with it."""
WORK = _work()
"""The same of work items and commitments, where there are any."""


def capabilities(media_type: str, base_url: str, *, work: bool = False) -> bytes:
    """Describe the services.

    Parameters
    ----------
    media_type : str
        One of ``OFFERS``.
    base_url : str
    work : bool
        Whether it has work items and commits to what it stores.

    Source
    ------
    PS3.18 §8.9.3, Annex H.
    """
    resources = {**RESOURCES, **WORK} if work else RESOURCES
    if media_type == JSON:
        import msgspec

        return msgspec.json.encode(_described(base_url, resources))
    if media_type == HTML:
        return _page(base_url, resources).encode()
    return "".join(_wadl(base_url, resources)).encode()


def _described(base_url: str, resources: Resources) -> dict[str, Any]:
    def one(transaction: Transaction) -> dict[str, Any]:
        facts = {"name": transaction.method, "id": transaction.name, "parameters": list(transaction.parameters)}
        return facts | {"request": list(transaction.takes), "response": list(transaction.gives)}

    rows = [{"path": path, "methods": [one(t) for t in transactions]} for path, transactions in resources.items()]
    return {"resources": {"base": base_url, "resource": rows}}


def _wadl(base_url: str, resources: Resources) -> Iterator[str]:
    yield '<?xml version="1.0" encoding="UTF-8"?>\n<application xmlns="http://wadl.dev.java.net/2009/02">\n'
    yield f'<resources base="{escape(base_url)}">\n'
    for path, transactions in resources.items():
        yield f'<resource path="{escape(path.lstrip("/"))}">\n'
        for one in transactions:
            yield f'<method name="{one.method}" id="{one.name}">'
            inside = [f'<param name="{escape(name)}" style="query"/>' for name in one.parameters]
            inside += [f'<representation mediaType="{escape(kind)}"/>' for kind in one.takes]
            yield f"<request>{''.join(inside)}</request>" if inside else ""
            for kind in one.gives:
                yield f'<response><representation mediaType="{escape(kind)}"/></response>'
            yield "</method>\n"
        yield "</resource>\n"
    yield "</resources>\n</application>\n"


def _page(base_url: str, resources: Resources) -> str:
    rows = "".join(
        f"<tr><td>{one.method}</td><td>{escape(path)}</td><td>{one.name}</td>"
        f"<td>{escape(', '.join(one.gives))}</td></tr>"
        for path, transactions in resources.items()
        for one in transactions
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>DICOM Web Services</title></head><body>'
        f"<h1>DICOM Web Services</h1><p>PS3.18 at {escape(base_url)}</p>"
        f"<table><tr><th>Method</th><th>Resource</th><th>Transaction</th><th>Gives</th></tr>{rows}</table></body></html>"
    )
