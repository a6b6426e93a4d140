import jinja2
import pytest

from mapo.policies.chat import as_parts, as_text, count_images, find_prefill, text_parts

TURN = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
OPEN = "{% if add_generation_prompt %}<|im_start|>assistant\n"
# As Qwen3 does: an answer that closes the conversation is shown with an empty block of thoughts, earlier ones without.
QWEN3 = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}{{ m.content }}<|im_end|>\n"
    "{% endfor %}"
)
STRICT = "{% for m in messages %}{% if loop.index > 1 %}{{ raise_exception('one turn') }}{% endif %}Q{% endfor %}"


def renderer(template):
    def fail(message):
        raise jinja2.TemplateError(message)

    compiled = jinja2.Environment().from_string(template)
    return lambda messages, add_generation_prompt: compiled.render(
        messages=messages, add_generation_prompt=add_generation_prompt, raise_exception=fail
    )


@pytest.mark.parametrize(
    ("template", "prefill"),
    [
        (TURN + OPEN + "{% endif %}", ""),
        (TURN + OPEN + "<think>\n{% endif %}", "<think>\n"),
        (QWEN3 + OPEN + "<think>\n{% endif %}", "<think>\n"),
        (QWEN3 + OPEN + "<think>\n\n</think>\n\n{% endif %}", "<think>\n\n</think>\n\n"),
        (STRICT + "{% if add_generation_prompt %}A:<think>\n{% endif %}", "<think>\n"),
        (STRICT + "{% if add_generation_prompt %}A:{% endif %}", ""),
        ("{% for m in messages %}{{ m.content }}\n{% endfor %}", ""),
    ],
)
def test_prefill_is_what_goes_beyond_the_header(template, prefill):
    assert find_prefill(renderer(template)) == prefill


def test_content_in_both_dialects():
    messages = [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]
    assert as_text(messages) == [{"role": "user", "content": "ab"}]
    assert as_parts(as_text(messages)) == [{"role": "user", "content": [{"type": "text", "text": "ab"}]}]
    assert as_parts(messages) == messages


def test_images_are_counted_over_all_messages():
    image = {"type": "image"}
    assert count_images([{"content": [image, image]}, {"content": "text"}, {"content": [image]}]) == 3


def test_texts_are_read_in_both_dialects():
    parts = [{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}]
    assert text_parts([{"content": "s"}, {"content": parts}]) == ["s", "a", "b"]
