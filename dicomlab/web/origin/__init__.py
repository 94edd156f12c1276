"""The embedded origin server: the Studies Service (PS3.18 §10) over whatever holds instances."""

from dicomlab.web.origin.address import IN_PROCESS
from dicomlab.web.origin.application import ROOT, Setting, app
from dicomlab.web.origin.limits import Limits
from dicomlab.web.origin.server import OriginServer, serve

__all__ = ["IN_PROCESS", "ROOT", "Limits", "OriginServer", "Setting", "app", "serve"]
