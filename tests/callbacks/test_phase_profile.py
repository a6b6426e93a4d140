"""The tables, from events written down; that a phase is recorded is tested with the callback."""

from types import SimpleNamespace

from torch._C._autograd import DeviceType

from mapo.callbacks.phase_profile import profile_tables


def event(name, start, stop, *, own=None, device=0.0, kind=DeviceType.CPU):
    return SimpleNamespace(
        name=name,
        device_type=kind,
        is_async=False,
        time_range=SimpleNamespace(start=start, end=stop),
        self_cpu_time_total=stop - start if own is None else own,
        self_device_time_total=device,
    )


EVENTS = [
    event("aten::zeros", 0, 100),
    event("mapo: rollout", 1_000, 5_000, own=500),
    event("aten::mm", 1_000, 4_000),
    event("aten::mm", 4_000, 4_500),
    event("aten::sum", 6_000, 6_200),
    event("mapo: update", 7_000, 9_000, own=100),
    event("aten::mm", 7_000, 8_500),  # of the backward thread as well: what counts is when
    event("aten::add", 8_500, 8_900),
]


def cells(table: str) -> dict[str, list[str]]:
    rows = [[cell.strip() for cell in line.split("|")] for line in table.splitlines() if "|" in line]
    return {row[0]: row[1:] for row in rows}


def test_operations_belong_to_the_part_they_began_in():
    explained, rollout, reward, update, other = profile_tables(EVENTS).split("\n\n")
    assert explained.startswith("Own times")
    assert cells(rollout) == {
        "rollout, 4.0 ms": ["calls", "own CPU ms", "CPU %"],
        "aten::mm": ["2", "3.5", "87.5"],
        "(Python, between operations)": ["1", "0.5", "12.5"],
        "all": ["3", "4.0", "100.0"],
    }
    assert cells(reward)["reward, 2.0 ms"]
    assert cells(reward)["aten::sum"] == ["1", "0.2", "100.0"]
    assert cells(update)["aten::mm"] == ["1", "1.5", "75.0"]
    assert cells(other)["aten::zeros"] == ["1", "0.1", "100.0"]


def test_a_gpu_decides_the_order_and_its_kernels_count_once():
    kernel = event("gemm", 1_200, 4_000, kind=DeviceType.CUDA)
    launched = [event("aten::mm", 2_000, 2_010, device=900.0), event("aten::add", 2_010, 2_500, device=100.0)]
    rollout = profile_tables([*EVENTS[:2], *launched, kernel, *EVENTS[4:]]).split("\n\n")[1]
    assert list(cells(rollout)) == [
        "rollout, 4.0 ms",
        "aten::mm",
        "aten::add",
        "(Python, between operations)",
        "all",
    ]
    assert cells(rollout)["aten::mm"][-2:] == ["0.9", "90.0"]


def test_only_the_slowest_are_listed_and_all_are_summed():
    many = [event(f"op{i}", 1_100 + i, 1_101 + i, own=i) for i in range(40)]
    rollout = profile_tables([*EVENTS, *many]).split("\n\n")[1]
    assert len(rollout.splitlines()) == 2 + 12 + 1
    assert cells(rollout)["all"][0] == "43"
