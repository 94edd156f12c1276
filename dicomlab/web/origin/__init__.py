"""The embedded origin server: the Studies Service (PS3.18 §10) over whatever holds instances."""

from dicomlab.web.origin.application import ROOT, Setting, app
from dicomlab.web.origin.limits import Limits
from dicomlab.web.origin.server import OriginServer, serve

__all__ = ["ROOT", "Limits", "OriginServer", "Setting", "app", "serve"]
