"""What benchmarks of emotions share: one picture, one question, one class of a closed set."""

from pathlib import Path
from typing import Any

from mapo.data.benchmark import Benchmark
from mapo.data.closed_question import closed_question
from mapo.data.official_layout import pictures
from mapo.data.rows import RowError
from mapo.types import Prompt


class EmotionBenchmark(Benchmark):
    """Pictures that each evoke one of some emotions; the classes are every row's ``choices``.

    Attributes:
        what: What the classes are, as the question calls them.
        labels: The classes, in the order in which the question names them.
    """

    what: str = "emotion"
    labels: tuple[str, ...]

    def ask(self, sample_id: str, label: str, images: Any, *, question: str | None = None, **metadata: Any) -> Prompt:
        """Return the prompt that asks for a picture's class.

        Args:
            sample_id: As ``prompt``.
            label: The right class.
            images: The picture, or a list of pictures, as ``mapo.data.official_layout.pictures`` takes them.
            question: The text; names all classes when None.
            **metadata: As ``prompt``; ``categories`` holds the class in any case, as "label".

        Raises:
            RowError: The label is none of the classes, or the picture is missing.
        """
        if label not in self.labels:
            raise RowError(sample_id, f"its label {label!r} is none of the classes {', '.join(self.labels)}")
        shown = pictures(self.path, sample_id, images)
        text = closed_question(self.what, self.labels, verb="evoke") if question is None else question
        categories = {"label": label, **metadata.pop("categories", {})}
        return self.prompt(sample_id, text, label, images=shown, choices=self.labels, categories=categories, **metadata)

    def split_file(self, split: str, ending: str) -> Path | None:
        """Return the file that lists a split, in the folder of a benchmark that is not on the Hub.

        Args:
            split: The split.
            ending: What follows the split in the file's name: ".csv".

        Returns:
            None where the folder has no such file of any split.

        Raises:
            ValueError: There is no such folder, or it has files of other splits only.
        """
        folder = Path(self.path)
        if not folder.is_dir():
            raise ValueError(
                f"path {self.path!r} is no folder. {type(self).__name__} is not on the Hugging Face Hub: name the "
                f"folder that holds {split}{ending} and images/"
            )
        found = {file.name.removesuffix(ending): file for file in sorted(folder.glob(f"*{ending}"))}
        if found and split not in found:
            raise ValueError(f"{self.path!r} has no {split}{ending}; its splits are {', '.join(found)}")
        return found.get(split)
