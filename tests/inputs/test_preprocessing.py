import numpy as np
import pytest
import torch
from torchvision.transforms.functional import InterpolationMode, resize

from ich_study.ct.windows import WINDOWS, apply_window, minmax_window
from ich_study.errors import ParameterError, WeightsError
from ich_study.inputs.preprocessing import Preprocessing, preprocessing_from


def make(**changes):
    settings = {
        "windows": ("brain",),
        "window_scaling": "fixed",
        "stack_depth": 1,
        "size": 16,
        "crop": "none",
    }
    return Preprocessing(**{**settings, "mean": (0.0,), "std": (1.0,), **changes})


def hu(*shape, seed=0):
    return torch.from_numpy(
        np.random.default_rng(seed).integers(-1000, 1500, shape).astype(np.int16)
    )


def test_a_slice_of_the_right_size_is_only_clipped():
    slices = hu(2, 16, 16)
    assert torch.equal(make().resized(slices), slices.clamp(0, 80))


def test_with_one_window_resizing_equals_resizing_the_windowed_image():
    slices = hu(1, 40, 40)
    windowed = apply_window(slices, WINDOWS["brain"])
    oracle = resize(windowed, [16, 16], InterpolationMode.BILINEAR, antialias=True)
    ours = make().channels(make().resized(slices)[None])[0, 0]
    assert (ours - oracle[0]).abs().max() <= 0.5 / 80 + 1e-6


def test_the_crop_cuts_the_centre_of_a_slice_resized_to_110_percent():
    slices = hu(1, 64, 80)
    ours = make(crop="center_of_110_percent", size=20).resized(slices)
    larger = resize(
        slices.clamp(0, 80).float(), [22, 27], InterpolationMode.BILINEAR, antialias=True
    )
    assert ours.shape == (1, 20, 20)
    assert (ours - larger[:, 1:21, 3:23]).abs().max() <= 0.51


def test_channels_run_over_windows_then_slices():
    slices = hu(2, 3, 16, 16)
    channels = make(windows=("brain", "bone"), stack_depth=3).channels(slices)
    assert channels.shape == (2, 6, 16, 16)
    assert torch.equal(channels[:, 4], apply_window(slices[:, 1], WINDOWS["bone"]))


def test_one_channel_is_repeated_to_three_and_minmax_is_per_slice():
    slices = hu(2, 1, 16, 16)
    channels = make(window_scaling="minmax").inputs(slices)
    assert channels.shape == (2, 3, 16, 16) and torch.equal(channels[:, 0], channels[:, 2])
    assert torch.equal(channels[:, 0], minmax_window(slices, WINDOWS["brain"])[:, 0])


def test_normalisation_per_channel_and_averaged():
    ones = torch.ones(1, 3, 2, 2)
    three = make(mean=(0.0, 0.5, 1.0), std=(1.0, 0.5, 2.0)).normalised(ones)
    assert three[0, :, 0, 0].tolist() == [1.0, 1.0, 0.0]
    two = make(windows=("brain", "bone"), mean=(0.0, 0.5, 1.0), std=(1.0, 0.5, 1.5)).normalised(
        ones[:, :2]
    )
    assert two[0, :, 0, 0].tolist() == [0.5, 0.5]


def test_description_round_trip_and_its_errors():
    assert preprocessing_from(make().describe()) == make()
    with pytest.raises(WeightsError, match="size"):
        preprocessing_from(
            {name: value for name, value in make().describe().items() if name != "size"}
        )
    with pytest.raises(ParameterError, match="liver"):
        make(windows=("liver",))
    with pytest.raises(ParameterError, match="empty"):
        make(windows=())


def test_wrapped_grey_is_hu_modulo_256_whatever_the_window():
    wrapped = make(window_scaling="wrapped", std=(1 / 255,))
    slices = torch.tensor([[-1000, 900, -1, 255, 256, 3000]], dtype=torch.int16).repeat(16, 3)[
        :, :16
    ][None]
    assert torch.equal(wrapped.resized(slices), slices)
    inputs = wrapped.inputs(slices[None])
    assert inputs.shape == (1, 3, 16, 16)
    assert inputs[0, 1, 0, :6].tolist() == pytest.approx([24, 132, 255, 255, 0, 184], abs=1e-3)
    assert (inputs.numpy()[0, 0].round() == np.mod(slices[0].numpy(), 256)).all()
    with pytest.raises(ParameterError, match="one channel"):
        make(window_scaling="wrapped", windows=("brain", "bone"))


def test_channels_are_named_in_the_order_in_which_they_come():
    stack = make(windows=("brain", "bone"), stack_depth=3)
    assert stack.channel_names[:2] == ("brain window, slice -1", "brain window, this slice")
    slices = hu(1, 3, 16, 16)
    channels = dict(zip(stack.channel_names, stack.channels(slices)[0], strict=True))
    upper = apply_window(slices[0, 2], WINDOWS["bone"])
    assert torch.equal(channels["bone window, slice +1"], upper)
    assert make(window_scaling="wrapped").channel_names == ("grey of HU modulo 256",)
