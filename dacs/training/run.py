"""What one run is asked to do. Torch-free."""

from dataclasses import dataclass

from dacs.layout import PreparedDomain, PreparedSplit, RunDir
from dacs.methods import Method, method
from dacs.settings import RunSettings


@dataclass(frozen=True)
class Run:
    """One training or adaptation."""

    method: str
    seed: int
    settings: RunSettings
    source: PreparedSplit  # labelled: of the source domain, or the target's own for the oracle
    target: PreparedDomain
    init: RunDir | None = None  # the source-only run whose weights it starts from

    @property
    def row(self) -> Method:
        """The row of its method."""
        return method(self.method)
