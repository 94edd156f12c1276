"""DICOM Message Service over the DICOM Upper Layer (PS3.7, PS3.8): ``Node`` asks, the listener answers."""
