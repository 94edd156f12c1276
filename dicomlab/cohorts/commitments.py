"""Asking again, tomorrow, about a commitment that was asked for today: from what a saved report says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dicomlab.errors import UsageError
from dicomlab.model.commitment import Inbox
from dicomlab.model.report import Report


def follow(report: Report, source: Any = None) -> Report:
    """Ask whom a report names about its pending outcomes.

    Parameters
    ----------
    report : Report
        Loaded, or just made.
    source : Node or WebEndpoint, optional
        Whom to ask; without it one is made from what the report says, without credentials.

    Raises
    ------
    UsageError
        The report names nobody, or somebody else than `source`.
    """
    from dicomlab.dimse.node import Node
    from dicomlab.web.endpoint import WebEndpoint

    whom = report.follow
    if whom.get("door") == "web":
        endpoint = source if source is not None else WebEndpoint(whom.get("peer", ""))
        if not isinstance(endpoint, WebEndpoint) or endpoint.url != whom.get("peer"):
            raise UsageError(f"this was stored to {whom.get('peer')}: refresh it with that endpoint")
        return endpoint.resume_commitment(report)
    if whom.get("door") == "DIMSE":
        node = source if source is not None else Node(whom.get("peer", ""), me=whom.get("me", ""))
        if not isinstance(node, Node) or str(node.address) != whom.get("peer"):
            raise UsageError(f"this was stored to {whom.get('peer')}: refresh it with that node")
        return node.resume_commitment(report, _inbox(whom.get("inbox", "")))
    raise UsageError("the report does not say whom to ask")


def _inbox(place: str) -> Inbox | None:
    from dicomlab.archive.commitments import CommitmentStore

    return CommitmentStore(Path(place)) if place else None
