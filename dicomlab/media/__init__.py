"""Basic File Service (PS3.10): folders, File-sets and their DICOMDIR."""
