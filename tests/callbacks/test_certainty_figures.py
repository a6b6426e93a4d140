"""What the three figures show, and that they say it."""

import numpy as np
import torch

from mapo.callbacks.certainty_heatmap import success_heatmap
from mapo.callbacks.certainty_map import advantage_map, extremes
from mapo.callbacks.certainty_migration import migration_figure
from mapo.metrics.success_timeline import SuccessTimeline


def texts(figure):
    axes = [text for ax in figure.axes for text in (ax.get_title(loc="left"), ax.get_xlabel(), ax.get_ylabel())]
    return " | ".join([figure.get_suptitle(), *axes])


def test_heatmap_has_a_column_per_phase_and_the_mean_on_top():
    timeline = SuccessTimeline()
    timeline.add(0, [3, 1, 0])
    timeline.add(2, [0, 0, 2])
    figure = success_heatmap(timeline, floor=0.25)
    figure.canvas.draw()
    axes = figure.axes[0]
    shown = np.ma.filled(axes.images[0].get_array(), np.nan)
    np.testing.assert_array_equal(shown, [[75, np.nan, 0], [25, np.nan, 0], [0, np.nan, 100]])
    mean, guessing = axes.lines
    np.testing.assert_allclose(mean.get_ydata(), [0.25, np.nan, 2])
    np.testing.assert_allclose(mean.get_xdata(), [0.5, 1.5, 2.5])
    assert guessing.get_ydata()[0] == 0.5  # a quarter of two
    assert "successful completions in a group of 2" in texts(figure)
    assert len(success_heatmap(timeline).axes[0].lines) == 1


def test_heatmap_of_a_long_run_says_how_many_phases_a_column_holds():
    timeline = SuccessTimeline(max_columns=2)
    for phase in range(4):
        timeline.add(phase, [1, 1])
    figure = success_heatmap(timeline)
    assert "rollout phase (2 per column)" in texts(figure)
    assert figure.axes[0].images[0].get_extent()[:2] == [0, 4]


def test_extremes_are_means_over_groups_with_as_many_successes():
    advantages = torch.tensor([[2.0, -1.0, -1.0], [4.0, -1.0, -3.0], [0.5, 0.5, -1.0], [0.0, 0.0, 0.0]])
    success = torch.tensor([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0]]).bool()
    best, worst = extremes(advantages, success)
    np.testing.assert_array_equal(best, [np.nan, 3.0, 0.5, np.nan])
    np.testing.assert_array_equal(worst, [np.nan, -2.0, -1.0, np.nan])


def test_map_has_a_curve_per_method_and_the_one_in_use_stands_out():
    success = torch.tensor([[True, False], [True, True]])
    advantages = torch.tensor([[1.0, -1.0], [0.5, -0.5]])
    methods = {f"Method{i}": advantages * (i + 1) for i in range(14)}
    figure = advantage_map(methods, success)
    figure.canvas.draw()
    best, worst = figure.axes
    assert [line.get_label() for line in best.lines] == list(methods)
    for i, line in enumerate(worst.lines):
        np.testing.assert_allclose(line.get_ydata(), [-(i + 1), -(i + 1) / 2], rtol=1e-6)
    widths = [line.get_linewidth() for line in best.lines]
    assert widths[0] > max(widths[1:])
    assert len({(line.get_color(), line.get_linestyle()) for line in best.lines}) == len(methods)
    assert "latest 2 groups" in texts(figure)


def test_migration_counts_who_became_easier_or_harder():
    moves = [[0] * 5 for _ in range(5)]
    moves[0][4], moves[3][1], moves[2][2] = 6, 2, 1
    figure = migration_figure(moves)
    figure.canvas.draw()
    said = texts(figure)
    assert "9 seen more than once" in said
    assert "6 became easier" in said
    assert "2 harder" in said
    assert "1 stayed" in said
    cells = {text.get_position(): text.get_text() for text in figure.axes[0].texts}
    assert cells == {(4, 0): "6\n100 %", (1, 3): "2\n100 %", (2, 2): "1\n100 %"}
