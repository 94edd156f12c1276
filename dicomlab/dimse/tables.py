"""The one door to pynetdicom: its registries of SOP Classes and of status codes."""

from __future__ import annotations

from typing import Literal

from pynetdicom import sop_class, status

from dicomlab.part10.meta import DEFLATED_LE, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE

SUCCESS = 0x0000
CANCEL = 0xFE00
PENDING = (0xFF00, 0xFF01)

VERIFICATION = "1.2.840.10008.1.1"

Verb = Literal["FIND", "GET", "MOVE"]
Root = Literal["patient", "study"]

MODELS: dict[tuple[Root, Verb], str] = {
    ("patient", "FIND"): sop_class._QR_CLASSES["PatientRootQueryRetrieveInformationModelFind"],
    ("patient", "MOVE"): sop_class._QR_CLASSES["PatientRootQueryRetrieveInformationModelMove"],
    ("patient", "GET"): sop_class._QR_CLASSES["PatientRootQueryRetrieveInformationModelGet"],
    ("study", "FIND"): sop_class._QR_CLASSES["StudyRootQueryRetrieveInformationModelFind"],
    ("study", "MOVE"): sop_class._QR_CLASSES["StudyRootQueryRetrieveInformationModelMove"],
    ("study", "GET"): sop_class._QR_CLASSES["StudyRootQueryRetrieveInformationModelGet"],
}
"""The SOP Class of each Query/Retrieve information model (PS3.4 Table C.6.1.3-1, C.6.2.3-1)."""

COMPOSITE: dict[Verb, str] = {
    "MOVE": sop_class._QR_CLASSES["CompositeInstanceRootRetrieveMove"],
    "GET": sop_class._QR_CLASSES["CompositeInstanceRootRetrieveGet"],
}
"""Composite Instance Root Retrieve (PS3.4 Annex Y)."""
WITHOUT_BULK_DATA = sop_class._QR_CLASSES["CompositeInstanceRetrieveWithoutBulkDataGet"]
"""Composite Instance Retrieve Without Bulk Data, C-GET (PS3.4 Annex Z)."""
VERB_OF: dict[str, Verb] = {uid: verb for (_, verb), uid in MODELS.items()}
"""What each Query/Retrieve SOP Class of the two roots is for."""
COMMITMENT = sop_class._STORAGE_COMMITMENT_CLASSES["StorageCommitmentPushModel"]
COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"
"""The one SOP Instance of Storage Commitment Push Model (PS3.4 §J.3.5)."""
WORKLIST = sop_class._BASIC_WORKLIST_CLASSES["ModalityWorklistInformationFind"]
"""Modality Worklist Information Model, C-FIND (PS3.4 Annex K)."""
PERFORMED_STEP = sop_class._PROCEDURE_STEP_CLASSES["ModalityPerformedProcedureStep"]
PERFORMED_STEP_RETRIEVE = sop_class._PROCEDURE_STEP_CLASSES["ModalityPerformedProcedureStepRetrieve"]
PERFORMED_STEP_NOTIFICATION = sop_class._PROCEDURE_STEP_CLASSES["ModalityPerformedProcedureStepNotification"]
"""The three SOP Classes of the Modality Performed Procedure Step (PS3.4 §F.7 to §F.9)."""
UPS_PUSH = sop_class._UNIFIED_PROCEDURE_STEP_CLASSES["UnifiedProcedureStepPush"]
UPS_WATCH = sop_class._UNIFIED_PROCEDURE_STEP_CLASSES["UnifiedProcedureStepWatch"]
UPS_PULL = sop_class._UNIFIED_PROCEDURE_STEP_CLASSES["UnifiedProcedureStepPull"]
UPS_EVENT = sop_class._UNIFIED_PROCEDURE_STEP_CLASSES["UnifiedProcedureStepEvent"]
UPS_QUERY = sop_class._UNIFIED_PROCEDURE_STEP_CLASSES["UnifiedProcedureStepQuery"]
"""The SOP Classes of the Unified Procedure Step (PS3.4 Table CC.2.3-1); instances are all of the first one."""
STORAGE_SERVICE_CLASS = "1.2.840.10008.4.2"

