import pytest
import torch
from pytorch_grad_cam.metrics.road import NoisyLinearImputer

from ich_study.errors import MapError
from ich_study.methods.cams import imputation
from ich_study.methods.cams.imputation import imputed_alike


def slices(count=2, channels=2, side=26, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, channels, side, side, generator=generator), torch.rand(
        count, side, side, generator=generator
    )


@pytest.mark.parametrize("share", [0.1, 0.6, 0.95])
def test_equals_the_sparse_solution_of_the_library(share, monkeypatch):
    monkeypatch.setattr(imputation, "TOLERANCE", 1e-6)
    channels, noise = slices()
    removed = noise < share
    found = imputed_alike(channels, [removed], 0.0, 0)
    for one, ours, gone in zip(channels, found, removed):
        theirs = NoisyLinearImputer(noise=0)(one, (~gone).float())
        assert (ours - theirs).abs().max() < 1e-4


def test_a_large_hole_is_filled_and_nothing_else_changes(monkeypatch):
    monkeypatch.setattr(imputation, "TOLERANCE", 1e-6)
    rows, columns = torch.meshgrid(
        torch.linspace(0, 1, 40), torch.linspace(0, 1, 40), indexing="ij"
    )
    channels = (rows + columns)[None, None] / 2
    removed = torch.zeros(1, 40, 40, dtype=torch.bool)
    removed[:, 8:30, 10:33] = True
    found = imputed_alike(channels, [removed], 0.0, 0)
    # a plane is its own mean of neighbours, so the hole must come back exactly
    assert torch.allclose(found, channels, atol=1e-3)
    assert torch.equal(found[0, 0][~removed[0]], channels[0, 0][~removed[0]])


def test_noise_is_seeded_and_only_where_removed():
    channels, noise = slices()
    removed = noise < 0.5
    first, again, other = (imputed_alike(channels, [removed], 0.05, seed) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    kept = (~removed)[:, None].expand_as(channels)
    assert torch.equal(first[kept], channels[kept])


def test_what_cannot_be_imputed_is_an_error(monkeypatch):
    channels, _ = slices()
    with pytest.raises(MapError, match="every pixel"):
        imputed_alike(channels, [torch.ones(2, 26, 26, dtype=torch.bool)], 0.0, 0)
    monkeypatch.setattr(imputation, "MOST_ITERATIONS", 1)
    with pytest.raises(MapError, match="did not converge"):
        imputed_alike(channels, [torch.rand(2, 26, 26) < 0.9], 0.0, 0)


def test_several_masks_solved_together_are_each_as_alone():
    rng = torch.Generator().manual_seed(4)
    channels = torch.rand(3, 2, 26, 26, generator=rng)
    masks = [torch.rand(3, 26, 26, generator=rng) < share for share in (0.2, 0.6)]
    together = imputed_alike(channels, masks, 0.05, 7)
    alone = torch.cat([imputed_alike(channels, [mask], 0.05, 7) for mask in masks])
    assert torch.allclose(together, alone, atol=1e-6) and not torch.equal(alone[:3], alone[3:])
