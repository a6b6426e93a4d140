from mapo.argument_places import broken_files, written

YAML = """model:
  advantage:
    class_path: pkg.Own
    init_args: {eps: 1.0}
  rewards:
    - {class_path: First, init_args: {weight: 1}}
    - class_path: Second
      init_args:
        weight: 2
  optimizer: {betas: [0.9, 0.95]}
"""


def test_files_give_the_line_and_the_class_of_every_argument(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text(YAML)
    places = {(place.path, place.value): place for place in written(["fit", "--config", str(file)])}
    assert places["model.advantage.eps", "1.0"].where == f"model.advantage.eps in {file}, line 4"
    assert places["model.advantage.eps", "1.0"].owner == "pkg.Own"
    assert [places["model.rewards.weight", value].owner for value in "12"] == ["First", "Second"]
    assert places["model.optimizer.betas", None].owner is None


def test_options_know_the_class_that_files_or_options_name(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text(YAML)
    arguments = [f"--config={file}", "--model.advantage.eps", "2", "--data=GSM8K", "--data.path=x", "--rewards+=R"]
    *_, eps, data, path, rewards = written(arguments)
    assert (eps.where, eps.value, eps.owner) == ("--model.advantage.eps", "2", "pkg.Own")
    assert (data.path, data.value, data.owner) == ("data", "GSM8K", None)
    assert (path.value, path.owner) == ("x", "GSM8K")
    assert (rewards.where, rewards.path) == ("--rewards+", "rewards")


def test_files_that_cannot_be_read_are_named_and_skipped(tmp_path):
    good, torn, binary = (tmp_path / name for name in ("good.yaml", "torn.yaml", "binary.yaml"))
    good.write_text("a: 1")
    torn.write_text("a: 1\nb: {c: [\n")
    binary.write_bytes(b"\xff\xfe\xfa")
    arguments = [word for file in (good, torn, binary) for word in ("-c", str(file))]
    assert [place.path for place in written(arguments)] == ["a"]
    first, second = broken_files(arguments)
    assert first.startswith(f"{torn}, line 3 is no YAML")
    assert second.startswith(f"{binary} cannot be read")
    assert list(broken_files(["--config", str(tmp_path / "missing.yaml")]))
    assert not list(broken_files(["--config"]))