STORAGE: dict[str, str] = {
    uid: keyword for keyword, uid in {**sop_class._NON_PATIENT_OBJECT_CLASSES, **sop_class._STORAGE_CLASSES}.items()
}
"""Every Storage SOP Class of the registry, UID to keyword."""

COMMON_STORAGE = tuple(
    sop_class._STORAGE_CLASSES[keyword]
    for keyword in """CTImageStorage EnhancedCTImageStorage MRImageStorage EnhancedMRImageStorage
    ComputedRadiographyImageStorage DigitalXRayImageStorageForPresentation
    DigitalMammographyXRayImageStorageForPresentation BreastTomosynthesisImageStorage XRayAngiographicImageStorage
    XRayRadiofluoroscopicImageStorage UltrasoundImageStorage UltrasoundMultiFrameImageStorage
    PositronEmissionTomographyImageStorage NuclearMedicineImageStorage SecondaryCaptureImageStorage
    MultiFrameTrueColorSecondaryCaptureImageStorage MultiFrameGrayscaleByteSecondaryCaptureImageStorage
    VLEndoscopicImageStorage VLPhotographicImageStorage VideoEndoscopicImageStorage
    OphthalmicPhotography8BitImageStorage SegmentationStorage GrayscaleSoftcopyPresentationStateStorage
    KeyObjectSelectionDocumentStorage BasicTextSRStorage EnhancedSRStorage ComprehensiveSRStorage
    XRayRadiationDoseSRStorage EncapsulatedPDFStorage RTImageStorage RTDoseStorage RTStructureSetStorage RTPlanStorage
    TwelveLeadECGWaveformStorage""".split()
)
"""What a peer probably holds, for retrieving what nobody knows the SOP Class of."""

UNCOMPRESSED = (EXPLICIT_LE, IMPLICIT_LE)
COMPRESSED = tuple(
    f"1.2.840.10008.1.2.{end}"
    for end in """4.50 4.51 4.57 4.70 4.80 4.81 4.90 4.91 5 4.201 4.202 4.203 4.100 4.101 4.102 4.103 4.104 4.105
    4.106 4.107 4.108 4.92 4.93 4.100.1 4.101.1 4.102.1 4.103.1 4.104.1 4.105.1 4.106.1""".split()
)
"""The transfer syntaxes with encapsulated pixel data, roughly by how often they are met."""
_RARE = 14
GET_FAMILIES: tuple[tuple[str, ...], ...] = (
    *((uid,) for uid in (*UNCOMPRESSED, EXPLICIT_BE, *COMPRESSED[:-_RARE])),
    COMPRESSED[-_RARE:],
)
"""What C-GET proposes for a known SOP Class, one context each. The acceptor picks one syntax of a context, so only
contexts with a single syntax let a mixed series travel as it lies; the rarest share one to leave room."""
SYNTAXES = (*UNCOMPRESSED, *COMPRESSED, EXPLICIT_BE)
"""Every transfer syntax that is sent and taken as it lies; not the deflated one, which can blow up memory."""
SYNTAXES_DEFLATED = (*SYNTAXES, DEFLATED_LE)

_WORDS_OF_CLASS = {
    COMMITMENT: status.STORAGE_COMMITMENT_SERVICE_CLASS_STATUS,
    WORKLIST: status.MODALITY_WORKLIST_SERVICE_CLASS_STATUS,
    **dict.fromkeys(
        (PERFORMED_STEP, PERFORMED_STEP_RETRIEVE, PERFORMED_STEP_NOTIFICATION), status.PROCEDURE_STEP_STATUS
    ),
    **dict.fromkeys(
        (UPS_PUSH, UPS_WATCH, UPS_PULL, UPS_EVENT, UPS_QUERY), status.UNIFIED_PROCEDURE_STEP_SERVICE_CLASS_STATUS
    ),
}
"""The statuses of services that have words of their own, by SOP Class."""

