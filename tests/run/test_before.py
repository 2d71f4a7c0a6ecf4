"""What is not there is known before a run starts."""

import pytest
import torch

from ich_study.errors import ParameterError
from ich_study.run import before


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("ICH_STUDY_ROOT", str(tmp_path))
    monkeypatch.delenv("ICH_NOWHERE", raising=False)


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"data_roots": {"phe_sich": "$ICH_NOWHERE/phe"}}, r"data_roots\.phe_sich: .*ICH_NOWHERE"),
        (
            {"data_roots": {"bhsd": "data/bhsd"}},
            r"expected a data set in .*bhsd, found nothing; docs/how_to\.md says how",
        ),
        ({"data_dir": "b"}, r"make it: python -m ich_study\.run 00_data -p output_dir .*/b$"),
        ({"classifier_runs": ["b"]}, r"run 01_backbones -p output_dir .*/b$"),
        ({"methods": ["mine/03_resnet_lstm"]}, r"run 03_resnet_lstm -p output_dir .*03_resnet"),
        ({"data_dir": "runs/x/00_data"}, "make it: python -m ich_study.run 00_data -f params/x/"),
        ({"baseline_runs": ["runs/x/01_backbones/b"]}, "-f params/x/01_backbones/b.yaml"),
        ({"backbone": {"weights": "file:w.npz"}}, r"backbone\.weights: expected .*w.npz"),
        ({"backbone": {"weights": "package:none"}}, "known packages"),
        ({"methods": ["published_attention:a.pt"]}, "expected .*a.pt, found nothing"),
        ({"methods": ["if_set:published_attention:a.pt"]}, "expected .*a.pt, found nothing"),
        ({"methods": ["published_attention:$ICH_NOWHERE/a.pt"]}, "ICH_NOWHERE, which is not set"),
        ({"methods": ["runs/x/02_lse_unet"]}, "make it"),
        ({"methods": ["every:runs/x/02_lse_unet"]}, "x/02_lse_unet.*make it"),
        ({"published_weights": {"attention": {"path": "a.pt"}}}, "published_weights.attention"),
        ({"training": {"first_weights": "w.safetensors"}}, "first_weights: expected .*w.safe"),
        ({"first_weights": {"attention": "w.pt"}}, r"first_weights\.attention: expected .*w.pt"),
        ({"scan": "here.nii"}, "n, scan: expected .*here.nii"),
        ({"training": {"device": "gpu"}}, "training.device: device is 'gpu'"),
    ],
)
def test_what_is_missing_is_named_with_its_parameter(parameters, says):
    with pytest.raises(ParameterError, match=says):
        before.check("n", parameters)


def test_what_is_there_or_will_be_is_not_asked_for(tmp_path):
    (tmp_path / "data" / "bhsd").mkdir(parents=True)
    (tmp_path / "data" / "bhsd" / "scan.nii").touch()
    (tmp_path / "runs" / "x" / "00_data").mkdir(parents=True)
    made = [tmp_path / "runs" / "x" / "01_backbones" / "a"]
    before.check(
        "n",
        {
            "data_roots": {"bhsd": "data/bhsd"},
            "data_dir": "runs/x/00_data",
            "runs_dir": "runs/x",
            "encoder_run": "runs/x/01_backbones/a",
            "backbone": {"weights": None, "options": {}},
            "first_weights": {"max_pooling": "runs/x/01_backbones/a/weights.safetensors"},
            "methods": ["lse_unet", "if_set:published_attention:$ICH_NOWHERE/a.pt"],
            "device": "auto",
            "scan": None,
        },
        made,
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_is_asked_for_where_the_run_is_for_this_machine():
    with pytest.raises(ParameterError, match="sees no CUDA device"):
        before.check("n", {"device": "cuda"})
    before.check("n", {"device": "cuda"}, devices=False)


def test_all_problems_are_told_at_once():
    with pytest.raises(ParameterError) as caught:
        before.check("n", {"scan": "a", "data_dir": "b"})
    assert len(str(caught.value).splitlines()) == 2
