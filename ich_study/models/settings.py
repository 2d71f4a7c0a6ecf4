"""What a parameter `backbone` of a notebook holds: a network, its options and its first weights."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from ich_study.errors import ParameterError
from ich_study.inputs.settings import Settings
from ich_study.paths import resolve


class BackboneSettings(Settings):
    """A timm network. Its options and weights belong to its name: whoever names a network gives
    them too, or takes the network as timm has it, with random weights."""

    named_by: ClassVar[str | None] = "name"

    name: str = Field(description="timm's name of the network")
    options: dict[str, Any] = Field({}, description="keyword arguments of the timm network")
    pretrained: bool = Field(False, description="start from published weights, not random ones")
    weights_path: str | None = Field(
        None, description="file of the published weights; null takes timm's cache or hub"
    )
    weights_sha256: str | None = Field(None, description="hash that the file must have")

    def check(self) -> None:
        """A file of weights is for a pretrained network, and a hash for a file."""
        if self.weights_path is not None and not self.pretrained:
            raise ParameterError(
                f"weights_path is {self.weights_path}, but pretrained is false; set pretrained to"
                " true to use the file"
            )
        if self.weights_sha256 is not None and self.weights_path is None:
            raise ParameterError("weights_sha256 is the hash of a file; give weights_path too")

    def arguments(self) -> dict[str, Any]:
        """Arguments of `create_backbone`, the path resolved."""
        path = resolve(self.weights_path) if self.weights_path else None
        return {**dict(self), "weights_path": path}