Category = Literal["success", "warning", "failure", "cancel", "pending"]

_WORDS = {
    "STORE": status.STORAGE_SERVICE_CLASS_STATUS,
    "FIND": status.QR_FIND_SERVICE_CLASS_STATUS,
    "GET": status.QR_GET_SERVICE_CLASS_STATUS,
    "MOVE": status.QR_MOVE_SERVICE_CLASS_STATUS,
    "ECHO": status.VERIFICATION_SERVICE_CLASS_STATUS,
}


def category(code: int) -> Category:
    """Which kind of answer a status is (PS3.7 Annex C)."""
    if code in PENDING:
        return "pending"
    known = {"Success": "success", "Warning": "warning", "Cancel": "cancel"}
    return known.get(status.code_to_category(code), "failure")  # type: ignore[return-value]


def status_text(code: int, verb: str, comment: str = "", sop_class_uid: str = "") -> str:
    """Print a status as the standard does, with its words and the peer's comment: ``A700H Refused: Out of Resources``.

    Parameters
    ----------
    code : int
    verb : str
        The service: ``STORE``, ``FIND``, ``GET``, ``MOVE`` or ``ECHO``.
    comment : str
        The peer's ErrorComment (0000,0902).
    sop_class_uid : str
        Of a service whose statuses mean something of their own.
    """
    own = _WORDS_OF_CLASS.get(sop_class_uid) or _WORDS.get(verb, status.GENERAL_STATUS)
    words = own.get(code) or status.GENERAL_STATUS.get(code)
    said = (words[1] or words[0]) if words else category(code).capitalize()
    return f"{code:04X}H {said}" + (f" ({comment})" if comment else "")


_ADVICE = {
    0x0105: "it does not know an attribute that was named",
    0x0106: "it does not take one of the values: see what it says of them",
    0x0107: "it does not know one of the attributes",
    0x0111: "it has an instance of that UID already",
    0x0120: "an attribute that it needs was not sent",
    0x0121: "an attribute that it needs was sent without a value",
    0x0123: "it does not know that action",
    0xC300: "nothing of it can be changed any more",
    0xC301: "give the Transaction UID with which it was claimed",
    0xC302: "somebody else has claimed it",
    0xC303: "only a new one is SCHEDULED",
    0xC304: "what a final state needs is missing: see PS3.4 Table CC.2.5-3",
    0xC307: "it has no such workitem",
    0xC308: "it does not know where that AE listens: ask its administrator to register it",
    0xC310: "it must be claimed first: change its state to IN PROGRESS",
    0xC311: "it is completed",
    0x0110: "it could not process this; its log may say why, and later it may work",
    0x0112: "it has no such instance",
    0x0117: "it has no such instance",
    0x0119: "the instance is of another SOP Class there",
    0x0212: "it does not take one of the fields of the request",
    0x0213: "it has no resources for this now: try again later, or ask for less",
    0x0122: "it does not offer this service for this SOP Class",
    0x0124: "it does not allow us this: ask its administrator",
    0x0211: "it does not know this operation",
    0xA700: "ask for less: a narrower range of dates, or one series at a time",
    0xA701: "ask for less: a narrower range of dates, or one series at a time",
    0xA702: "ask for less, or retrieve with the other method",
    0xA801: "it does not know the destination: ask its administrator to register our AE title, host and port",
    0xAA02: "it extracts no frames: ask for whole instances",
    0xA900: "it does not take these keys: match on fewer of them, or on another level",
}


def advice(code: int) -> str:
    """What to do about a failure."""
    return _ADVICE.get(code, "its log may say why")
