"""Real peers: each with its own configuration, storage and free loopback ports, asked until it answers, ended by its id.

``fixtures.py`` holds what a test asks for by name; ``tests/conftest.py`` loads it.
"""
