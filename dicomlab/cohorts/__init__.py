"""Cohorts and everything about them that does I/O: pulling, the ledger, resuming, streaming, peeking."""
