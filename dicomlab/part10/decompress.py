"""Pixel data decompressed, nothing else changed: for peers that take nothing else, and only where somebody agreed."""

from __future__ import annotations

from io import BytesIO

from dicomlab.errors import ServiceError
from dicomlab.model.protocols import Octets
from dicomlab.part10.meta import IMPLICIT_LE

_CANNOT_UNDERSTAND = 0xC000


def decompressed(octets: Octets, target: str) -> bytes:
    """Decode the pixel data of a whole Part 10 file and give its data set uncompressed.

    The SOP Instance UID stays, and so does what lossy compression has left behind, which (0028,2110) goes on saying;
    colours come as what they were before compression (RGB of YBR).

    Parameters
    ----------
    octets : bytes
        The file, preamble and all.
    target : str
        Implicit or Explicit VR Little Endian.

    Raises
    ------
    ServiceError
        C000H: it can't be decoded, or nothing that can decode it is installed.

    Source
    ------
    PS3.5 §8.2, §A.4; PS3.3 §C.7.6.1.1.5 (lossy image compression).
    """
    from pydicom import dcmread
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset

    try:
        dataset = dcmread(BytesIO(octets))
        dataset.decompress(generate_instance_uid=False)
        buffer = DicomBytesIO()
        buffer.is_little_endian, buffer.is_implicit_VR = True, target == IMPLICIT_LE
        write_dataset(buffer, dataset)
    except Exception as error:  # every decoder has errors of its own
        first_line = str(error).partition("\n")[0][:200]
        raise ServiceError(f"its pixel data can't be decompressed: {first_line}", status=_CANNOT_UNDERSTAND) from error
    return buffer.getvalue()
