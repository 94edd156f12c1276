"""What an archive serves beside instances: its worklist and its performed steps, put together."""

from __future__ import annotations

from pathlib import Path

from dicomlab.archive.performed import PerformedSteps
from dicomlab.archive.workflow import Workflow
from dicomlab.archive.worklist import Worklist
from dicomlab.dimse.performed_scp import performed_step_provider
from dicomlab.dimse.serving import Service
from dicomlab.dimse.worklist_scp import worklist_provider
from dicomlab.model.faults import Faults


class Department:
    """The workflow of one archive, in its folder.

    Parameters
    ----------
    folder : Path
        That of the archive, which exists.
    faults : Faults
        What goes wrong on purpose.
    """

    def __init__(self, folder: Path, faults: Faults) -> None:
        self._workflow = Workflow(folder / "workflow.sqlite")
        self.worklist = Worklist(self._workflow)
        self.performed_steps = PerformedSteps(self._workflow)
        self.services: tuple[Service, ...] = (
            worklist_provider(self.worklist, faults),
            *performed_step_provider(self.performed_steps),
        )

    def close(self) -> None:
        """Close the tables."""
        self._workflow.close()
