"""Where a File-set is written to: a folder, a ZIP file, an ISO 9660 image. The DICOMDIR comes last."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import zipfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from dicomlab.errors import Interrupted, MissingExtra, UsageError
from dicomlab.media.file_ids import FileId
from dicomlab.part10.files import CHUNK_OCTETS
from dicomlab.part10.medium import medium_errors
from dicomlab.part10.walk import Octets

DICOMDIR = "DICOMDIR"
_ALL_THAT_IS_ALIKE = (1980, 1, 1, 0, 0, 0)
"""The date of every member of a ZIP: the same files give the same archive, and no date tells of anybody."""


class Target(Protocol):
    """Takes the files of a new File-set."""

    root: Path
    """What is there in the end: the folder, or the file."""

    def put(self, file_id: FileId, pieces: Iterable[Octets]) -> int:
        """Write one file whole or not at all; how many octets it has.

        What `pieces` raise comes through, and leaves nothing behind.
        """

    def finish(self, directory: bytes) -> None:
        """Write the DICOMDIR, and make all of it appear."""

    def abandon(self) -> None:
        """It will not be finished: leave no half File-set behind that looks like a whole one."""


def target_for(dest: str | os.PathLike[str]) -> Target:
    """Choose by the name: ``.zip``, ``.iso``, else a folder.

    Raises
    ------
    UsageError
        Something is there already.
    MissingExtra
        An ISO image without pycdlib.
    Interrupted, Refused
        It can't be written there.
    """
    path = Path(dest)
    kind = path.suffix.lower()
    with medium_errors(path):
        taken = path.exists() and (kind in (".zip", ".iso") or not path.is_dir() or any(path.iterdir()))
    if taken:
        what = "is there already" if kind in (".zip", ".iso") else "is not an empty folder"
        raise UsageError(f"{path} {what}: a File-set is written whole, into a place of its own")
    if kind == ".zip":
        return Zip(path)
    return Iso(path) if kind == ".iso" else Folder(path)


class Folder:
    """A folder: files appear one by one, the DICOMDIR last and in one step."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._made = not root.exists()
        with medium_errors(root):
            root.mkdir(parents=True, exist_ok=True)

    def put(self, file_id: FileId, pieces: Iterable[Octets]) -> int:
        """Write one file under a temporary name, then rename it."""
        path = self.root.joinpath(*file_id)
        part = self.root / f".{secrets.token_hex(6)}.part"
        try:
            octets = _write(part, pieces, self.root)
            with medium_errors(self.root):
                path.parent.mkdir(parents=True, exist_ok=True)
                part.replace(path)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise
        return octets

    def finish(self, directory: bytes) -> None:
        """Write the DICOMDIR in one step."""
        self.put((DICOMDIR,), [directory])

    def abandon(self) -> None:
        """What was written stays; without DICOMDIR it is no File-set. An empty folder of ours goes."""
        if self._made:
            with suppress(OSError):
                self.root.rmdir()


class _Staged:
    """What becomes one file: it grows beside its final name, and takes it when it is whole."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._part = root.with_name(f".{root.name[:40]}.{secrets.token_hex(6)}.part")
        with medium_errors(root):
            root.parent.mkdir(parents=True, exist_ok=True)
            self._stage = Path(tempfile.mkdtemp(prefix=".dicomlab-", dir=root.parent))

    def _staged(self, pieces: Iterable[Octets]) -> tuple[Path, int]:
        path = self._stage / secrets.token_hex(8)
        try:
            return path, _write(path, pieces, self.root)
        except BaseException:
            with suppress(OSError):
                path.unlink()
            raise

    def _appear(self) -> None:
        try:
            with medium_errors(self.root):
                self._part.replace(self.root)
        finally:
            self._clean()

    def _clean(self) -> None:
        shutil.rmtree(self._stage, ignore_errors=True)
        with suppress(OSError):
            self._part.unlink()


class Zip(_Staged):
    """A ZIP file (PS3.12 Annex V), every file deflated."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        try:
            with medium_errors(root):
                self._zip = zipfile.ZipFile(self._part, "x", zipfile.ZIP_DEFLATED, compresslevel=4)
        except BaseException:
            self._clean()
            raise

    def put(self, file_id: FileId, pieces: Iterable[Octets]) -> int:
        """Write one file aside first: a member that breaks off could not be taken back."""
        path, octets = self._staged(pieces)
        try:
            self._add("/".join(file_id), path, octets)
        finally:
            with suppress(OSError):
                path.unlink()
        return octets

    def _add(self, name: str, path: Path, octets: int) -> None:
        entry = zipfile.ZipInfo(name, _ALL_THAT_IS_ALIKE)
        entry.compress_type, entry.external_attr, entry.file_size = zipfile.ZIP_DEFLATED, 0o644 << 16, octets
        with medium_errors(self.root), path.open("rb") as source, self._zip.open(entry, "w") as member:
            shutil.copyfileobj(source, member, CHUNK_OCTETS)

    def finish(self, directory: bytes) -> None:
        """Write the DICOMDIR and the table of contents, then give the file its name."""
        self.put((DICOMDIR,), [directory])
        with medium_errors(self.root):
            self._zip.close()
        self._appear()

    def abandon(self) -> None:
        """Nothing stays."""
        with suppress(OSError, ValueError):
            self._zip.close()
        self._clean()


class Iso(_Staged):
    """An ISO 9660 image, level 1 (PS3.12 Annex F), as it is burnt onto a CD-R."""

    def __init__(self, root: Path) -> None:
        try:
            import pycdlib
        except ImportError as error:
            raise MissingExtra('an ISO image needs pycdlib: pip install "dicomlab[iso]"') from error
        super().__init__(root)
        self._image: Any = pycdlib.PyCdlib()
        self._image.new(interchange_level=1, vol_ident=DICOMDIR, app_ident_str="DICOMLAB")
        self._folders: set[FileId] = set()

    def put(self, file_id: FileId, pieces: Iterable[Octets]) -> int:
        """Write one file aside; the image is made of them in the end."""
        path, octets = self._staged(pieces)
        for end in range(1, len(file_id)):
            if file_id[:end] not in self._folders:
                self._image.add_directory("/" + "/".join(file_id[:end]))
                self._folders.add(file_id[:end])
        self._image.add_file(str(path), "/" + "/".join(file_id) + ".;1")
        return octets

    def finish(self, directory: bytes) -> None:
        """Write the image, then give it its name."""
        from pycdlib.pycdlibexception import PyCdlibException

        self.put((DICOMDIR,), [directory])
        try:
            with medium_errors(self.root):
                self._image.write(str(self._part))
        except PyCdlibException as error:
            raise Interrupted(f"the image can't be made: {error}", endpoint=str(self.root)) from error
        self._image.close()
        self._appear()

    def abandon(self) -> None:
        """Nothing stays."""
        self._image.close()
        self._clean()


def _write(path: Path, pieces: Iterable[Octets], root: Path) -> int:
    octets = 0
    with medium_errors(root):
        file = path.open("xb")
    with file:
        for piece in pieces:
            with medium_errors(root):
                file.write(piece)
            octets += len(piece)
        with medium_errors(root):
            file.flush()
    return octets
