"""What all files share: strict frozen models, and the checked kinds of number they are made of."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from gaisnet.schema.limits import ID_PATTERN, MAX_LABELS, MAX_WIDTH

__all__ = [
    "Bytes",
    "BytesFigure",
    "Compute",
    "ComputeWish",
    "Coordinate",
    "Count",
    "Figure",
    "Fraction",
    "Identifier",
    "Labels",
    "NonNegative",
    "Positive",
    "PositiveCount",
    "PositiveFigure",
    "Sha256",
    "Strict",
    "Width",
]


class Strict(BaseModel):
    """A frozen model that accepts no unknown field, no NaN or infinity and no silent conversion."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )


Identifier = Annotated[str, Field(pattern=f"^{ID_PATTERN}$")]
"""A name that is safe as a file name: letters, digits, dot, underscore and hyphen."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Compute = Literal["cpu", "cuda"]
"""What a device computes on."""

ComputeWish = Literal["auto", "cpu", "cuda"]
"""The same, or ``auto``: whatever it is for otherwise."""

Bytes = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]
PositiveCount = Annotated[int, Field(ge=1)]
Width = Annotated[int, Field(ge=1, le=MAX_WIDTH)]
Labels = Annotated[int, Field(ge=1, le=MAX_LABELS)]
NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
BytesFigure = Annotated[int, Field(ge=0, le=10**15)]
"""Of a model, a device or a link: a petabyte at most, so that sums are exact as floats too."""
Figure = Annotated[float, Field(ge=0, le=1e30)]
"""What a user states of the physical world: seconds, joules, watts, prices, weights. No real one
comes near the bound, and within it sums, products and squares stay finite."""
Coordinate = Annotated[float, Field(ge=-1e30, le=1e30)]
"""A :data:`Figure` with a sign: where something stands."""
PositiveFigure = Annotated[float, Field(ge=1e-30, le=1e30)]
"""A :data:`Figure` that may be divided by: speeds, bandwidths, rates."""
Fraction = Annotated[float, Field(ge=0, le=1)]
