"""Files of a data set: pairs of image and mask by name, and what is missing said in words."""

import pytest

from ich_study.datasets.layout import first_folder, nifti_stem, paired_files, require_root
from ich_study.errors import DataError


def touch(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("name", "stem"), [("a.nii", "a"), ("a.nii.gz", "a"), ("a.b.nii.gz", "a.b"), ("a.txt", "a")]
)
def test_a_stem_is_the_name_without_its_suffix(tmp_path, name, stem):
    assert nifti_stem(tmp_path / name) == stem


def test_images_and_masks_are_paired_by_name_whatever_their_suffix(tmp_path):
    images = touch(tmp_path / "images", "b.nii.gz", "a.nii", "c.nii", ".hidden.nii", "note.txt")
    masks = touch(tmp_path / "masks", "a.nii.gz", "b.nii.gz")
    pairs = paired_files(images, masks, require_masks=False)
    assert [(stem, image.name, mask and mask.name) for stem, image, mask in pairs] == [
        ("a", "a.nii", "a.nii.gz"),
        ("b", "b.nii.gz", "b.nii.gz"),
        ("c", "c.nii", None),
    ]
    with pytest.raises(DataError, match=r"1 images .* have no mask .* the first is c"):
        paired_files(images, masks, require_masks=True)


def test_a_mask_without_image_and_a_volume_twice_are_refused(tmp_path):
    images = touch(tmp_path / "images", "a.nii")
    masks = touch(tmp_path / "masks", "a.nii", "z.nii")
    with pytest.raises(DataError, match=r"1 masks .* have no image .* the first is z"):
        paired_files(images, masks, require_masks=False)
    touch(images, "a.nii.gz")
    with pytest.raises(DataError, match=r"a\.nii and a\.nii\.gz are the same volume twice"):
        paired_files(images, masks, require_masks=False)
    with pytest.raises(DataError, match=r"no \.nii"):
        paired_files(touch(tmp_path / "none"), masks, require_masks=False)


def test_the_first_spelling_that_is_there_is_taken(tmp_path):
    touch(tmp_path / "second")
    spellings = ("first", "second")
    assert first_folder(tmp_path, spellings, "x", "l", "o") == tmp_path / "second"
    touch(tmp_path / "first")
    assert first_folder(tmp_path, spellings, "x", "l", "o") == tmp_path / "first"


def test_what_is_missing_is_said_with_the_layout_and_the_origin(tmp_path):
    with pytest.raises(DataError, match=r"rsna: no folder .*\n  layout\nThe data come from here"):
        require_root(tmp_path / "none", "rsna", "  layout", "here")
    touch(tmp_path / "other")
    with pytest.raises(DataError, match=r"holds no folder 'a' or 'b', but \['other'\]"):
        first_folder(tmp_path, ("a", "b"), "rsna", "l", "o")
