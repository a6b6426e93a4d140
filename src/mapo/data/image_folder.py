"""Pictures sorted by their class: in folders named after it, or with names that begin with it."""

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lightning.pytorch.utilities import rank_zero_warn
from typing_extensions import override

from mapo.data.base import PromptDataModule
from mapo.data.closed_question import closed_question
from mapo.data.rows import LazyPrompts, RowError
from mapo.types import Prompt

_PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
_ONE_SPLIT = "all"


class Picture(NamedTuple):
    """A file and the class that its place or name gives it; None where it gives none."""

    file: Path
    label: str | None


class ImageFolder(PromptDataModule):
    """Pictures of a closed set of classes: ``<root>/<split>/<label>/1.jpg``, or ``<root>/<label>/1.jpg`` of one split.

    With ``label_from="file_name"`` the files are ``<root>/<split>/<label>_1.jpg`` or ``<root>/<label>_1.jpg``: the
    label is what stands before the last underscore. A root without splits is one split, ``all``. Every evaluated split
    is a set ``<name>_<split>``, or ``<name>`` where there is only the one. Rows come in a fixed mixed order, so that
    the first of them (``max_eval_samples``) are of all classes; a row is known by the path of its file in the root.

    Two emotion benchmarks come in this form, with Mikels' eight classes (amusement, anger, awe, contentment, disgust,
    excitement, fear, sadness); no licence of either is known here, and the pictures' rights stay with their owners:

    - FI of You et al. 2016 (https://arxiv.org/abs/1605.02677), about 23,308 pictures in ``<root>/<label>/``;
    - ArtPhoto of Machajdik and Hanbury 2010 (https://doi.org/10.1145/1873951.1873965), 806 pictures in one flat folder
      as ``amusement_0001.jpg``: ``label_from="file_name"``.

    For both, ``what="emotion"`` and ``verb="evoke"`` ask the usual question.
    """

    def __init__(
        self,
        path: str,
        *,
        name: str | None = None,
        label_from: Literal["folder", "file_name"] = "folder",
        labels: Sequence[str] | None = None,
        what: str = "class",
        verb: str = "show",
        question: str | None = None,
        train_split: str = "train",
        eval_splits: Sequence[str] | None = None,
        **settings: Any,
    ) -> None:
        """Name the folder.

        Args:
            path: The root.
            name: What the evaluation sets are called; the root's own name in lower case when None.
            label_from: Whether a picture's class is its folder's name, or the beginning of its own.
            labels: The classes in the order in which the question names them; those found, sorted, when None.
            what: What the classes are, as a noun, for the usual question.
            verb: What a picture does with one of them, for the usual question.
            question: Asked instead of the usual one; ``{labels}`` in it is replaced by the classes.
            train_split: Split to train on.
            eval_splits: Splits to evaluate; all but the one to train on when None.
            **settings: As ``PromptDataModule``.

        Raises:
            ValueError: ``label_from`` is neither choice, or the name cannot stand in that of a figure.
        """
        super().__init__(**settings)
        if label_from not in ("folder", "file_name"):
            raise ValueError(f"label_from must be 'folder' or 'file_name', got {label_from!r}")
        if name is not None and (not name.strip() or "/" in name):
            raise ValueError(f"name must be a name without a slash, such as 'artphoto', got {name!r}")
        self.path = path
        folder = re.sub(r"[^a-z0-9]+", "_", Path(path).resolve().name.lower()).strip("_")
        self.set_name = name or folder or "image_folder"
        self.label_from = label_from
        self.labels = None if labels is None else tuple(labels)
        self.what, self.verb, self.question = what, verb, question
        self.train_split = train_split
        self.eval_splits = None if eval_splits is None else tuple(eval_splits)
        self._found: dict[str, list[Picture]] | None = None

    @override
    def train_prompts(self) -> Sequence[Prompt]:
        return self.read(self.train_split)

    @override
    def eval_prompts(self) -> Mapping[str, Sequence[Prompt]]:
        splits = self.eval_splits
        if splits is None:
            splits = tuple(split for split in self._splits() if split != self.train_split)
        names = {split: self.set_name if split == _ONE_SPLIT else f"{self.set_name}_{split}" for split in splits}
        return {name: self.read(split) for split, name in names.items()}

    def read(self, split: str) -> Sequence[Prompt]:
        """Return the prompts of a split, each made when it is asked for.

        Raises:
            ValueError: There is no such split, or the classes are no closed set.
        """
        found = self._splits()
        if split not in found:
            raise ValueError(f"{self.path!r} has no split {split!r}; its splits are {', '.join(found)}")
        labels = self.labels or tuple(sorted({p.label for rows in found.values() for p in rows if p.label}))
        asked = closed_question(self.what, labels, verb=self.verb)  # also refuses what is no set of classes
        if self.question is not None:
            asked = self.question.replace("{labels}", ", ".join(labels))
        return LazyPrompts(found[split], lambda _, picture: self._prompt(picture, labels, asked))

    def _prompt(self, picture: Picture, labels: tuple[str, ...], question: str) -> Prompt:
        sample_id, label = picture.file.relative_to(self.path).as_posix(), picture.label
        if label is None:
            raise RowError(sample_id, "its name has no class before an underscore; rename it, as in 'awe_1.jpg'")
        if label not in labels:
            raise RowError(
                sample_id, f"its class {label!r} is none of {', '.join(labels)}; add it to labels, or remove it"
            )
        return self.prompt(
            sample_id, question, label, images=[str(picture.file)], choices=list(labels), categories={"label": label}
        )

    def _splits(self) -> dict[str, list[Picture]]:
        """Return the pictures of every split, and warn once of what is none."""
        if self._found is None:
            root = Path(self.path)
            if not root.is_dir():
                raise ValueError(f"{self.path!r} is no folder; name the one that holds the pictures' folders")
            folders = _split_folders(root, depth=1 if self.label_from == "folder" else 0)
            ignored = [] if _ONE_SPLIT in folders else _files(root)
            self._found = {}
            for split, folder in folders.items():
                pictures = list(_pictures(folder, self.label_from, ignored))
                self._found[split] = sorted(pictures, key=lambda p: _mixed(p.file.relative_to(root)))
            if ignored:
                named = ", ".join(str(file.relative_to(root)) for file in ignored[:5])
                rank_zero_warn(
                    f"{self.path!r}: {len(ignored)} files are no pictures of a class, and are ignored: {named}"
                )
        return self._found


