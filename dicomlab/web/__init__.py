"""DICOM Web Services (PS3.18): the user agent ``WebEndpoint`` and the embedded origin server."""
