"""Edit Prompts: a source and a target prompt, and how the words of one follow those of the other."""

from functools import partial

from ..fatezero.compat import io, schema, ui
from ..fatezero.network.option_keys import TOKENS
from ..fatezero.prompts.alignment import AUTO, MODES
from ..fatezero.prompts.meaning import lean_towards, meant
from ..fatezero.prompts.prompt_edit import make_prompt_edit
from ..fatezero.prompts.tokens import PromptTokens, tokenize_prompt
from ..fatezero.prompts.word_fields import ATTENTION, BY_WORD, MEANING, read_factors
from ..fatezero.refusal import Refusal
from .shared.checked import checked
from .shared.foresight import look_ahead
from .shared.wire_types import PromptEditType


class EditPrompts(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="FateZeroEditPrompts",
            display_name="Edit Prompts",
            category="FateZero/prompts",
            essentials_category="Video Tools",
            description="Encodes the prompt that describes a clip and the prompt you want instead, and aligns their "
            "words: words in both keep the clip's attention, the others make the edit.",
            search_aliases=[
                "video prompt edit",
                "change prompt",
                "edit prompt",
                "edit video",
                "swap words",
                "prompt to prompt",
                "cross attention control",
                "word swap",
                "prompt alignment",
            ],
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
            is_output_node=True,  # so that the table can be looked at without running the edit
            inputs=[
                io.Clip.Input(
                    "clip",
                    tooltip="The text encoder of an SD 1.x, SD 2.x or SDXL checkpoint, or of Wan, LTX-Video or "
                    "HunyuanVideo.",
                ),
                io.String.Input(
                    "source_prompt",
                    multiline=True,
                    dynamic_prompts=True,
                    tooltip="What the clip shows, such as: a silver jeep driving down a curvy road.",
                ),
                io.String.Input(
                    "target_prompt",
                    multiline=True,
                    dynamic_prompts=True,
                    tooltip="The same sentence with words changed, added or removed, such as: a red "
                    "porsche driving down a curvy road.",
                ),
                io.Combo.Input(
                    "mode",
                    options=list(MODES),
                    default=AUTO,
                    tooltip="swap: a word in place of another takes over its attention, and with it its "
                    "place and shape. refine: changed words find their own place. auto: swap when "
                    "words are replaced one for one, else refine.",
                ),
                io.String.Input(
                    "emphasis",
                    default="",
                    tooltip="Target words to strengthen or weaken, each with a factor from -20 to 20, such "
                    "as: crystal:5, swarovski:3. 1 leaves a word as it is.",
                ),
                io.String.Input(
                    "mask_words",
                    default="",
                    tooltip="Source words that name what to edit, such as: silver jeep. Empty: the source "
                    "words that changed.",
                ),
                io.String.Input(
                    "target_mask_words",
                    default="",
                    tooltip="Target words that name what the edit makes, for blending latents. Empty: the "
                    "target words that changed.",
                ),
                io.String.Input(
                    "windows",
                    default="",
                    tooltip="Target words that follow the source's attention only in a part of the steps, "
                    "counted from the noisiest, such as: silver:0.8, jeep:0.2-0.9; 0 is never.",
                ),
                io.Combo.Input(
                    "emphasis_acts_on",
                    options=[BY_WORD, ATTENTION, MEANING],
                    default=BY_WORD,
                    optional=True,
                    advanced=True,
                    tooltip="What emphasis makes more or less of. attention of the word: how much the picture looks at "
                    "it, as in the papers. meaning of the prompt: what the word adds to all of the encoded prompt; "
                    "styles need this, since the words after them carry them along. automatic: the meaning for a "
                    "style, light or camera that both prompts name, the attention of all other words.",
                ),
            ],
            outputs=[
                io.Conditioning.Output("source", tooltip="The source prompt, for DDIM Invert + Store Attention."),
                io.Conditioning.Output("target", tooltip="The target prompt, for the sampler's positive."),
                PromptEditType.Output("edit", tooltip="The alignment of the prompts, for Attention Blend."),
                io.String.Output(
                    "alignment",
                    tooltip="The alignment as text: what is kept (=), replaced (->), new (+) "
                    "and removed (-), and what is masked.",
                ),
            ],
        )

    @classmethod
    @checked
    def execute(
        cls,
        clip,
        source_prompt,
        target_prompt,
        mode,
        emphasis,
        mask_words,
        target_mask_words,
        windows,
        emphasis_acts_on=ATTENTION,  # what files from before this input mean, which do not name it
    ) -> io.NodeOutput:
        source = tokenize_prompt(clip, source_prompt, "source prompt")
        target = tokenize_prompt(clip, target_prompt, "target prompt")
        fields = mode, emphasis, mask_words, target_mask_words, windows, emphasis_acts_on
        edit = make_prompt_edit(source, target, *fields)
        if cls.hidden is not None:
            look_ahead(cls.hidden.prompt, cls.hidden.unique_id, edit)
        table = edit.summary()
        wanted = _encode(clip, target)
        factors = meant(edit, read_factors(target, emphasis, "emphasis"))
        if factors:
            wanted = lean_towards(wanted, target, factors, partial(_read_and_encode, clip))
        return io.NodeOutput(_encode(clip, source), wanted, edit, table, ui=ui.PreviewText(table))


def _read_and_encode(clip, text: str) -> tuple[PromptTokens, list]:
    tokens = tokenize_prompt(clip, text, may_be_empty=True)
    return tokens, _encode(clip, tokens)


def _encode(clip, tokens: PromptTokens) -> list:
    """The prompt's CONDITIONING with its tokens among its options."""
    conditioning = clip.encode_from_tokens_scheduled(clip.tokenize(tokens.text), add_dict={TOKENS: tokens})
    for embedding, _ in conditioning:
        if embedding.shape[1] != tokens.length:
            raise Refusal(
                f"'clip' encodes {tokens.length} tokens as {embedding.shape[1]}; connect "
                f"the CLIP of an SD 1.x, SD 2.x or SDXL checkpoint without nodes that change its prompts."
            )
    return conditioning
