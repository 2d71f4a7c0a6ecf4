"""How large and how dense hemorrhage is, per subtype, and how often each occurs.

Volumes and HU are quantiles of the densities that DIDSR/InSilicoICH (CC0) measured on the 192
scans of BHSD: volume in mL per lesion class and scan; HU of lesion voxels, noise included.
Frequencies follow the order that clinical cohorts report, IPH > SDH > SAH > IVH > EDH, and are
ours; so is the greater share of EDH where scans were picked to show every subtype.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ich_study.phantom import tables


@dataclass(frozen=True)
class Prior:
    """`volume_ml` at QUANTILES; mean and SD of voxel HU; the share of that SD that lies between
    lesions."""

    volume_ml: tuple[float, ...]
    hu_mean: float
    hu_sd: float


QUANTILES: tuple[float, ...] = (0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95)
PRIORS: dict[str, Prior] = {
    "IPH": Prior((0.45, 0.85, 3.24, 8.9, 16.7, 42.5, 58.9), 48.0, 9.0),
    "IVH": Prior((0.21, 0.33, 1.10, 2.6, 4.90, 11.1, 18.6), 40.0, 9.0),
    "SAH": Prior((0.27, 0.30, 0.45, 1.0, 1.49, 2.61, 4.64), 44.0, 8.0),
    "SDH": Prior((0.60, 0.80, 2.56, 6.3, 11.5, 27.3, 55.8), 50.0, 13.0),
    "EDH": Prior((1.21, 2.44, 6.10, 13.6, 21.8, 32.5, 39.9), 56.0, 11.0),
}
BETWEEN = 0.6
"""Share of the voxel SD that lies between lesions; the rest is smooth texture inside one."""
EDGE_HU = {"IPH": 4.0, "IVH": 6.0, "SAH": 12.0, "SDH": -2.0, "EDH": -2.0}
"""What partial volume at the border takes from a lesion's mean HU; its core is denser by this."""


@dataclass(frozen=True)
class Lesions:
    """What a cohort's lesions are drawn from: the quantile of the volume prior at which the
    smallest lies, HU added to the density's mean, and subtypes that every positive scan has."""

    smallest: float
    added_hu: float
    always: frozenset[str] = frozenset()


LESIONS: dict[str, Lesions] = {
    "priors": Lesions(QUANTILES[0], 0.0),
    "demo": Lesions(0.85, 12.0, frozenset({"IPH"})),
}
"""`demo`: the largest sixth of each subtype, denser than its mean, and a hematoma in the brain in
every positive scan, so that small networks trained for seconds can find them. No real cohort looks
like that."""

COMBINATIONS, PICKED = (
    {tuple(row["name"].split()): row[cohort] for row in tables.read_rows("subtypes")}
    for cohort in ("clinic", "picked")
)
"""Which subtypes a positive scan holds, and how often: in a clinical cohort, and in a data set that
is picked to show every subtype, with EDH in 15 of 100. With a clinic's 6 a test of 40 scans holds
three, and no difference by subtype can be decided."""


def draw_volume(rng: np.random.Generator, subtype: str, lesions: str = "priors") -> float:
    """Volume of one lesion in mL, from the prior up to its 95 % quantile; `lesions` names the
    smallest."""
    volumes, smallest = PRIORS[subtype].volume_ml, LESIONS[lesions].smallest
    return float(
        np.exp(np.interp(rng.uniform(smallest, QUANTILES[-1]), QUANTILES, np.log(volumes)))
    )


def draw_density(rng: np.random.Generator, subtype: str, lesions: str = "priors") -> float:
    """HU of a lesion's core."""
    prior, more = PRIORS[subtype], LESIONS[lesions].added_hu
    return rng.normal(prior.hu_mean + EDGE_HU[subtype] + more, BETWEEN * prior.hu_sd)


def draw_subtypes(
    rng: np.random.Generator, lesions: str = "priors", picked: bool = False
) -> tuple[str, ...]:
    """The subtypes of a positive scan, in their order. picked: of PICKED, not COMBINATIONS."""
    combinations = PICKED if picked else COMBINATIONS
    names = [names for names in combinations if LESIONS[lesions].always <= set(names)]
    weights = np.array([combinations[name] for name in names])
    return names[rng.choice(len(names), p=weights / weights.sum())]
