"""What a service is built from, in words that every process understands.

An engine is given a blueprint and builds the service where its device is, from files that lie
there: the model, and the device's own data. Nothing here holds a tensor or a function.
"""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from gaisnet.executor.facts import ModelFacts
from gaisnet.executor.settings import Settings
from gaisnet.models import FoundationModel
from gaisnet.nodes.settings import FOLDER_VARIABLE
from gaisnet.schema.base import Compute, Count, Identifier, PositiveCount, Sha256, Strict
from gaisnet.schema.job import Compression, OptimizerSpec, PrivacySpec, UpdateGateSpec
from gaisnet.schema.model import ModelSpec, TunableSpec
from gaisnet.schema.plan import ClusterPlan

__all__ = [
    "Blueprint",
    "BodyBlueprint",
    "ConductorBlueprint",
    "CoordinatorBlueprint",
    "DataSource",
    "DeviceFile",
    "EntryBlueprint",
    "HolderBlueprint",
    "ModelSource",
    "ModulesBlueprint",
    "ProbeBlueprint",
    "RequestSource",
    "Span",
]


class DeviceFile(Strict):
    """A file that is looked up on the device that uses it."""

    path: str = Field(min_length=1)
    """As the job or the fleet has it."""
    base: str
    """Folder that a relative path is taken from, unless the device has one of its own."""

    def locate(self) -> Path:
        """The path on this machine; it need not exist."""
        return Path(os.environ.get(FOLDER_VARIABLE) or self.base) / self.path


class ModelSource(Strict):
    """Which model, with which tunable modules: whoever builds it gets the same tensors."""

    spec: ModelSpec
    tunable: TunableSpec | None = None
    aggregator: str = "fedavg"
    """For which the tunable modules are fitted, e.g. by freezing some of them."""
    base: str | None = None
    """Folder that a model given by a relative path is looked up in; see ``DeviceFile``."""
    fingerprint: Sha256 | None = None
    """Of the model that is expected, if it is to be checked."""
    weights_sha256: Sha256 | None = None
    accepted_by: str | None = None
    """Version of transformers under which whoever runs the plan has cut the model, and compared."""
    compute: Compute = "cpu"
    """What whoever builds it computes on, unless its node was told otherwise."""

    def on(self, compute: Compute) -> ModelSource:
        """The same model, to be computed with there."""
        return self.model_copy(update={"compute": compute})

    @classmethod
    def of(cls, model: FoundationModel, aggregator: str = "fedavg") -> ModelSource:
        """The source of a model that was loaded here."""
        return cls(spec=model.spec, tunable=model.tunable, aggregator=aggregator)

    def accepted_here(self) -> bool:
        """Whether to cut and compare the model here would only say again what is known: that it
        is the same one is found by its fingerprint."""
        return self.fingerprint is not None and self.accepted_by == version("transformers")

    def local_spec(self) -> ModelSpec:
        """The model's specification on this machine."""
        if self.base is None:
            return self.spec
        path = DeviceFile(path=self.spec.source, base=self.base).locate()
        if not os.path.exists(path):  # a name of the hub's
            return self.spec
        return self.spec.model_copy(update={"source": str(path.resolve())})


class DataSource(Strict):
    """The samples that a device owns."""

    name: Identifier
    file: DeviceFile
    samples: PositiveCount | None = None
    """How many the fleet says there are."""


class RequestSource(Strict):
    """The requests of a service."""

    name: Identifier
    """Of the service."""
    file: DeviceFile
    tokens: PositiveCount | None = None
    """Length that text is padded or cut to."""
    first: PositiveCount | None = None
    """Only so many of them."""


class Span(Strict):
    """Units that a stage holds, both ends included."""

    first_unit: Count
    last_unit: Count


class _Blueprint(Strict):
    device: Identifier
    run: Identifier
    """Frames of any other run are refused, ..."""
    epoch: Count = 0
    """... and those of any other epoch."""


class HolderBlueprint(_Blueprint):
    """``holder.Holder``."""

    kind: Literal["holder"] = "holder"
    model: ModelSource
    optimizer: OptimizerSpec
    compression: Compression = "none"
    privacy: PrivacySpec = PrivacySpec()


class CoordinatorBlueprint(_Blueprint):
    """``coordinator.Coordinator``."""

    kind: Literal["coordinator"] = "coordinator"
    aggregator: str
    trim_fraction: float | None = None
    gate: UpdateGateSpec = UpdateGateSpec()


class ConductorBlueprint(Strict):
    """``conductor.Conductor``."""

    kind: Literal["conductor"] = "conductor"
    clusters: tuple[ClusterPlan, ...]
    """Those of its edge."""
    facts: ModelFacts
    settings: Settings
    dispensable: tuple[Identifier, ...] = ()
    """Owners without which a round may close."""


class BodyBlueprint(_Blueprint):
    """``inference.body.BodyServer``."""

    kind: Literal["body"] = "body"
    name: str
    """Of the server, for its frames."""
    model: ModelSource
    span: Span
    compression: Compression = "none"


class EntryBlueprint(_Blueprint):
    """``inference.entry.EntryServer``."""

    kind: Literal["entry"] = "entry"
    name: str
    model: ModelSource
    head: Span | None
    tail: Span | None
    new_tokens: Count = 0
    """Tokens that are generated for each request; 0 for one answer per request."""
    compression: Compression = "none"
    privacy: PrivacySpec = PrivacySpec()


class ModulesBlueprint(_Blueprint):
    """``inference.modules.ModuleSource``."""

    kind: Literal["modules"] = "modules"
    name: str


class ProbeBlueprint(_Blueprint):
    """``probe.Probe``."""

    kind: Literal["probe"] = "probe"


Blueprint = Annotated[
    HolderBlueprint
    | CoordinatorBlueprint
    | ConductorBlueprint
    | BodyBlueprint
    | EntryBlueprint
    | ModulesBlueprint
    | ProbeBlueprint,
    Field(discriminator="kind"),
]
