import pytest
from lightning.pytorch.strategies import (
    DDPStrategy,
    DeepSpeedStrategy,
    FSDPStrategy,
    ModelParallelStrategy,
    SingleDeviceStrategy,
)

from mapo.modules.fsdp2 import FSDP2Strategy
from mapo.modules.strategies import check_checkpoint, check_micro_batches, check_strategy


def deepspeed(config):
    """The strategy without its engine, which needs CUDA."""
    strategy = object.__new__(DeepSpeedStrategy)
    strategy.config = config
    return strategy


ZERO_3 = {"zero_optimization": {"stage": 3}}


@pytest.mark.parametrize(
    "strategy", [SingleDeviceStrategy("cpu"), DDPStrategy(), ModelParallelStrategy(2, 1), FSDP2Strategy()]
)
def test_strategies_that_add_gradients_up_are_accepted(strategy):
    check_strategy(strategy)
    check_micro_batches(strategy, [1, 7])


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        (FSDPStrategy(), "FSDPStrategy is not supported.* use 'ddp'.* configs/trainer/fsdp2.yaml"),
        (ModelParallelStrategy(), "tensor_parallel_size='auto'; tensor parallelism is not supported: pass"),
        (ModelParallelStrategy(1, 2), "tensor_parallel_size=2; tensor parallelism is not supported: pass"),
        (deepspeed({"zero_optimization": {"stage": 2}}), "ZeRO stage 2 is not supported; use 'ddp'"),
        (deepspeed({}), "ZeRO stage None is not supported"),
        (deepspeed(ZERO_3 | {"gradient_clipping": 0.5}), "gradient_clipping=0.5, and model.gradient_clip_norm=1.0"),
    ],
)
def test_others_are_refused_by_name_with_the_fix(strategy, message):
    with pytest.raises(ValueError, match=message):
        check_strategy(strategy, gradient_clip_norm=1.0)


def test_zero_3_is_told_the_limit_of_the_gradient_and_said_to_be_experimental():
    strategy = deepspeed(dict(ZERO_3))
    with pytest.warns(UserWarning, match="not yet measured on a GPU"):
        check_strategy(strategy, gradient_clip_norm=1.0)
    assert strategy.config["gradient_clipping"] == 1.0


def test_a_folder_of_parts_is_refused_where_a_file_is_expected(tmp_path):
    for strategy in (ModelParallelStrategy(2, 1), FSDP2Strategy()):
        check_checkpoint(strategy, tmp_path)
    check_checkpoint(DDPStrategy(), tmp_path / "file.ckpt")
    check_checkpoint(DDPStrategy(), None)
    with pytest.raises(ValueError, match=r"DDPStrategy cannot read; go on under configs/trainer/fsdp2\.yaml"):
        check_checkpoint(DDPStrategy(), str(tmp_path))


def test_zero_3_takes_one_micro_batch_per_step():
    check_micro_batches(deepspeed(ZERO_3), [1, 1])
    with pytest.raises(ValueError, match=r"takes 3 micro-batches.*max_tokens_per_micro_batch"):
        check_micro_batches(deepspeed(ZERO_3), [1, 3])


def test_rollouts_under_deepspeed_are_refused_before_anything_is_loaded():
    with pytest.raises(ValueError, match=r"not gathered for rollouts; use configs/trainer/fsdp2\.yaml"):
        check_strategy(deepspeed(dict(ZERO_3)), samples=True)
