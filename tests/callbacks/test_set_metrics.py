from mapo.callbacks.set_metrics import set_metrics, summary_metrics

METRICS = {
    "val/grid/accuracy": 0.5,
    "val/grid/accuracy/level/1/2": 0.25,  # a value may hold a slash
    "val/A_S/accuracy": 0.75,  # a set may have the name of a summary
    "val/A_S": 1.0,
    "val/A_greedy": 0.125,
    "test/grid/accuracy": 0.0,
    "train/reward/math_answer": 1.0,
    "epoch": 3,
}


def test_metrics_go_to_their_sets_and_keep_what_follows_the_set():
    assert set_metrics(METRICS, "val") == {
        "grid": {"accuracy": 0.5, "accuracy/level/1/2": 0.25},
        "A_S": {"accuracy": 0.75},
    }


def test_the_summary_is_no_set_and_no_set_is_the_summary():
    assert summary_metrics(METRICS, "val") == {"A_S": {"accuracy": 1.0}, "A": {"accuracy_greedy": 0.125}}
    assert summary_metrics(METRICS, "test") == {}
