"""Demonstrations for the warm start: worked problems, first clean, then of mixed quality."""

from random import Random

from mapo.data.problem import Problem, Solution


def completion(solution: Solution) -> str:
    r"""Return the completion that thinks and then boxes the answer.

    Example:
        >>> print(completion(Solution("4*6=24", "24")))
        <think>4*6=24</think>\boxed{24}
    """
    return f"<think>{solution.thought}</think>\\boxed{{{solution.answer}}}"


def guess(problem: Problem, rng: Random) -> Solution:
    """Return an answer out of the blue."""
    return Solution("guess", rng.choice(problem.choices) if problem.choices else str(rng.randint(4, 99)))


def slip(problem: Problem, rng: Random) -> Solution:
    """Return the right thought, except that its end and the answer are wrong."""
    thought, answer = problem.worked
    if problem.choices:
        return Solution(thought, rng.choice([choice for choice in problem.choices if choice != answer]))
    wrong = str(max(1, int(answer) + rng.choice((-10, -2, -1, 1, 2, 10))))
    return Solution(thought.removesuffix(answer) + wrong, wrong)


def badly_formatted(solution: Solution, rng: Random) -> str:
    """Return a completion that lacks a tag, the thought or the box."""
    thought, answer = solution
    return rng.choice((f"{thought}\\boxed{{{answer}}}", f"<think>{thought}</think>{answer}", f"\\boxed{{{answer}}}"))


def mixed_completion(problem: Problem, rng: Random) -> str:
    """Return a completion of mixed quality: 35 % right, 65 % guesses, slips and misreadings; 15 % badly formatted."""
    quality = rng.choices(("right", "guess", "slip", "misread"), weights=(35, 25, 20, 20))[0]
    solution = {
        "right": lambda: problem.worked,
        "guess": lambda: guess(problem, rng),
        "slip": lambda: slip(problem, rng),
        "misread": lambda: problem.misread,
    }[quality]()
    return badly_formatted(solution, rng) if rng.random() < 0.15 else completion(solution)
