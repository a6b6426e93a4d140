"""The tokenizer of the built-in model: bytes, whole words of its tasks, single digits, and a handful of marks."""

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

VISION_START, VISION_END = "<|vision_start|>", "<|vision_end|>"
IMAGE_PAD, VIDEO_PAD = "<|image_pad|>", "<|video_pad|>"
END_OF_TURN, PADDING = "<|im_end|>", "<|endoftext|>"
SPECIAL_TOKENS = (
    PADDING,
    "<|im_start|>",
    END_OF_TURN,
    VISION_START,
    VISION_END,
    "<|vision_pad|>",
    IMAGE_PAD,
    VIDEO_PAD,
)
"""Names of Qwen2-VL, so that processors and chat templates made for it fit."""

MARKS = ("<think>", "</think>", "\\boxed{")
"""One token each, and ordinary ones: decoding keeps them, as the format reward needs."""

TASK_TEXT = """
user assistant system
What is the area of perimeter rectangle sum three bars
Think inside then answer in
Which emotion does face show Choose from
amusement awe contentment excitement anger disgust fear sadness
brows level raised lowered uneven worried eyes arched wide closed star narrow crying
mouth laughing round smiling clenched tongue wavy frowning
Two angles a triangle are and degrees third angle The sides its A long quadrilateral
Tom has boxes apples more How many he legs right guess
"""
"""Every word of the built-in tasks and of their demonstrations is one token, with and without a space before it."""

COMMON_TEXT = """
to for with it on at by as be was were will had have that this there they them her his she him you we each per all
if how much does did do an one two both four five six ten half twice times less than total number cost costs
day days week hour hours minutes year years old money pay buy made make left first second after before and every
find measure length line side circle square point triangle sin cos frac sqrt circ
"""
"""Frequent words of public word problems, so that those do not fall apart into single letters."""

# How Qwen2 cuts text before merging: words with at most one sign before them, single digits, runs of signs, blanks.
_CUT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Qwen's turns without its default system message, which would double the length of these prompts."""


def build_tokenizer() -> PreTrainedTokenizerFast:
    r"""Build the byte-level BPE tokenizer; decoding what it encodes gives any text back unchanged.

    Example:
        >>> tokenizer = build_tokenizer()
        >>> tokenizer.tokenize("<think>4*6=24</think>")
        ['<think>', '4', '*', '6', '=', '2', '4', '</think>']
        >>> tokenizer.decode(tokenizer.encode("naïve  \n≤ 7"))
        'naïve  \n≤ 7'
    """
    tokenizer = Tokenizer(models.BPE())
    # No normaliser: Qwen's NFC would change text that arrives in another form.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_CUT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    _learn_merges(tokenizer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in MARKS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END_OF_TURN,
        pad_token=PADDING,
        clean_up_tokenization_spaces=False,
        model_max_length=2048,
        padding_side="left",
    )


def _learn_merges(tokenizer: Tokenizer) -> None:
    words = sorted({*TASK_TEXT.split(), *COMMON_TEXT.split()})
    trainer = trainers.BpeTrainer(
        vocab_size=4096,  # above what the words need: training ends when every word is one token
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    # An empty line stands between question and instruction.
    forms = ["\n\n", *(form for word in words for form in (word, f" {word}"))]
    tokenizer.train_from_iterator(forms * 2, trainer)  # a pair has to be seen twice to be merged
