"""Presentation: what the objects look like in a notebook. Imports anything below; nothing below imports it."""
