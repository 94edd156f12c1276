"""Real-Time Communication (PS3.22): video, audio and DICOM metadata over RTP, sent and received."""
