"""Finding the files of a data set: its root, the one folder of several spellings, pairs of image
and mask."""

from __future__ import annotations

from pathlib import Path

from ich_study.errors import DataError

SUFFIXES = (".nii.gz", ".nii")


def require_root(root: Path, name: str, layout: str, origin: str) -> Path:
    """`root`, resolved. Raises DataError with the expected layout and the data's origin where it is
    no folder."""
    if not root.is_dir():
        raise DataError(
            f"{name}: no folder {root}. Expected there:\n{layout}\nThe data come from {origin}"
        )
    return root.resolve()


def first_folder(root: Path, choices: tuple[str, ...], name: str, layout: str, origin: str) -> Path:
    """The first of `choices` that is a folder under `root`. Raises DataError where none is."""
    for choice in choices:
        if (root / choice).is_dir():
            return root / choice
    found = sorted(entry.name for entry in root.iterdir())[:10]
    wanted = " or ".join(repr(choice) for choice in choices)
    raise DataError(
        f"{name}: {root} holds no folder {wanted}, but {found}. Expected there:\n{layout}\nThe data"
        f" come from {origin}"
    )


def nifti_stem(path: Path) -> str:
    """File name without `.nii` or `.nii.gz`."""
    return next(
        (path.name.removesuffix(suffix) for suffix in SUFFIXES if path.name.endswith(suffix)),
        path.stem,
    )


def nifti_files(folder: Path) -> dict[str, Path]:
    """Stem to path of the NIfTI files of a folder, sorted by name. Raises DataError where a stem
    stands twice."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.name.endswith(SUFFIXES):
            continue
        stem = nifti_stem(path)
        if stem in found:
            raise DataError(
                f"{folder}: {found[stem].name} and {path.name} are the same volume twice;"
                " remove one"
            )
        found[stem] = path
    return found


def paired_files(
    images: Path, masks: Path, require_masks: bool
) -> list[tuple[str, Path, Path | None]]:
    """(stem, image, mask) of two folders with equal file names, sorted.

    Raises DataError for a mask without its image, and, where `require_masks`, the reverse.
    """
    scans, drawn = nifti_files(images), nifti_files(masks) if masks.is_dir() else {}
    if not scans:
        raise DataError(f"no .nii or .nii.gz file in {images}")
    orphans, bare = sorted(set(drawn) - set(scans)), sorted(set(scans) - set(drawn))
    if orphans:
        raise DataError(
            f"{len(orphans)} masks in {masks} have no image in {images}, the first is {orphans[0]};"
            " is the copy complete?"
        )
    if bare and require_masks:
        raise DataError(
            f"{len(bare)} images in {images} have no mask in {masks}, the first is {bare[0]}; is"
            " the copy complete?"
        )
    return [(stem, path, drawn.get(stem)) for stem, path in scans.items()]
