"""Rendered resources and thumbnails: which images or documents, in which media type, as which kind of answer.

Source
------
PS3.18 §10.4.1.1.4 (rendered resources), §10.4.1.1.5 (thumbnails), §8.7.4 (rendered media types).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO

from PIL import Image, features

from dicomlab.errors import RemoteProtocolError
from dicomlab.model.protocols import Held
from dicomlab.web.media_types import multipart_of, parse_content_type
from dicomlab.web.origin import document
from dicomlab.web.origin.answer import Piece, Problem, made_piece, octets_piece
from dicomlab.web.origin.limits import Limits
from dicomlab.web.origin.negotiation import Accept
from dicomlab.web.origin.picture import icon, picture
from dicomlab.web.origin.stored import DECODING_FAILED, Link, NotHere, Stored, resource_of
from dicomlab.web.origin.viewport import Rendering
from dicomlab.web.resources import Resource

THUMBNAIL_SIDE = 128
_FORMATS = {"image/jpeg": "JPEG", "image/png": "PNG", "image/gif": "GIF", "image/jp2": "JPEG2000"}
IMAGES = tuple(name for name in _FORMATS if name != "image/jp2" or features.check("jpg_2000"))
_FRAME_MS = 100
_SAFE = {"Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'"}
"""A document is a peer's: a browser that shows it runs nothing and fetches nothing."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """What is answered: pieces, whether as one alone, and what must be said beside it."""

    pieces: list[Piece]
    single: bool
    part: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class _Image:
    """Frames of one instance that are to be rendered."""

    stored: Stored
    frames: list[int]


def rendered(
    held: Sequence[Held], resource: Resource, how: Rendering, accept: Accept, *, link: Link, limits: Limits
) -> Rendered:
    """Render instances or frames.

    Raises
    ------
    NotHere
        No such frame.
    Problem
        406: in no acceptable media type; 413: too many, or too large.
    RemoteProtocolError
        What is stored can't be rendered.

    Source
    ------
    PS3.18 §10.4.1.1.4.
    """
    images, documents = _sorted(held, resource)
    count = sum(len(one.frames) for one in images)
    if count > limits.renditions:
        raise Problem(413, f"{count} images are more than {limits.renditions}: ask for single instances or frames")
    if documents and not images:
        return _documents(documents, accept)
    if not images:
        raise Problem(406, "there is nothing that can be rendered: neither pixels nor a document")
    left_out = f"{len(held) - len(images)} instances have no image" if len(images) < len(held) else ""
    alone = IMAGES
    several = tuple(multipart_of(name) for name in IMAGES)
    animated = ("image/gif",) if len(images) == 1 and count > 1 else ()
    chosen = accept.best((*alone, *several) if count == 1 else (*several, *animated, *alone))
    if not chosen:
        raise Problem(406, f"rendered as {', '.join(IMAGES)}, alone or as parts of multipart/related")
    kind = parse_content_type(chosen)
    if kind.name != "image/gif" or count == 1:
        multi = kind.name == "multipart/related"
        pieces = [p for one in images for p in _pieces(one, how, kind.part, link, limits)]
        if multi or count == 1:
            pieces[0] = pieces[0].made()
            return Rendered(pieces, not multi, kind.part, left_out)
        best = _representative(images[0]) if len(images) == 1 else len(pieces) // 2
        note = f"one image of {count}; multipart/related gives all of them"
        return Rendered([pieces[best].made()], True, kind.part, note)
    return Rendered([_animation(images[0], how, limits).made()], True, "image/gif")


