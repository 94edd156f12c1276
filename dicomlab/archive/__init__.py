"""The embedded archive: one store with one index, served at once as SCP and as origin server."""
