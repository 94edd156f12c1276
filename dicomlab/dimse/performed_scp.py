"""The Modality Performed Procedure Step as an SCP: what modalities say they do, kept by whoever stands behind.

Source
------
PS3.4 §F.7 (Modality Performed Procedure Step), §F.8 (Retrieve).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Protocol

from dicomlab.dimse import tables
from dicomlab.dimse.identifier import Tree
from dicomlab.dimse.normalized import INVALID_INSTANCE, NO_SUCH_INSTANCE, Done, Operation, normalized, selected
from dicomlab.dimse.serving import WRONG_CLASS, Service
from dicomlab.errors import ServiceError
from dicomlab.model.workitem import is_uid


class Performed(Protocol):
    """What the services stand on. Each change is whole or none; failures are raised as ``ServiceError``."""

    def create(self, uid: str, tree: Tree) -> tuple[str, ...]:
        """Keep a new step; gives the attributes that it lacks and that may be empty."""

    def change(self, uid: str, changes: Tree) -> None:
        """Set attributes of a step, its status among them."""

    def get(self, uid: str) -> Tree | None:
        """A step, whole; None where there is none of that UID."""


def performed_step_provider(steps: Performed) -> Iterator[Service]:
    """The services: N-CREATE and N-SET, and N-GET for whoever looks."""

    def perform(operation: Operation) -> Done:
        _check_class(operation)
        if operation.name == "N-CREATE":
            uid = operation.instance_uid or f"2.25.{uuid.uuid4().int}"
            if not is_uid(uid):
                raise ServiceError("the SOP Instance UID is no UID", status=INVALID_INSTANCE)
            absent = steps.create(uid, operation.tree)
            return Done(instance_uid=uid, comment=f"taken as empty: {', '.join(absent)}" if absent else "")
        steps.change(operation.instance_uid, operation.tree)
        return Done()

    def look(operation: Operation) -> Done:
        _check_class(operation)
        tree = steps.get(operation.instance_uid)
        if tree is None:
            raise ServiceError("there is no step of that UID", status=NO_SUCH_INSTANCE)
        return selected(tree, operation.attributes)

    yield normalized((tables.PERFORMED_STEP,), ("N-CREATE", "N-SET"), perform)
    yield normalized((tables.PERFORMED_STEP_RETRIEVE,), ("N-GET",), look)


def _check_class(operation: Operation) -> None:
    if operation.sop_class_uid not in ("", operation.service_uid, tables.PERFORMED_STEP):
        raise ServiceError("the SOP Class is not that of the context", status=WRONG_CLASS)
