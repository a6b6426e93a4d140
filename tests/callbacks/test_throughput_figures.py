import pytest

from mapo.callbacks.phase_work import PhaseWork
from mapo.callbacks.throughput_figures import Measured, closing_line, figures

SECONDS = {"rollout": 4.0, "reward": 1.0, "update": 3.0, "other": 2.0}
# 8 TFLOP in 4 s of rollout, 12 in 3 s of update, both in 10 s of the phase, on 2 devices.
WORK = PhaseWork(prompts=5, sampled_tokens=400, trained_tokens=150, rollout_flops=8 * 10**12, update_flops=12 * 10**12)
MEASURED = Measured(SECONDS, WORK, phases=1)


def test_by_hand():
    assert figures(MEASURED, devices=2, peak_tflops=10.0) == pytest.approx(
        {
            "time/other_s": 2.0,
            "time/phase_s": 10.0,
            "time/rollout_share": 0.4,
            "time/reward_share": 0.1,
            "time/update_share": 0.3,
            "time/other_share": 0.2,
            "throughput/prompts_per_s": 0.5,
            "throughput/rollout_tokens_per_s": 100.0,
            "throughput/update_tokens_per_s": 50.0,
            "throughput/rollout_tflops": 1.0,
            "throughput/update_tflops": 2.0,
            "throughput/phase_tflops": 1.0,
            "throughput/rollout_mfu": 0.1,
            "throughput/update_mfu": 0.2,
            "throughput/phase_mfu": 0.1,
        }
    )


def test_without_a_peak_there_is_no_utilisation():
    found = figures(MEASURED, devices=2, peak_tflops=None)
    assert not [name for name in found if name.endswith("mfu")]
    assert found["throughput/update_tflops"] == 2.0
    assert "of its peak" not in closing_line(MEASURED, devices=2, peak_tflops=None)


def test_what_is_not_counted_is_left_out():
    measured = Measured(SECONDS, PhaseWork(prompts=5, sampled_tokens=400, trained_tokens=150), phases=1)
    found = figures(measured, devices=2, peak_tflops=10.0)
    assert not [name for name in found if name.endswith(("mfu", "tflops"))]
    assert closing_line(measured, devices=2, peak_tflops=10.0) == (
        "of 10 s in phases: rollout 40 %, reward 10 %, update 30 %, other 20 %; 100 tokens/s sampled, 50 trained"
    )


def test_an_update_without_work_is_no_division_by_zero():
    work = PhaseWork(prompts=5, sampled_tokens=400, rollout_flops=10**12)
    found = figures(Measured(SECONDS | {"update": 0.0}, work, 1), devices=1, peak_tflops=1.0)
    assert found["throughput/update_tokens_per_s"] == found["throughput/update_mfu"] == 0.0


def test_a_sum_has_the_rates_of_all_phases():
    slow = Measured({part: 3 * value for part, value in SECONDS.items()}, WORK, phases=1)
    total = Measured() + MEASURED + slow
    assert total.phases == 2
    assert list(total.seconds) == list(SECONDS)
    assert figures(total, devices=1, peak_tflops=None)["throughput/rollout_tokens_per_s"] == pytest.approx(800 / 16)
