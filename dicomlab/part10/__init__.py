"""One DICOM file (PS3.10): its File Meta Information, read and written; shared by every path below which it lies."""
