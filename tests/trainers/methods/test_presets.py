import pytest
from pydantic import ValidationError

from search_spaces.paper_grids import grids
from search_spaces.space import Space
from trainers.config import MethodConfig
from trainers.methods.presets import preset_of, presets, require_kind_of_model, require_size_of_model


@pytest.mark.parametrize("name", presets())
def test_a_preset_fills_the_section_and_what_is_given_goes_first(name):
    preset = preset_of(name)
    method = MethodConfig.model_validate({"preset": name})
    assert method.name == name.split("/")[0]
    assert MethodConfig.model_validate(method.model_dump()) == method
    for field, value in preset.settings.items():
        if field not in ("learning_rate", "mask"):
            assert getattr(method, field) == value
    assert MethodConfig.model_validate({"preset": name, "num_steps": 7}).num_steps == 7


def test_published_numbers_are_the_papers():
    dpzero = MethodConfig.model_validate({"preset": "dpzero/roberta-large"})
    assert (dpzero.num_steps, dpzero.smoothing, dpzero.clip_norm, dpzero.learning_rate) == (10_000, 1e-3, 200, 1e-6)
    zopo = MethodConfig.model_validate({"preset": "dp-zopo/opt-2.7b"})
    assert zopo.mask is not None
    assert (zopo.num_steps, zopo.stage_steps, zopo.proximal, zopo.mask.keep) == (6000, 1000, 5e-4, 0.01)
    assert zopo.learning_rate.model_dump(exclude_none=True) == {"kind": "stagewise", "start": 2e-5, "factor": 0.5}  # pyright: ignore
    aggzo = MethodConfig.model_validate({"preset": "dp-aggzo/opt-1.3b"})
    assert (aggzo.num_directions, aggzo.num_steps, aggzo.learning_rate, aggzo.clip_norm) == (64, 1000, 6e-5, 2)


def test_presets_are_refused_for_other_methods_heads_and_sizes():
    with pytest.raises(ValidationError, match="is one of dpzero, and name says 'dp-zo'"):
        MethodConfig.model_validate({"preset": "dpzero/opt-1.3b", "name": "dp-zo"})
    with pytest.raises(ValueError, match=r"unknown preset 'dpzero/opt-13b'\. Did you mean 'dpzero/opt-1\.3b'"):
        preset_of("dpzero/opt-13b")
    require_kind_of_model("dpzero/opt-1.3b", "causal-lm", "full")
    with pytest.raises(ValueError, match=r"published for model\.head masked-lm or sequence-classification"):
        require_kind_of_model("dpzero/roberta-large", "causal-lm", "full")
    with pytest.raises(ValueError, match=r"model\.trainable lora, not for causal-lm with full"):
        require_kind_of_model("mezo/opt-lora", "causal-lm", "full")
    require_size_of_model("dpzero/opt-1.3b", 1_300_000_000)
    with pytest.raises(ValueError, match=r"models of 8e\+08 to 2e\+09 parameters, and this one has 1\.7e\+05"):
        require_size_of_model("dpzero/opt-1.3b", 172_864)
    require_kind_of_model(None, "causal-lm", "full")
    require_size_of_model(None, 1)


@pytest.mark.parametrize("name", grids())
def test_a_papers_grid_is_a_search_space(name):
    assert name in presets()
    space = Space.model_validate(name)
    assert Space.model_validate(dict(space.root)) == space


def test_a_method_without_a_grid_says_so():
    with pytest.raises(ValidationError, match="MeZO has no published grid: write the ranges"):
        Space.model_validate("mezo/opt-1.3b")


def test_an_unknown_grid_is_refused():
    with pytest.raises(ValidationError, match="unknown grid 'dpzero/bert'"):
        Space.model_validate("dpzero/bert")