def thumbnail(held: Sequence[Held], resource: Resource, how: Rendering, accept: Accept, *, limits: Limits) -> Rendered:
    """Give one small image that stands for all: the middle one, or letters where there is none.

    Raises
    ------
    NotHere
        No such frame.
    Problem
        406: in no acceptable media type.

    Source
    ------
    PS3.18 §10.4.1.1.5 (the server chooses).
    """
    chosen = accept.best(IMAGES)
    if not chosen:
        raise Problem(406, f"a thumbnail is given as {', '.join(IMAGES)}")
    if how.width is None:
        how = replace(how, width=THUMBNAIL_SIDE, height=THUMBNAIL_SIDE)
    how = replace(how, enlarge=False)
    middle = len(held) // 2
    for one in (*held[middle:], *held[:middle]):
        try:
            stored = Stored(one)
            frames = stored.require(resource.frames)
            shown = picture(stored, frames[len(frames) // 2], how, limits.pixels)
        except NotHere:
            if resource.frames:
                raise
            continue
        except (RemoteProtocolError, Problem):
            continue
        break
    else:
        side = min(how.width or THUMBNAIL_SIDE, how.height or THUMBNAIL_SIDE, 512)
        shown = icon(_modality(held[middle]), side)
    return Rendered([octets_piece({"Content-Type": chosen}, _octets(shown, chosen, how.quality))], True, chosen)


def _modality(held: Held) -> str:
    try:
        return str(Stored(held).header.get("Modality", "") or "")
    except (RemoteProtocolError, *DECODING_FAILED):
        return ""


def _sorted(held: Sequence[Held], resource: Resource) -> tuple[list[_Image], list[Stored]]:
    images, documents = [], []
    alone = len(held) == 1
    for one in held:
        try:
            stored = Stored(one)
            if stored.has_pixels:
                images.append(_Image(stored, stored.require(resource.frames)))
            elif resource.frames:
                stored.require(resource.frames)
            elif document.media_types(stored):
                documents.append(stored)
        except RemoteProtocolError:
            if alone:
                raise
        except DECODING_FAILED as error:
            if alone:
                raise RemoteProtocolError(f"the header can't be read: {error}", section="PS3.5 §7") from error
    return images, documents


def _representative(image: _Image) -> int:
    """Which of the frames stands for all (PS3.3 §C.7.6.6.1.2)."""
    number = image.stored.number("RepresentativeFrameNumber", image.frames[0])
    return image.frames.index(number) if number in image.frames else 0


def _pieces(image: _Image, how: Rendering, media_type: str, link: Link, limits: Limits) -> Iterator[Piece]:
    for number in image.frames:
        frames = (number,) if image.stored.frames > 1 else ()
        headers = {"Content-Location": link(resource_of(image.stored.held, "rendered", frames=frames).path)}

        def make(number: int = number) -> Image.Image:
            return picture(image.stored, number, how, limits.pixels)

        yield _encoded(make, media_type, how, headers)


def _encoded(make: Callable[[], Image.Image], media_type: str, how: Rendering, headers: dict[str, str]) -> Piece:
    return made_piece({"Content-Type": media_type, **headers}, lambda: _octets(make(), media_type, how.quality))


def _octets(image: Image.Image, media_type: str, quality: int) -> bytes:
    buffer = BytesIO()
    options = {"quality": quality} if media_type == "image/jpeg" else {}
    image.save(buffer, _FORMATS[media_type], icc_profile=image.info.get("icc_profile"), **options)
    return buffer.getvalue()


def _animation(image: _Image, how: Rendering, limits: Limits) -> Piece:
    """All frames as one GIF, shown at their own pace."""
    header = image.stored.header
    try:
        pace_ms = float(header.get("FrameTime") or 0) or 1000 / float(header.get("CineRate") or 1000 / _FRAME_MS)
    except DECODING_FAILED:
        pace_ms = _FRAME_MS
    width, height = how.size(image.stored.number("Columns"), image.stored.number("Rows"))
    if width * height * len(image.frames) > limits.pixels:
        raise Problem(413, f"{len(image.frames)} frames of {width} x {height} are too much for one image/gif")

    def octets() -> bytes:
        shown = [picture(image.stored, number, how, limits.pixels) for number in image.frames]
        buffer = BytesIO()
        duration = int(min(max(pace_ms, 20), 10_000))
        shown[0].save(buffer, "GIF", save_all=True, append_images=shown[1:], duration=duration, loop=0)
        return buffer.getvalue()

    return made_piece({"Content-Type": "image/gif"}, octets)


def _documents(documents: Sequence[Stored], accept: Accept) -> Rendered:
    offers = document.media_types(documents[0])
    several = tuple(multipart_of(name) for name in offers)
    chosen = accept.best((*offers, *several) if len(documents) == 1 else (*several, *offers))
    if not chosen:
        raise Problem(406, f"rendered as {', '.join(offers)}")
    kind = parse_content_type(chosen)
    single = kind.name != "multipart/related"
    headers = {"Content-Type": f"{kind.part}; charset=utf-8" if kind.part.startswith("text/") else kind.part, **_SAFE}
    wanted = [one for one in documents if kind.part in document.media_types(one)][: 1 if single else None]
    pieces = [made_piece(headers, _document_maker(one, kind.part)) for one in wanted]
    pieces[0] = pieces[0].made()
    note = f"one document of {len(documents)}" if single and len(documents) > 1 else ""
    return Rendered(pieces, single, kind.part, note)


def _document_maker(stored: Stored, media_type: str) -> Callable[[], bytes]:
    return lambda: document.rendered_document(stored, media_type)
