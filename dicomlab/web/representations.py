"""What ``WebEndpoint`` retrieves beside whole instances: metadata, frames, bulk values, images, thumbnails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import urljoin, urlsplit, urlunsplit

from dicomlab.errors import RemoteProtocolError, UsageError
from dicomlab.model.cohort import Cohort
from dicomlab.model.columns import format_tag
from dicomlab.model.progress import Control, Work
from dicomlab.model.summary import visible
from dicomlab.part10.meta import decode_file_meta
from dicomlab.web.arrivals import metadata_of, parts_of
from dicomlab.web.http import Conversation, Site
from dicomlab.web.media_types import DICOM, OCTETS, accepting
from dicomlab.web.parts import Metadata, Part
from dicomlab.web.places import Where, one_place, places
from dicomlab.web.rendering import Viewport, Window, rendering_parameters
from dicomlab.web.resources import Resource, query_text
from dicomlab.web.servers import Server

T = TypeVar("T")
_PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
MAX_FRAMES_ASKED = 200
"""Frames of one request; more become several, so that URLs stay short."""
_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/jp2", "image/webp", "video/mp4")
_DOCUMENTS = ("text/html", "text/plain", "application/pdf")


class Representations:
    """The verbs for parts of instances. Beside ``cohort.retrieve``, which is for whole ones."""

    _site: Site
    fictional: bool = False

    @property
    def server(self) -> Server:
        """How the server behaves where that is not as the standard says."""
        raise NotImplementedError

    def _with_server(self, title: str, work: Callable[[Conversation], T]) -> T:
        """Do `work` over one conversation; an interrupt breaks it off."""

        def run(control: Control) -> T:
            with Conversation(self._site, control) as http, control.on_cancel(http.shut):
                return work(http)

        return Work(title, "requests", run, progress=False).carry_out()  # type: ignore[return-value]  # not behind

    # --- metadata ----------------------------------------------------------------------------------------------------

    def metadata(self, what: Where, *, form: Literal["json", "xml"] = "json") -> Metadata:
        """Retrieve the attributes of instances without their bulk values.

        Parameters
        ----------
        what : Instance, Cohort, or UIDs
            An instance; a cohort of studies, series or instances; or the UIDs of study, series and instance, from the
            first on: ``web.metadata(("1.2.3", "1.2.3.4"))`` is about a series.
        form : ``"json"`` or ``"xml"``
            What to ask the server for. What comes is the same either way.

        Returns
        -------
        Metadata
            ``metadata.to_dataframe(["SliceThickness"])``, ``metadata.datasets()``, ``metadata.json``. It says whether
            as many instances came as the cohort counts.

        Raises
        ------
        UsageError
            `what` names no resource.
        Unreachable, Refused, Interrupted, RemoteProtocolError, ServiceError
            As for ``retrieve``.

        Source
        ------
        PS3.18 §10.4.1.1.2 (metadata resources), §F (JSON), PS3.19 §A.1 (XML).
        """
        resources = places(what, "metadata")
        if form not in ("json", "xml"):
            raise UsageError(f'form is "json" or "xml", not {form!r}')

        def work(http: Conversation) -> Metadata:
            pieces = [piece for one in resources if (piece := metadata_of(http, one, form)).strip()]
            octets = b"[" + b",".join(pieces) + b"]"
            made = Metadata(octets, str(self), fictional=self.fictional, fetch=self._bulk_of(resources))
            if (expected := _expected(what)) is not None and len(made) < expected:
                made.complete, made.note = False, f"{len(made)} of {expected} instances came"
            return made

        return self._with_server("metadata", work)

    def _bulk_of(self, resources: Sequence[Resource]) -> Callable[[str, str, int], bytes]:
        base = self._site.url + resources[0].path if resources else self._site.url

        def fetch(uri: str, vr: str, tag: int) -> bytes:
            """One value as it is in Explicit VR Little Endian: of several frames, each is a part."""
            try:
                where = self._address(urljoin(base, uri))
            except ValueError as error:
                raise RemoteProtocolError(
                    f"the BulkDataURI of {format_tag(tag)} is no address: {visible(uri, 100)}", section="PS3.18 §F.2.6"
                ) from error
            found = self._octets([where], "bulkdata", None, transfer_syntax="")
            if not found or (len(found) > 1 and tag not in _PIXELS):
                raise RemoteProtocolError(
                    f"{len(found)} parts came where the value of {format_tag(tag)} was due", section="PS3.18 §10.4.3"
                )
            return b"".join(part.octets for part in found)

        return fetch

    # --- frames and bulk values --------------------------------------------------------------------------------------

    def frames(
        self, instance: Where, numbers: int | Sequence[int], *, transfer_syntax: str | Sequence[str] = "*"
    ) -> list[Part]:
        """Retrieve frames of one instance.

        Parameters
        ----------
        instance : Instance, Cohort of one, or UIDs
        numbers : int or sequence of int
            From 1, in the order in which they are wanted.
        transfer_syntax : str or sequence of str
            ``"*"`` for the frames as they are stored, or UIDs in order of preference.

        Returns
        -------
        list of Part
            One for each number, in that order: bare pixel octets, or a codestream; each says what it is.

        Raises
        ------
        UsageError
            No frame numbers, or not of one instance.
        RemoteProtocolError
            Another number of frames came than was asked for.
        Unreachable, Refused, Interrupted, ServiceError
            As for ``retrieve``; a frame that is not there is a ServiceError.

        Source
        ------
        PS3.18 §10.4.1.1.6 (pixel data resources: frames), §8.7.3.3.
        """
        resource = one_place(instance, "frames")
        wanted = [numbers] if isinstance(numbers, int) else list(numbers)
        if resource.level != "instance" or not wanted or not all(_is_frame(one) for one in wanted):
            raise UsageError("frames are of one instance, and are numbered from 1 (PS3.18 §10.1.1.4)")
        accepts = self._accepting(OCTETS, transfer_syntax)

        def work(http: Conversation) -> list[Part]:
            found: list[Part] = []
            for at in range(0, len(wanted), MAX_FRAMES_ASKED):
                asked = tuple(wanted[at : at + MAX_FRAMES_ASKED])
                got = list(parts_of(http, replace(resource, frames=asked).path, accepts, expected=OCTETS))
                if len(got) != len(asked):
                    raise RemoteProtocolError(
                        f"{len(got)} frames came where {len(asked)} were asked for", section="PS3.18 §10.4.3"
                    )
                found += got
            return found

        return self._with_server("frames", work)

    def bulkdata(self, what: Where, to: str | Path | None = None) -> list[Part]:
        """Retrieve bulk values: the one at a URI, or all of a study, series or instance.

        Credentials go along only to the server's own origin, whatever the URI says.

        Parameters
        ----------
        what : str, or as for :meth:`metadata`
            A BulkDataURI; a relative one is relative to the base URL.
        to : path, optional
            A file to write the value into as it comes, however large it is; for one value.

        Returns
        -------
        list of Part
            With `to`, the parts hold no octets.

        Raises
        ------
        UsageError
            `what` names no resource, or several values are to go into one file.
        Unreachable, Refused, Interrupted, RemoteProtocolError, ServiceError
            As for ``retrieve``.

        Source
        ------
        PS3.18 §10.4.1.1.5 (bulk data resources), §F.2.6 (BulkDataURI).
        """
        if isinstance(what, str) and ("/" in what or ":" in what):
            paths = [self._address(what)]
        else:
            paths = [one.path for one in places(what, "bulkdata")]
        return self._octets(paths, "bulkdata", to)

    def pixeldata(self, what: Where, to: str | Path | None = None) -> list[Part]:
        """Retrieve the Pixel Data of a study, series or instance; parameters and errors as for :meth:`bulkdata`.

        Source
        ------
        PS3.18 §10.4.1.1.6 (pixel data resources).
        """
        return self._octets([one.path for one in places(what, "pixeldata")], "pixeldata", to)

    def _octets(
        self, paths: Sequence[str], title: str, to: str | Path | None, *, transfer_syntax: str = "*"
    ) -> list[Part]:
        if to is not None and len(paths) != 1:
            raise UsageError("several values don't go into one file")
        accepts = self._accepting(OCTETS, transfer_syntax)
        if self.server.weighs_types:
            alone = f"{OCTETS}; transfer-syntax=*; q=0.8, */*; q=0.5" if transfer_syntax else f"{OCTETS}; q=0.8"
            accepts = (f"{accepts[0]}, {alone}",)

        def work(http: Conversation) -> list[Part]:
            into = Path(to) if to is not None else None
            return [part for path in paths for part in parts_of(http, path, accepts, expected=OCTETS, to=into)]

        return self._with_server(title, work)

    def _address(self, uri: str) -> str:
        """Where a value is: what the server says, at the server's own origin where its word is known to be wrong."""
        base = urlsplit(self._site.url)
        try:
            found = urlsplit(urljoin(self._site.url + "/", uri))
            fit = found.scheme in ("http", "https") and found.hostname and found.port != 0
        except ValueError:
            fit = False
        if not fit:
            raise UsageError(f"{uri[:100]!r} is no address that can be asked")
        if not self.server.own_address and base.path and found.path.startswith(base.path + "/"):
            found = found._replace(scheme=base.scheme, netloc=base.netloc)
        return urlunsplit(found)

    def _accepting(self, part: str, transfer_syntax: str | Sequence[str]) -> tuple[str, ...]:
        """The Accept header, or several to be tried one after the other."""
        whole = accepting(part, transfer_syntax, quoted=self.server.quoted_type)
        if isinstance(transfer_syntax, str) or self.server.weighs_types:
            return (whole,)
        return tuple(accepting(part, one, quoted=self.server.quoted_type) for one in transfer_syntax)

    # --- images for people -------------------------------------------------------------------------------------------

    def rendered(
        self,
        what: Where,
        *,
        media_type: str = "image/jpeg",
        frames: int | Sequence[int] = (),
        window: Window | None = None,
        viewport: Viewport | None = None,
        quality: int | None = None,
        annotation: str | Sequence[str] = (),
        iccprofile: str | None = None,
    ) -> list[Part]:
        """Retrieve images (or documents) that the server renders.

        Parameters
        ----------
        what : as for :meth:`metadata`
        media_type : str
            ``"image/jpeg"``, ``"image/png"``, ``"image/gif"``, ``"text/html"``, ``"application/pdf"``, ...
        frames : int or sequence of int
            Of one instance; from 1.
        window, viewport, quality, annotation, iccprofile
            See :func:`dicomlab.web.rendering.rendering_parameters`.

        Returns
        -------
        list of Part
            Usually one. An image shows itself in a notebook; a document does not, since it is a peer's.

        Raises
        ------
        UsageError
            A parameter that can't be, before anything is sent.
        Unreachable, Refused, Interrupted, RemoteProtocolError, ServiceError
            As for ``retrieve``.

        Source
        ------
        PS3.18 §10.4.1.1.3 (rendered resources), §8.3.5 (parameters).
        """
        parameters = rendering_parameters(
            window=window, viewport=viewport, quality=quality, annotation=annotation, iccprofile=iccprofile
        )
        numbers = (frames,) if isinstance(frames, int) else tuple(frames)
        resources = places(what, "rendered")
        if numbers and (len(resources) != 1 or resources[0].level != "instance" or not all(map(_is_frame, numbers))):
            raise UsageError("frames are of one instance, and are numbered from 1 (PS3.18 §10.1.1.4)")
        return self._pictures([replace(one, frames=numbers) for one in resources], parameters, media_type)

    def thumbnail(
        self, what: Where, *, viewport: tuple[int, int] | None = None, frame: int | None = None,
        media_type: str = "image/jpeg",
    ) -> list[Part]:  # fmt: skip
        """Retrieve one small image for each resource, which the server chooses.

        Parameters
        ----------
        what : as for :meth:`metadata`
        viewport : (width, height), optional
            In pixels.
        frame : int, optional
            Of one instance; from 1.
        media_type : str

        Returns
        -------
        list of Part

        Raises
        ------
        UsageError, Unreachable, Refused, Interrupted, RemoteProtocolError, ServiceError
            As for :meth:`rendered`.

        Source
        ------
        PS3.18 §10.4.1.1.4 (thumbnail resources).
        """
        if viewport is not None and len(viewport) != 2:
            raise UsageError("the viewport of a thumbnail is (width, height)")
        resources = places(what, "thumbnail")
        if frame is not None:
            if len(resources) != 1 or resources[0].level != "instance" or not _is_frame(frame):
                raise UsageError("a frame is of one instance, and is numbered from 1")
            resources = [replace(resources[0], frames=(frame,))]
        return self._pictures(resources, rendering_parameters(viewport=viewport), media_type)

    def _pictures(
        self, resources: Sequence[Resource], parameters: Sequence[tuple[str, str]], media_type: str
    ) -> list[Part]:
        if media_type not in (*_IMAGES, *_DOCUMENTS):
            raise UsageError(f"{media_type[:40]!r} is no rendered media type (PS3.18 §8.7.4)")
        query = f"?{query_text(parameters)}" if parameters else ""
        several = f"{accepting(media_type, '', quoted=self.server.quoted_type)}, {media_type}; q=0.9"

        def work(http: Conversation) -> list[Part]:
            found: list[Part] = []
            for one in resources:
                alone = one.kind == "thumbnail" or (one.level == "instance" and len(one.frames) <= 1)
                accepts = (media_type,) if alone else (several, media_type)
                found += parts_of(http, one.path + query, accepts, expected=media_type)
            return found

        return self._with_server("rendered", work)

    # --- URI service -------------------------------------------------------------------------------------------------

    def wado_uri(
        self,
        instance: Where,
        *,
        media_type: str = DICOM,
        transfer_syntax: str = "",
        frame: int | None = None,
        rows: int | None = None,
        columns: int | None = None,
        region: tuple[float, float, float, float] | None = None,
        window: tuple[float, float] | None = None,
        quality: int | None = None,
        annotation: str | Sequence[str] = (),
        url: str = "",
    ) -> Part:
        """Retrieve one instance by the older URI service: as DICOM, or rendered.

        There is no parameter to have it anonymised: servers were seen to take that one and send the patient's name.

        Parameters
        ----------
        instance : Instance, Cohort of one, or UIDs
        media_type : str
            ``"application/dicom"``, ``"image/jpeg"``, ``"image/png"``, ...
        transfer_syntax : str
            A UID, with ``"application/dicom"`` only; what came says the Part.
        frame : int, optional
            From 1.
        rows, columns : int, optional
            The image's size at most, in pixels.
        region : (left, top, right, bottom), optional
            The part of the image, in parts of it (0 to 1).
        window : (center, width), optional
        quality : int, optional
            1 to 100.
        annotation : str or sequence of str
        url : str
            Where the service is, if not at the base URL.

        Returns
        -------
        Part

        Raises
        ------
        UsageError
            A parameter that can't be.
        RemoteProtocolError
            Another instance came.
        Unreachable, Refused, Interrupted, ServiceError
            As for ``retrieve``.

        Source
        ------
        PS3.18 §9.4, §9.5 (Retrieve DICOM Instance, Retrieve Rendered Instance).
        """
        resource = one_place(instance, "retrieve")
        if resource.level != "instance":
            raise UsageError("the URI service gives single instances")
        asked = {"requestType": "WADO", "studyUID": resource.study, "seriesUID": resource.series}
        asked |= {"objectUID": resource.instance, "contentType": media_type}
        more = rendering_parameters(quality=quality, annotation=annotation)
        names = {"quality": "imageQuality", "annotation": "annotation"}
        asked |= {names[name]: value for name, value in more}
        if transfer_syntax:
            if media_type != DICOM:
                raise UsageError("a transfer syntax goes with application/dicom only (PS3.18 §9.1.2.1)")
            asked["transferSyntax"] = transfer_syntax
        for name, number in (("frameNumber", frame), ("rows", rows), ("columns", columns)):
            if number is not None:
                if not _is_frame(number):
                    raise UsageError(f"{name} is a number from 1, not {number!r}")
                asked[name] = str(number)
        if region is not None:
            asked["region"] = _region(region)
        if window is not None:
            center, width = rendering_parameters(window=window)[0][1].split(",")[:2]
            asked |= {"windowCenter": center, "windowWidth": width}
        where = urljoin(self._site.url + "/", url or self.server.uri_service) if url or self.server.uri_service else ""
        address = f"{where or self._site.url}?{query_text(asked.items())}"

        def work(http: Conversation) -> Part:
            found = list(parts_of(http, address, (f"{media_type}, */*; q=0.5",), expected=media_type))
            if len(found) != 1:
                raise RemoteProtocolError(f"{len(found)} parts came where one is due", section="PS3.18 §9.4.3")
            return _checked(found[0], resource.instance)

        return self._with_server("wado_uri", work)


def _is_frame(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 1 <= number < 2**31


def _region(region: tuple[float, float, float, float]) -> str:
    left, top, right, bottom = region
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise UsageError(f"region is (left, top, right, bottom) from 0 to 1, not {region} (PS3.18 §9.5.1.2.3)")
    return ",".join(f"{one:g}" for one in region)


def _expected(what: Any) -> int | None:
    """How many instances are below what was asked for, where the cohort knows."""
    if not isinstance(what, Cohort):
        return None
    if what.level == "instance":
        return len(what)
    name = f"NumberOf{what.level.capitalize()}RelatedInstances"
    if name not in what.columns or what[name].isna().any():
        return None
    return int(what[name].sum())


def _checked(part: Part, uid: str) -> Part:
    """The part with the transfer syntax that its File Meta Information names; it must be the instance asked for."""
    if part.media_type != DICOM:
        return part
    meta = decode_file_meta(part.octets, final=True)
    if meta.sop_instance_uid != uid:
        raise RemoteProtocolError(f"instance {meta.sop_instance_uid[:64]} came, not {uid}", section="PS3.18 §9.4.3")
    return replace(part, transfer_syntax=meta.transfer_syntax_uid)
