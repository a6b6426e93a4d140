"""Processors and tokenizers from a model folder, with or without torchvision."""

from importlib.util import find_spec
from inspect import signature
from typing import Any


def image_only(processor_class: type) -> type:
    """Return a subclass of a Qwen-VL processor without its video part, the only one that needs torchvision.

    Its output for text and images is that of the full processor.
    """
    from transformers import ProcessorMixin

    def __init__(  # noqa: N807
        self: Any, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None, **kwargs: Any
    ) -> None:
        self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
        # The mixin builds one part per argument of this very signature, so no video part is ever looked for.
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)

    return type(f"ImageOnly{processor_class.__name__}", (processor_class,), {"__init__": __init__})


def load_processor(path: str, model_type: str, tokenizer: Any, **kwargs: Any) -> Any:
    """Load the processor of a vision-language model and give it this tokenizer.

    Args:
        path: Model folder or Hub name.
        model_type: The configuration's, e.g. ``"qwen2_5_vl"``.
        tokenizer: From ``load_tokenizer``.
        **kwargs: Passed to ``from_pretrained`` (revision, min_pixels, max_pixels, ...).
    """
    processor = _processor_class(model_type).from_pretrained(path, **kwargs)
    processor.tokenizer = tokenizer
    return processor


def load_tokenizer(path: str, **kwargs: Any) -> Any:
    """Load the tokenizer that the folder holds, also where the model type's usual class is another one.

    AutoTokenizer goes by the model type: a hand-made tokenizer.json of a Qwen2 model would get Qwen2's own splitting of
    words, and other ids without a word. A folder that names the generic class gets the generic class.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast
    from transformers.models.auto.tokenization_auto import get_tokenizer_config

    revision = kwargs.get("revision")
    named = get_tokenizer_config(path, revision=revision).get("tokenizer_class")
    generic = named in ("PreTrainedTokenizerFast", "TokenizersBackend")
    return (PreTrainedTokenizerFast if generic else AutoTokenizer).from_pretrained(path, **kwargs)


def _processor_class(model_type: str) -> Any:
    import transformers
    from transformers import AutoProcessor
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

    name = PROCESSOR_MAPPING_NAMES.get(model_type)
    if find_spec("torchvision") is not None or not isinstance(name, str):
        return AutoProcessor
    processor_class = getattr(transformers, name)
    if "video_processor" not in signature(processor_class.__init__).parameters:
        return AutoProcessor
    if not model_type.startswith("qwen"):
        raise ValueError(f"the processor of {model_type} needs torchvision: pip install torchvision, matching torch")
    return image_only(processor_class)
