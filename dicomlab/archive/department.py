"""What an archive serves beside instances: its worklist, its performed steps and its work items, put together."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from dicomlab.archive.performed import PerformedSteps
from dicomlab.archive.workflow import Workflow
from dicomlab.archive.workitems import WorkItemStore
from dicomlab.archive.worklist import Worklist
from dicomlab.dimse.outward import Outward
from dicomlab.dimse.performed_scp import performed_step_provider
from dicomlab.dimse.reporter import Reporter
from dicomlab.dimse.serving import Service
from dicomlab.dimse.workitems_scp import workitem_provider
from dicomlab.dimse.worklist_scp import worklist_provider
from dicomlab.model.faults import Faults


class Department:
    """The workflow of one archive, in its folder.

    Parameters
    ----------
    folder : Path
        That of the archive, which exists.
    outward : Outward
        How it finds those to whom events are reported.
    faults : Faults
        What goes wrong on purpose.
    fictional : bool
        Whether its patients are known to be synthetic.
    """

    def __init__(self, folder: Path, outward: Outward, faults: Faults, *, fictional: bool) -> None:
        with ExitStack() as stack:
            workflow = Workflow(folder / "workflow.sqlite")
            stack.callback(workflow.close)
            self.worklist = Worklist(workflow)
            self.performed_steps = PerformedSteps(workflow)
            self.workitems = WorkItemStore(folder / "workitems.sqlite")
            self.workitems.fictional = fictional
            stack.callback(self.workitems.close)
            self._reporter = Reporter(self.workitems, outward)
            stack.callback(self._reporter.close)
            self.services: tuple[Service, ...] = (
                worklist_provider(self.worklist, faults),
                *performed_step_provider(self.performed_steps),
                *workitem_provider(self.workitems, outward, faults),
            )
            self._stack = stack.pop_all()

    def close(self) -> None:
        """Deliver no more events, and close the tables."""
        self._stack.close()