def _split_folders(root: Path, depth: int) -> dict[str, Path]:
    """Return the folder of every split; ``depth`` is that of pictures below a split's folder."""
    splits = {folder.name: folder for folder in _folders(root) if _holds_pictures(folder, depth)}
    if _holds_pictures(root, depth):
        if splits:
            raise ValueError(
                f"{str(root)!r} holds both pictures of its own and splits ({', '.join(splits)}); keep to one of the two"
            )
        return {_ONE_SPLIT: root}
    if not splits:
        raise ValueError(
            f"{str(root)!r} holds no pictures as <split>/<label>/<file> or <label>/<file> (label_from='folder'), or as "
            "<split>/<label>_<file> or <label>_<file> (label_from='file_name'); check path and label_from"
        )
    return splits


def _holds_pictures(folder: Path, depth: int) -> bool:
    if depth:
        return any(_holds_pictures(inner, depth - 1) for inner in _folders(folder))
    return any(_is_picture(file) for file in folder.iterdir())


def _folders(folder: Path) -> list[Path]:
    return sorted(inner for inner in folder.iterdir() if inner.is_dir() and not inner.name.startswith("."))


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.is_file())


def _pictures(folder: Path, label_from: str, ignored: list[Path]) -> Iterator[Picture]:
    """Yield a split's pictures, and put its other files on the list."""
    holders = [folder] if label_from == "file_name" else _folders(folder)
    if label_from == "folder":
        ignored += _files(folder)
    for holder in holders:
        for file in sorted(holder.iterdir()):
            if not _is_picture(file):
                ignored.append(file)
            elif label_from == "folder":
                yield Picture(file, holder.name)
            else:
                yield Picture(file, file.stem.rpartition("_")[0] or None)


def _is_picture(file: Path) -> bool:
    return file.suffix.lower() in _PICTURES and file.is_file() and not file.name.startswith(".")


def _mixed(file: Path) -> bytes:
    """Return what puts files into an order that is fixed, and has nothing to do with their classes."""
    return hashlib.blake2b(os.fsencode(file), digest_size=8).digest()
