"""What ``mapo --help`` says; without an import, so that it is there at once."""

USAGE = """mapo [supervised] {fit,validate,test,predict} [--config FILE]... [--KEY VALUE]...
       mapo compare RUN...
       mapo export --ckpt_path FILE --output FOLDER
       mapo replay FAULT --ckpt_path FILE"""

DESCRIPTION = """Fine-tune vision-language models with Mixed Advantage Policy Optimization (arXiv 2509.18849).

commands:
  fit       sample, score, update: train the policy, and validate it before, during and after
  validate  figures of every evaluation set
  test      the same, logged under test/
  predict   completions with their scores, in predictions.jsonl
  compare   accuracies of finished runs by method, with how sure they are
  export    a checkpoint's policy as a folder that transformers, peft and vLLM load
  replay    a step that fit skipped, row by row: where its numbers stop being finite

examples:
  mapo fit --config configs/mapo_tiny.yaml                        train on any machine, in minutes
  mapo fit --config A.yaml --config configs/algorithm/grpo.yaml   swap the method: later files win, then options
  mapo fit --config A.yaml --model.group_size 8 --print_config    show the whole resulting configuration
  mapo fit --config A.yaml --plan true                            say what it would do, load nothing
  mapo fit --config A.yaml --ckpt_path runs/.../last.ckpt         continue a run
  mapo validate --config A.yaml --ckpt_path runs/.../last.ckpt    figures of a checkpoint
  mapo compare runs/mapo_tiny                                     which method did better, and how sure that is
  mapo export --ckpt_path runs/.../last.ckpt --output my_model    publish a checkpoint (mapo export --help)
  mapo supervised fit --config configs/warm_start_tiny.yaml       supervised training on demonstrations

more help:
  mapo fit --help                                                 every option, with its default
  mapo fit --model.advantage.help MixedAdvantage                  what a component's arguments mean
  mapo --version

An error is one line. What nobody foresaw leaves its traceback in mapo-traceback-<time>-<process>.txt in the working
folder; MAPO_DEBUG=1 shows every traceback."""

_KEYS = """

An option is a key of the configuration files as well: `--model.group_size 8` is `model: {group_size: 8}` there.
A component is named by its class, `--model.advantage ZScore` or `--data Geometry3K`; one outside this package by its
import path, my_file.MyReward, and its arguments follow: `--model.advantage.ddof 1`. `--model.advantage.help ZScore`
says what they are."""

COMMANDS = {
    "fit": "Train a policy. It is evaluated before, during (trainer.val_check_interval, in phases) and after." + _KEYS,
    "validate": "Evaluate a policy on every evaluation set, logged under val/." + _KEYS,
    "test": "Evaluate a policy on every evaluation set, logged under test/." + _KEYS,
    "predict": "Write every completion of the evaluation sets with its scores to predictions.jsonl." + _KEYS,
}
