"""The tests. A package, so that what they share (``tests.peers``, ``tests.faults``) is imported by one name."""
