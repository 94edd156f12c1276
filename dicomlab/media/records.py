"""The table of directory records: which type a SOP Class has, and which keys each type holds. No I/O.

Source
------
PS3.3 §F.4 (hierarchy, Table F.4-1), §F.5 (keys of each record type).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

_STORAGE = "1.2.840.10008.5.1.4.1.1."

# The longest start of a SOP Class UID that fits decides; what fits none is an image.
_TYPES: dict[str, str] = {
    "4.2": "SPECTROSCOPY",
    "9": "WAVEFORM",
    "11": "PRESENTATION",
    "66": "RAW DATA",
    "66.1": "REGISTRATION",
    "66.2": "FIDUCIAL",
    "66.3": "REGISTRATION",
    "66.4": "IMAGE",
    "66.5": "SURFACE",
    "66.6": "TRACT",
    "66.7": "IMAGE",
    "67": "VALUE MAP",
    "68": "SURFACE SCAN",
    "77.1.5.3": "STEREOMETRIC",
    "78": "MEASUREMENT",
    "78.6": "SR DOCUMENT",
    "79.1": "SR DOCUMENT",
    "80.1": "MEASUREMENT",
    "88": "SR DOCUMENT",
    "88.59": "KEY OBJECT DOC",
    "90.1": "ASSESSMENT",
    "91.1": "ANNOTATION",
    "104": "ENCAP DOC",
    "201.1": "INVENTORY",
    "131": "PRESENTATION",
    "481.2": "RT DOSE",
    "481.3": "RT STRUCTURE SET",
    "481.4": "RT TREAT RECORD",
    "481.5": "RT PLAN",
    "481.6": "RT TREAT RECORD",
    "481.7": "RT TREAT RECORD",
    "481.8": "RT PLAN",
    "481.9": "RT TREAT RECORD",
    **{f"481.{number}": "RADIOTHERAPY" for number in (*range(10, 23), 25)},
}
_OTHER_CLASSES = {
    "1.2.840.10008.5.1.4.34.7": "PLAN",
    "1.2.840.10008.5.1.4.34.10": "PLAN",
    "1.2.840.10008.5.1.4.38.1": "HANGING PROTOCOL",
    "1.2.840.10008.5.1.4.39.1": "PALETTE",
    "1.2.840.10008.5.1.4.43.1": "IMPLANT",
    "1.2.840.10008.5.1.4.44.1": "IMPLANT ASSY",
    "1.2.840.10008.5.1.4.45.1": "IMPLANT GROUP",
}
ROOT_TYPES = frozenset({"HANGING PROTOCOL", "PALETTE", "IMPLANT", "IMPLANT ASSY", "IMPLANT GROUP", "INVENTORY"})
"""Types of instances that belong to no patient: their records stand at the root."""

_CONTENT = "ContentDate1 ContentTime1"
_IDENTIFICATION = "InstanceNumber1 ContentLabel1 ContentDescription2 ContentCreatorName2"
_KEYS: dict[str, str] = {
    "PATIENT": "PatientName2 PatientID1",
    "STUDY": "StudyDate1 StudyTime1 AccessionNumber2 StudyDescription2 StudyInstanceUID1 StudyID1",
    "SERIES": "Modality1 SeriesInstanceUID1 SeriesNumber1",
    "IMAGE": "InstanceNumber1",
    "RT DOSE": "InstanceNumber1 DoseSummationType1",
    "RT STRUCTURE SET": "InstanceNumber1 StructureSetLabel1 StructureSetDate2 StructureSetTime2",
    "RT PLAN": "InstanceNumber1 RTPlanLabel1 RTPlanDate2 RTPlanTime2",
    "RT TREAT RECORD": "InstanceNumber1 TreatmentDate2 TreatmentTime2",
    "RADIOTHERAPY": "InstanceNumber1 UserContentLabel3 UserContentLongLabel3 ContentDescription2 ContentCreatorName2",
    "PRESENTATION": f"PresentationCreationDate1 PresentationCreationTime1 {_IDENTIFICATION}",
    "WAVEFORM": f"{_CONTENT} InstanceNumber1",
    "SR DOCUMENT": f"{_CONTENT} InstanceNumber1 CompletionFlag1 VerificationFlag1",
    "KEY OBJECT DOC": f"{_CONTENT} InstanceNumber1",
    "SPECTROSCOPY": f"ImageType1 {_CONTENT} InstanceNumber1 NumberOfFrames1 Rows1 Columns1"
    " DataPointRows1 DataPointColumns1",
    "RAW DATA": f"{_CONTENT} InstanceNumber1",  # Type 2, but readers that ask for a value are common
    "ENCAP DOC": "ContentDate2 ContentTime2 InstanceNumber1 DocumentTitle2 HL7InstanceIdentifier3"
    " MIMETypeOfEncapsulatedDocument1",
    "SURFACE SCAN": _CONTENT,
    "ASSESSMENT": "InstanceNumber1 InstanceCreationDate1 InstanceCreationTime2",
    "HANGING PROTOCOL": "HangingProtocolName1 HangingProtocolDescription1 HangingProtocolLevel1 HangingProtocolCreator1"
    " HangingProtocolCreationDateTime1 NumberOfPriorsReferenced1",
    "PALETTE": "ContentLabel1 ContentDescription2",
    "IMPLANT": "Manufacturer1 ImplantName1 ImplantSize3 ImplantPartNumber1",
    "IMPLANT ASSY": "ImplantAssemblyTemplateName1 Manufacturer1",
    "IMPLANT GROUP": "ImplantTemplateGroupName1 ImplantTemplateGroupIssuer1",
    "INVENTORY": _CONTENT,
    "STEREOMETRIC": "",
    "PLAN": "",
    **dict.fromkeys(
        ("REGISTRATION", "FIDUCIAL", "VALUE MAP", "MEASUREMENT", "SURFACE", "TRACT", "ANNOTATION"),
        f"{_CONTENT} {_IDENTIFICATION}",
    ),
}
KEYS: dict[str, tuple[tuple[str, int], ...]] = {
    kind: tuple((entry[:-1], int(entry[-1])) for entry in text.split()) for kind, text in _KEYS.items()
}
"""Keys of each record type as (keyword, Type); a 3 stands for "where the instance has it" (Types 3 and 1C)."""

SEQUENCES: dict[str, tuple[tuple[str, int], ...]] = {
    "SR DOCUMENT": (("ConceptNameCodeSequence", 1), ("ContentSequence", 3)),
    "KEY OBJECT DOC": (("ConceptNameCodeSequence", 1), ("ContentSequence", 3)),
    "ENCAP DOC": (("ConceptNameCodeSequence", 2),),
    "PRESENTATION": (("ReferencedSeriesSequence", 3), ("BlendingSequence", 3)),
    "SPECTROSCOPY": (("ReferencedImageEvidenceSequence", 3),),
    "HANGING PROTOCOL": (
        ("HangingProtocolDefinitionSequence", 1),
        ("HangingProtocolUserIdentificationCodeSequence", 2),
    ),
    "IMPLANT ASSY": (("ProcedureTypeCodeSequence", 1),),
}
"""Sequences that a record repeats from its instance, as (keyword, Type). Of a Content Sequence only the concept
modifiers of the title are repeated."""

VERIFIED_AT = "VerifyingObserverSequence.VerificationDateTime"
"""Where a verified document says when: the latest of them stands in its record (Type 1C)."""
NEVER = "19000101000000"

SYNTHETIC: dict[str, str] = {
    "StudyID": "1",
    "Modality": "OT",
    "CompletionFlag": "PARTIAL",
    "VerificationFlag": "UNVERIFIED",
    "ImageType": "ORIGINAL\\PRIMARY",
    "MIMETypeOfEncapsulatedDocument": "application/octet-stream",
    "DoseSummationType": "PLAN",
    "HangingProtocolLevel": "USER_GROUP",
}
SYNTHETIC_BY_VR: dict[str, str] = {"DA": "19000101", "TM": "000000", "DT": NEVER, "IS": "1", "US": "1", "UL": "1"}
"""What stands in a record for a Type 1 key that the instance leaves empty; elsewhere ``UNKNOWN``."""


@lru_cache(maxsize=1024)
def record_type(sop_class_uid: str) -> str:
    """The type of the record that refers to an instance of that SOP Class.

    Source
    ------
    PS3.3 Table F.4-1; PS3.4 Table B.5-1 (Standard SOP Classes).
    """
    if not sop_class_uid.startswith(_STORAGE):
        return _OTHER_CLASSES.get(sop_class_uid, "IMAGE")
    rest = sop_class_uid.removeprefix(_STORAGE).split(".")
    for end in range(len(rest), 0, -1):
        if found := _TYPES.get(".".join(rest[:end])):
            return found
    return "IMAGE"


def keywords() -> Iterable[str]:
    """Every attribute that a record may take from an instance, as column names."""
    names = [keyword for keys in KEYS.values() for keyword, _ in keys]
    return dict.fromkeys([*names, VERIFIED_AT])
