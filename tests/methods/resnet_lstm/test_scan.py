from ich_study.methods.resnet_lstm.scan import recipes_of_run

PARAMETERS = {
    "folds": [2, 0],
    "variant": "printed",
    "cam": {"threshold": 0.7},
    "unet": {"size": 64, "equalise": True},
    "slice_gate": 0.4,
    "mask_threshold": 0.5,
}


def with_weights(folder, *names):
    for name in names:
        (folder / "fold_2" / name).mkdir(parents=True)
        (folder / "fold_2" / name / "weights.safetensors").touch()


def test_a_run_is_its_two_stages_and_with_every_all_arms_that_it_trained(tmp_path):
    arms = ("resnet_unet", "resnet_lstm_kmeans_unet", "no_contrast_enhancement", "unet")
    with_weights(tmp_path, "resnet", "refitted", *(f"unet/{arm}" for arm in arms))
    plain = recipes_of_run(tmp_path, PARAMETERS)
    assert [recipe.name for _, recipe in plain] == ["resnet_lstm_cam", "resnet_lstm_kmeans_unet"]
    assert [path.parent.name for path, _ in plain] == ["refitted", "resnet_lstm_kmeans_unet"]
    found = {recipe.name: recipe for _, recipe in recipes_of_run(tmp_path, PARAMETERS, every=True)}
    assert list(found) == [
        "resnet_cam",
        "resnet_lstm_cam",
        "resnet_unet",
        "resnet_lstm_kmeans_unet",
        "no_contrast_enhancement",
        "supervised_unet_3d",
    ]
    assert found["resnet_cam"].gates == (0.4,) and found["resnet_cam"].thresholds[0] > 0.7
    # its U-Net saw grey without equalisation, the others with it
    equalised = {
        name: r.options["unet"]["equalise"] for name, r in found.items() if "unet" in r.options
    }
    assert [name for name, said in equalised.items() if not said] == ["no_contrast_enhancement"]
