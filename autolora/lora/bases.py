"""Bases: which base model a LoRA file was made for, and by which tool, from the names and shapes of its tensors.

A file's modules are compared with the linears of each known base: their names (in diffusers' spelling and in that of
the model's own code), their shapes and the number of blocks. The base that explains the most modules is the file's.
The result is a statement about a file; `autolora.lora.key_accounting` decides what is read.

Sources: diffusers 0.42.1 (names and shapes of its transformers without weights), and the names in the models' own code.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from autolora.errors import RefusedFile
from autolora.lora.decompositions import ROLE_SETS, Shape, compute_size
from autolora.lora.formats import parse_key
from autolora.lora.slots import Slot

FLUX_1 = "FLUX.1"
SURE, LIKELY, UNKNOWN = "sure", "likely", "unknown"
MAX_KEYS = 20_000
"""keys that are examined: a LoRA of the largest base has a tenth"""
MAX_KEY_CHARS = 256
MIN_SHARE = 0.5
"""a base must explain more than this share of the modules"""
SURE_SHARE = 0.9
"""a base is sure if it explains this share, and no other base explains as many"""
MAX_MULTIPLE = 16
"""sizes in the tables up to this one are multiples of the base's width; larger ones are numbers of channels"""
MAX_WORDS = 5
"""of a name outside of blocks"""
MAX_BLOCKS = 10_000
MIN_COMPLETE = 10
"""blocks of a base, all updated, that show surely that a file is not for a base with more blocks of these names"""
MAX_LISTED = 4
"""widths and bases that a description lists"""

# a line: stacks (none: outside of blocks), then groups of rows x columns and modules; sizes up to MAX_MULTIPLE are
# multiples of the base's width, ? is any size, * any module, and {a,b} stands for several names
_STREAMS = """
transformer_blocks: 1x1 attn.to_{q,k,v,out.0,add_out} attn.add_{q,k,v}_proj | 3x1 attn.to_{qkv,added_qkv}
transformer_blocks: 4x1 ff{,_context}.net.0.proj | 1x4 ff{,_context}.net.2
single_transformer_blocks: 1x1 attn.to_{q,k,v} | 3x1 attn.to_qkv | 4x1 proj_mlp | 1x5 proj_out
double_blocks: 3x1 {img,txt}_attn.qkv | 1x1 {img,txt}_attn.proj | 4x1 {img,txt}_mlp.0 | 1x4 {img,txt}_mlp.2
single_blocks: 7x1 linear1 | 3x1 linear1_qkv | 1x5 linear2
"""
_MODULATED = f"""{_STREAMS}
transformer_blocks: 6x1 norm1{{,_context}}.linear
single_transformer_blocks: 3x1 norm.linear
"""
_FLUX_1 = f"""{_MODULATED}
double_blocks: 6x1 {{img,txt}}_mod.lin | 3x1 processor.qkv_lora{{1,2}} | 1x1 processor.proj_lora{{1,2}}
single_blocks: 3x1 modulation.lin norm.linear processor.qkv_lora | 7x1 to_qkv_mlp | 1x5 proj_out processor.proj_lora
blocks: 3x1 attn.{{a,b}}_to_qkv | 1x1 attn.{{a,b}}_to_out | 4x1 ff_{{a,b}}.0 | 1x4 ff_{{a,b}}.2
blocks: 6x1 norm1_{{a,b}}.linear
"""
_CHROMA = f"{_STREAMS}\n: ? distilled_guidance_layer"
_HUNYUAN = f"""{_MODULATED}
double_blocks: 4x1 {{img,txt}}_mlp.fc1 | 1x4 {{img,txt}}_mlp.fc2 | 6x1 {{img,txt}}_mod.linear
double_blocks: 1x1 {{img,txt}}_attn_{{q,k,v}}
single_blocks: 3x1 modulation.linear
: ? txt_in.individual_token_refiner context_embedder.token_refiner
"""
_OVIS = """
transformer_blocks: 1x1 attn.to_{q,k,v,out.0,add_out} attn.add_{q,k,v}_proj
transformer_blocks: 8x1 ff{,_context}.net.0.proj | 1x4 ff{,_context}.net.2 | 6x1 norm1{,_context}.linear
single_transformer_blocks: 1x1 attn.to_{q,k,v} | 8x1 proj_mlp | 1x5 proj_out | 3x1 norm.linear
"""
_FLUX_2 = """
transformer_blocks: 1x1 attn.to_{q,k,v,out.0,add_out} attn.add_{q,k,v}_proj | 3x1 attn.to_{qkv,added_qkv}
transformer_blocks: 6x1 ff{,_context}.linear_in | 1x3 ff{,_context}.linear_out
single_transformer_blocks: 9x1 attn.to_qkv_mlp_proj | 1x4 attn.to_out
double_blocks: 3x1 {img,txt}_attn.qkv | 1x1 {img,txt}_attn.proj | 6x1 {img,txt}_mlp.0 | 1x3 {img,txt}_mlp.2
single_blocks: 9x1 linear1 | 1x4 linear2
: ? double_stream_modulation_{img,txt} single_stream_modulation time_guidance_embed
"""
_FLUX_3 = """
mode_blocks.image{,_cond} txt_mode_blocks: 1x1 attn.to_{q,k,v,out.0} | 6x1 ff.linear_in | 1x3 ff.linear_out
single_transformer_blocks: 1x1 attn.to_{q,k,v,out.0} | 6x1 ff.linear_in | 1x3 ff.linear_out
: ? early_stream_modulations single_stream_modulations x_embedders
"""
_AURA = """
joint_transformer_blocks: 1x1 attn.to_{q,k,v,out.0,add_out} attn.add_{q,k,v}_proj | 6x1 norm1{,_context}.linear
joint_transformer_blocks: 8192x1 ff{,_context}.linear_{1,2} | 1x8192 ff{,_context}.out_projection
single_transformer_blocks: 1x1 attn.to_{q,k,v,out.0} | 8192x1 ff.linear_{1,2} | 1x8192 ff.out_projection
single_transformer_blocks: 6x1 norm1.linear
"""
_Z_IMAGE = """
layers noise_refiner context_refiner: 1x1 attention.to_{q,k,v,out.0} attention.out | 3x1 attention.qkv
layers noise_refiner context_refiner: 10240x1 feed_forward.w{1,3} | 1x10240 feed_forward.w2 | 4x256 adaLN_modulation.0
: ? cap_embedder all_x_embedder all_final_layer
"""
_FIBO_2 = """
layers noise_refiner: 1x1 attention.to_{q,k,v,out.0} | 9536x1 feed_forward.w{1,3} | 1x9536 feed_forward.w2
layers noise_refiner: 4x256 adaLN_modulation.0 | 1x1 cross_attention.to_{q,out.0} | 1x7680 cross_attention.to_{k,v}
perceiver.layers: ? *
"""
_IDEOGRAM = """
layers: 1x1 attention.to_{q,k,v,out.0} attention.o | 3x1 attention.qkv
layers: 12288x1 feed_forward.w{1,3} | 1x12288 feed_forward.w2 | 4x512 adaln_modulation
"""
_LUMINA = """
layers noise_refiner context_refiner: 1x1 attn.to_{q,out.0} attention.out | 768x1 attn.to_{k,v} | 3840x1 attention.qkv
layers noise_refiner context_refiner: 4x1 feed_forward.linear_{1,3} feed_forward.w{1,3} | 1x4 feed_forward.{linear_2,w2}
layers noise_refiner: 4x1024 norm1.linear adaLN_modulation.1
"""
_ERNIE = "layers: 1x1 self_attention.to_{q,k,v,out.0} | 8192x1 mlp.{gate,up}_proj | 1x8192 mlp.linear_fc2"
_KREA_2 = """
transformer_blocks: 1x1 attn.to_{q,gate,out.0} | 1536x1 attn.to_{k,v} | 9216x1 attn.to_qkv
transformer_blocks: 16384x1 ff.{gate,up} | 1x16384 ff.down
blocks: 1x1 attn.{wq,gate,wo} | 1536x1 attn.w{k,v} | 16384x1 mlp.{gate,up} | 1x16384 mlp.down
{text_fusion,txtfusion}.{layerwise,refiner}_blocks: ? *
: ? text_fusion txtfusion tmlp tproj txtmlp time_mod_proj last
"""
_QWEN = """
transformer_blocks: 1x1 attn.to_{q,k,v,out.0,add_out} attn.add_{q,k,v}_proj | 3x1 attn.to_{qkv,added_qkv}
transformer_blocks: 4x1 {img,txt}_mlp.net.0.proj | 1x4 {img,txt}_mlp.net.2 | 6x1 {img,txt}_mod.1
"""
_QWEN_21 = "transformer_blocks: 1x1 attn.to_{q,k,v,out.0} | 3x1 img_mlp.{proj,gate_layer} | 1x3 img_mlp.out"
_SD_3 = """
transformer_blocks: 1x1 attn{,2}.to_{q,k,v,out.0} attn.add_{q,k,v}_proj attn.to_add_out | ? norm1{,_context}.linear
transformer_blocks: 4x1 ff{,_context}.net.0.proj | 1x4 ff{,_context}.net.2
joint_blocks: 3x1 {x,context}_block.attn{,2}.qkv | 1x1 {x,context}_block.attn{,2}.proj
joint_blocks: 4x1 {x,context}_block.mlp.fc1 | 1x4 {x,context}_block.mlp.fc2 | ? {x,context}_block.adaLN_modulation.1
"""
_WAN = """
blocks: 1x1 {self,cross}_attn.{q,k,v,o} cross_attn.{k,v}_img attn{1,2}.to_{q,k,v,out.0} attn2.add_{k,v}_proj
blocks: %dx1 ffn.{0,net.0.proj} | 1x%d ffn.{2,net.2}
"""
_COSMOS = """
blocks: 1x1 self_attn.{q,k,v,output}_proj cross_attn.{q,output}_proj | ? cross_attn.{k,v}_proj
blocks: 4x1 mlp.layer1 | 1x4 mlp.layer2 | ? adaln_modulation_{self_attn,cross_attn,mlp}.{1,2}
transformer_blocks: 1x1 attn{1,2}.to_{q,out.0} attn1.to_{k,v} | 1x1024 attn2.to_{k,v} | 4x1 ff.net.0.proj | 1x4 ff.net.2
transformer_blocks: 256x1 norm{1,2,3}.linear_1 | 3x256 norm{1,2,3}.linear_2
llm_adapter.blocks: ? *
"""
_LTX = """
transformer_blocks: 1x1 attn{1,2}.to_{q,k,v,out.0} | 4x1 ff.net.0.proj | 1x4 ff.net.2
transformer_blocks: ? audio_attn{1,2}.to_{q,k,v,out.0} {audio_to_video,video_to_audio}_attn.to_{q,k,v,out.0}
"""
_COGVIDEO = "transformer_blocks: 1x1 attn1.to_{q,k,v,out.0} | 4x1 ff.net.0.proj | 1x4 ff.net.2 | 6x512 norm{1,2}.linear"
_HIDREAM = "double_stream_blocks single_stream_blocks: ? *"
_KANDINSKY = "visual_transformer_blocks text_transformer_blocks: ? *"
_PRX = """
blocks: 3x1 attention.img_qkv_proj | 2x1 attention.txt_kv_proj | 1x1 attention.to_out.0 | 6x1 modulation.lin
blocks: 6272x1 {gate,up}_proj | 1x6272 down_proj
"""


@dataclass(frozen=True, slots=True)
class Base:
    """A base model: the linears that LoRAs update, the width and the number of blocks per stack."""

    name: str
    linears: str
    """a table as above"""
    width: int
    depths: tuple[tuple[str, int], ...]
    """names of a stack of blocks -> number of blocks; other stacks may have any number"""


_DOUBLE, _SINGLE = "transformer_blocks double_blocks blocks", "single_transformer_blocks single_blocks"
_ONE = "transformer_blocks blocks layers joint_blocks"
BASES = (
    Base(FLUX_1, _FLUX_1, 3072, ((_DOUBLE, 19), (_SINGLE, 38))),
    Base("Chroma", _CHROMA, 3072, ((_DOUBLE, 19), (_SINGLE, 38))),
    Base("FLUX.2-dev", _FLUX_2, 6144, ((_DOUBLE, 8), (_SINGLE, 48))),
    Base("FLUX.2-klein 9B", _FLUX_2, 4096, ((_DOUBLE, 8), (_SINGLE, 24))),
    Base("FLUX.2-klein 4B", _FLUX_2, 3072, ((_DOUBLE, 5), (_SINGLE, 20))),
    Base("FLUX.3", _FLUX_3, 3072, ((_SINGLE, 28),)),
    Base("Z-Image", _Z_IMAGE, 3840, (("layers", 30), ("noise_refiner context_refiner", 2))),
    Base("Krea 2", _KREA_2, 6144, ((_ONE, 28),)),
    Base("Qwen-Image", _QWEN, 3072, ((_ONE, 60),)),
    Base("Qwen-Image-2.1", _QWEN_21, 4096, ((_ONE, 32),)),
    Base("Stable Diffusion 3 Medium", _SD_3, 1536, ((_ONE, 24),)),
    Base("Stable Diffusion 3.5 Large", _SD_3, 2432, ((_ONE, 38),)),
    Base("Wan 14B", _WAN % (13824, 13824), 5120, ((_ONE, 40),)),
    Base("Wan 5B", _WAN % (14336, 14336), 3072, ((_ONE, 30),)),
    Base("Wan 1.3B", _WAN % (8960, 8960), 1536, ((_ONE, 30),)),
    Base("Ideogram 4", _IDEOGRAM, 4608, ((_ONE, 34),)),
    Base("Ernie-Image", _ERNIE, 3072, ((_ONE, 24),)),
    Base("HiDream-I1", _HIDREAM, 2560, (("double_stream_blocks", 16), ("single_stream_blocks", 32))),
    Base("Lumina 2", _LUMINA, 2304, (("layers", 26), ("noise_refiner context_refiner", 2))),
    Base("FIBO 2", _FIBO_2, 3584, (("layers", 44),)),
    Base("Ovis-Image", _OVIS, 3072, ((_DOUBLE, 6), (_SINGLE, 27))),
    Base("Hunyuan Video", _HUNYUAN, 3072, ((_DOUBLE, 20), (_SINGLE, 40))),
    Base("Hunyuan Image 2.1", _HUNYUAN, 3584, ((_DOUBLE, 20), (_SINGLE, 40))),
    Base("Anima or Cosmos-Predict 2", _COSMOS, 2048, ((_ONE, 28),)),
    Base("Cosmos", _COSMOS, 4096, ((_ONE, 28),)),
    Base("LTX-Video", _LTX, 2048, ((_ONE, 28),)),
    Base("LTX-Video 13B or LTX-2", _LTX, 4096, ((_ONE, 48),)),
    Base("CogVideoX 5B", _COGVIDEO, 3072, ((_ONE, 42),)),
    Base("CogVideoX 2B", _COGVIDEO, 1920, ((_ONE, 30),)),
    Base("AuraFlow", _AURA, 3072, (("joint_transformer_blocks", 4), (_SINGLE, 32))),
    Base("Kandinsky 5", _KANDINSKY, 1792, ()),
    Base("PRX", _PRX, 1792, ((_ONE, 16),)),
)

UNET = re.compile(r"^(?:(?:down|up|input|output)_blocks_\d+_|mid_block_|middle_block_)")
UNET_CONTEXT = {768: "Stable Diffusion 1.x", 1024: "Stable Diffusion 2.x", 2048: "Stable Diffusion XL"}
"""channels of the text that a UNet's cross-attention reads -> base"""
UNET_DEPTH = re.compile(r"transformer_blocks_[1-9]")
"""only Stable Diffusion XL has several transformer blocks in an attention"""

# base, its spelling in headers and in the labels of hubs and sidecars; the first match counts
STATED = (
    ("Chroma", r"chroma(?!t)"),
    ("LongCat-Image", r"longcat"),
    ("FIBO", r"fibo"),
    ("Bria 3", r"\bbria"),
    ("Ovis-Image", r"\bovis"),
    ("Flex.2", r"\bflex[ ._-]?2"),
    ("FLUX.2", r"flux[ ._-]?2|klein"),
    ("FLUX.3", r"flux[ ._-]?3"),
    ("Krea 2", r"krea[ ._-]?2"),
    ("Z-Image", r"z[ ._-]?image"),
    ("Qwen-Image", r"qwen"),
    ("Wan", r"\bwan\b|\bwan[ ._-]?(?:video|ai|2)"),
    ("Hunyuan", r"hunyuan"),
    ("HiDream", r"hidream"),
    ("Ideogram", r"ideogram"),
    ("Ernie", r"\bernie"),
    ("Anima", r"\banima\b"),
    ("LTX-Video", r"\bltx"),
    ("CogVideoX", r"cogvideo"),
    ("Lumina", r"lumina"),
    ("AuraFlow", r"aura[ ._-]?flow"),
    ("Stable Diffusion 3", r"\bsd[ ._-]?v?3|stable[ ._-]?diffusion[ ._-]?v?3"),
    (
        "Stable Diffusion XL",
        r"sdxl|xl[ ._-]?base|stable[ ._-]?diffusion[ ._-]?xl|\bpony\b|illustrious|noobai",
    ),
    ("Stable Diffusion 2.x", r"\bsd[ ._-]?v?2|stable[ ._-]?diffusion[ ._-]?v?2"),
    ("Stable Diffusion 1.x", r"\bsd[ ._-]?v?1|stable[ ._-]?diffusion[ ._-]?v?1"),
    (FLUX_1, r"flux"),
)
STATED_PATTERNS = tuple((base, re.compile(pattern)) for base, pattern in STATED)
UNLISTED_TWINS = ("LongCat-Image", "FIBO", "Bria 3", "Ovis-Image", "Flex.2")
"""base models with the names and widths of FLUX.1, which only a header can show"""
HEADER_FIELDS = ("modelspec.architecture", "ss_base_model_version", "ss_model_type")
"""header fields in which sd-scripts, ai-toolkit and other trainers store the architecture"""
PLACEHOLDER = "sd_1.5"
"""what some trainers write for every base"""

# tool, pattern of keys; the first that matches the first module's keys counts
WRITERS = (
    ("XLabs", r"\.processor\.\w+\.(?:down|up)\.weight$"),
    ("DiffSynth-Studio", r"^(?:pipe\.dit\.|(?:single_)?blocks\.\d+\.(?:attn\.[ab]_to|ff_[ab]|norm1_[ab]|to_qkv_mlp))"),
    ("DiffSynth-Studio", r"^(?!base_model\.)(?!transformer\.)(?!diffusion_model\.).*\.lora_[AB]\.default\.weight$"),
    ("PEFT", r"^base_model\.model\.|\.lora_[AB]\.[^.]+\.weight$"),
    ("OneTrainer", r"^lora_transformer_|^transformer\..*\.lora_(?:down|up)\.weight$"),
    ("LyCORIS (SimpleTuner)", r"^lycoris_"),
    ("flux-sliders", r"^[a-z_]+-.*-"),
    ("a converter to kohya's names", r"^lora_unet__"),
    ("early diffusers", r"\.lora(?:_linear_layer)?\.(?:down|up)\.weight$"),
    ("diffusers", r"^(?:transformer|unet)\..*\.lora_[AB]\."),
    ("ComfyUI", r"^diffusion_model\..*\.lora_(?:down|up)\.weight$"),
    ("ai-toolkit", r"^(?:model\.)?diffusion_model\."),
    ("PEFT without a prefix", r"\.lora_[AB]\.weight$"),
)  # fmt: skip
WRITER_PATTERNS = tuple((tool, re.compile(pattern)) for tool, pattern in WRITERS)
KOHYA, MUSUBI = "sd-scripts", "musubi-tuner"
SD_SCRIPTS_BASES = re.compile(r"FLUX\.1|Chroma|Stable Diffusion|Lumina|Anima|Hunyuan Image")
"""bases of kohya's sd-scripts; musubi-tuner writes the same prefix for the others"""
HEADER_TOOLS = (
    ("ai-toolkit", "software", r"ai-?toolkit"),
    ("OneTrainer", "ot_branch", r""),
    ("SimpleTuner", "modelspec.implementation", r"simpletuner"),
    ("musubi-tuner", "modelspec.implementation", r"musubi"),
    ("musubi-tuner", "ss_network_module", r"^networks\.lora_(?:wan|hv|fpack|flux_kontext|flux_2|qwen|zimage)"),
    ("sd-scripts", "modelspec.implementation", r"sd-scripts"),
    ("sd-scripts", "ss_network_module", r"^networks\."),
)  # fmt: skip
"""tool, header field and what it contains"""

_OUTER = re.compile(
    r"^(?:base_model\.model\.|pipe\.dit\.|(?:model\.)?diffusion_model[._]|transformer[.-]|unet[.-]|dit\."
    r"|lora_unet[_-]+|lora_transformer[_-]+|lycoris_+)*(?=.)"
)
"""what tools write before a module's name"""
_ALIAS = re.compile(r"^sformer_blocks")
"""a prefix that was cut in the wrong place"""
_ADAPTER = re.compile(
    r"\.(?:lora_?(?!te)\w*|lokr_\w+|hada_\w+|b?oft_\w+|hra_\w+|dora_scale|magnitude|diff(?:_b)?|w_norm|b_norm|alpha"
    r"|[ab][12]|bm|ia3_\w+|vera_\w+|on_input)(?:\.|$)"
)
"""ends of the keys of adapters that autolora.lora.formats does not read"""
_PART = re.compile(r"(?:^|(?<=_))(qkv|linear1)_\d$")
"""a numbered part of a fused module, as OneTrainer writes it"""
TEXT_KEYS = re.compile(
    r"^(lora_te\d?_|lycoris_text_model_|(base_model\.model\.)?(text_encoders?(_\d)?|text_model)\.|te\d?\."
    r"|(clip_[lg]|t5(xxl)?)\.)"
)
"""keys of the pipeline's text encoders"""


def _flat(name: str) -> str:
    """Return a module's name with one separator, so that all spellings are equal."""
    return name.replace(".", "_").replace("-", "_")


@dataclass(frozen=True, slots=True)
class _Linear:
    """What a base has under a module's name."""

    base: int
    """position in BASES"""
    depth: int
    """number of blocks"""
    rows: int | None
    columns: int | None

    def has(self, size: tuple[int, int] | None) -> bool:
        """Return whether an update of this size (rows, columns) fits; None is not known."""
        return size is None or (self.rows in (None, size[0]) and self.columns in (None, size[1]))


def _depths(base: Base) -> Iterator[tuple[tuple[str, ...], int]]:
    """Yield each kind of blocks of a base: the spellings of its stack, and the number of blocks."""
    for stacks, depth in base.depths:
        yield tuple(map(_flat, stacks.split())), depth


def _index() -> dict[tuple[str, str], list[_Linear]]:
    """Return (stack, module) -> the bases that have it; the stack is empty for modules outside of blocks."""
    index: dict[tuple[str, str], list[_Linear]] = {}
    for number, base in enumerate(BASES):
        depths = {stack: depth for stacks, depth in _depths(base) for stack in stacks}
        for line in filter(None, base.linears.splitlines()):
            stacks, _, groups = line.partition(":")
            for group, stack in product(groups.split("|"), _expand(stacks) or [""]):
                size, _, modules = group.strip().partition(" ")
                linear = _Linear(number, depths.get(_flat(stack), MAX_BLOCKS), *_channels(size, base.width))
                for module in _expand(modules):
                    index.setdefault((_flat(stack), _flat(module)), []).append(linear)
    return index


def _expand(names: str) -> list[str]:
    """Return the names of a list; a.{b,c} stands for a.b and a.c."""
    parts = [[part.split(",") for part in re.split(r"[{}]", name)] for name in names.split()]
    return ["".join(words) for choices in parts for words in product(*choices)]


def _channels(size: str, width: int) -> tuple[int | None, int | None]:
    """Return rows and columns, from a size of the tables."""
    if size == "?":
        return None, None
    rows, columns = (n * width if (n := int(part)) <= MAX_MULTIPLE else n for part in size.split("x"))
    return rows, columns


_INDEX = _index()
_KINDS: dict[tuple[int, str], set[tuple[tuple[str, ...], int]]] = {}
"""position in BASES and module within a block -> blocks that have it: spellings of their stack, and number"""
for (_stack, _module), _linears in _INDEX.items():
    for _linear in _linears if _stack else ():
        _kind = next((kind for kind in _depths(BASES[_linear.base]) if _stack in kind[0]), ((_stack,), 1))
        _KINDS.setdefault((_linear.base, _module), set()).add(_kind)
_STACKS = sorted({stack for stack, _ in _INDEX if stack}, key=len, reverse=True)
_BLOCK = re.compile(rf"({'|'.join(_STACKS)})_(\d{{1,4}})_(.+)")


@dataclass(frozen=True, slots=True)
class Origin:
    """The base model and the tool of a LoRA file, as far as its tensors show them."""

    base: str
    """empty if it is not known"""
    writer: str
    """empty if it is not known"""
    certainty: str
    """of the base: sure, likely (others have the same names and shapes), or unknown"""
    others: tuple[str, ...]
    """further bases with all of these names and shapes"""
    content: str
    """number of modules, their widths and a name"""
    stated: tuple[tuple[str, str], ...] = ()
    """what the header states: base, and field with text"""

    @property
    def text(self) -> str:
        """The base and the tool in words; for an unknown base what is known."""
        by = f", by {self.writer}" if self.writer else ""
        if not self.base:
            return f"unknown{by}: {self.content}" if self.content else "unknown"
        alternatives = f" (or {', '.join(self.others)})" if self.others else ""
        return f"{self.base}{alternatives}{by}"

    def disproves(self, claim: str) -> bool:
        """Return whether the weights show that the file is for other bases than a stated one."""
        return bool(self.certainty == SURE or self.others) and not _agrees(claim, (self.base, *self.others))

    def disagreements(self, label: str = "", name: str = "") -> tuple[str, ...]:
        """Return how the header, and the label of a hub or sidecar, disagree with the weights, one sentence each.

        name: of an accepted file. It says little, but counts like the label if the weights fit several bases.
        """
        bases, label_means = (self.base, *self.others), (find_stated(label), f"the label {label!r}")
        sentences = [
            f"{source} means {base}, but the weights are for {self.base}"
            for base, source in (*self.stated, label_means)
            if base and self.base and not _agrees(base, bases)
        ]
        sentences += [
            f"{source} means {base}, and the weights fit {' as well as '.join(bases)}"
            for base, source in (label_means, (find_stated(name), "the file's name"))
            if self.others and base not in ("", FLUX_1) and _agrees(base, bases)
        ]
        return tuple(sentences)


@dataclass(slots=True)
class _Module:
    """One module of a file."""

    stack: str
    block: int
    name: str
    shapes: dict[str, Shape] = field(default_factory=dict)
    kind: str = "lora"

    @property
    def size(self) -> tuple[int, int] | None:
        """Rows and columns of the update; None if its tensors do not show them."""
        if set(self.shapes) not in map(set, ROLE_SETS[self.kind]):
            return None
        try:
            size = compute_size(self.kind, self.name, self.shapes)
        except (RefusedFile, ValueError):
            return None
        return size.d_out, size.d_in


def find_origin(shapes: Mapping[str, Shape], metadata: Mapping[str, str]) -> Origin:
    """Return the base model and the tool of a LoRA file.

    shapes: of the tensors, by key. metadata: of the header, which decides only between bases that the tensors allow, of
    which some are not listed (UNLISTED_TWINS).
    """
    short = (key for key in sorted(shapes)[:MAX_KEYS] if len(key) <= MAX_KEY_CHARS)
    keys = [key for key in short if not TEXT_KEYS.match(key)]
    modules = _collect(keys, shapes)
    stated = tuple(stated_bases(metadata))
    base, others, certainty = _choose(list(modules.values()), [claim for claim, _ in stated])
    if base == FLUX_1 and (twin := next((claim for claim, _ in stated if claim in UNLISTED_TWINS), "")):
        base, others, certainty = twin, (FLUX_1, *others), LIKELY
    adapted = [key for key in keys if _path(key)]
    writer = _header_tool(metadata) or _find_writer(adapted, base)
    return Origin(base, writer, certainty, others, _describe(modules), stated)


def find_stated(text: str) -> str:
    """Return the base that a text of a header or label means; empty if it means none of STATED."""
    lowered = text[:100].lower().replace("_", " ")  # which a pattern's \b does not take for a boundary
    return next((base for base, pattern in STATED_PATTERNS if pattern.search(lowered)), "")


def base_of_slots(slots: Sequence[Slot]) -> str:
    """Return the base with these slots, all or some; empty if they are those of a model of another width."""
    return FLUX_1 if slots and slots[0].d_in == BASES[0].width else ""


def _path(key: str) -> str:
    """Return the path of the module that a key belongs to; empty if it is no tensor of an adapter."""
    if parsed := parse_key(key):
        return parsed.path
    match = _ADAPTER.search(key)
    return key[: match.start()] if match else ""


def _collect(keys: Iterable[str], shapes: Mapping[str, Shape]) -> dict[str, _Module]:
    """Return path -> module with the shapes of its tensors."""
    modules: dict[str, _Module] = {}
    for key in keys:
        if not (path := _path(key)):
            continue
        if path not in modules:
            name = _ALIAS.sub("transformer_blocks", _OUTER.sub("", path))
            modules[path] = _Module(*_parse_name(_flat(name).rstrip("_")))
        if (parsed := parse_key(key)) and parsed.kind is not None:
            modules[path].kind = parsed.kind
            modules[path].shapes[parsed.role] = shapes[key]
    return modules


def _parse_name(flat: str) -> tuple[str, int, str]:
    """Return stack, block and name within the block of a module; an empty stack outside of known stacks."""
    match = _BLOCK.fullmatch(flat)
    if match is None:
        return "", 0, flat
    return match[1], int(match[2]), match[3]


def _choose(modules: Sequence[_Module], claims: Sequence[str]) -> tuple[str, tuple[str, ...], str]:
    """Return the base that explains the most modules, others that explain as many, and the certainty.

    claims: bases that the header states. Trainers adapt all blocks, so among equals those count of which a file updates
    all, in all stacks. Among the rest the header decides, then whether all blocks with these names are updated, then
    the order of BASES.
    """
    unets = [module for module in modules if UNET.search(module.name)]
    if unets and 2 * len(unets) >= len(modules):
        return _choose_unet(unets)
    explained = Counter(linear.base for module in modules for linear in _explaining(module))
    most = max(explained.values(), default=0)
    if most <= MIN_SHARE * len(modules):
        return "", (), UNKNOWN
    equals = sorted(number for number, count in explained.items() if count == most)
    blocks: dict[str, set[int]] = {}
    for module in modules:
        blocks.setdefault(module.stack, set()).add(module.block)
    names = {_PART.sub(r"\1", module.name) for module in modules if module.stack}
    complete = [number for number in equals if _is_complete(blocks, names, number)]
    rivals = [number for number in complete if _is_whole(blocks, number)] or equals
    claimed = [number for number in rivals if any(_agrees(claim, [BASES[number].name]) for claim in claims)]
    chosen = next(iter(claimed or [number for number in complete if number in rivals] or rivals))
    others = tuple(BASES[number].name for number in rivals if number != chosen and not claimed)
    is_sure = rivals == [chosen] and most >= SURE_SHARE * len(modules)
    return BASES[chosen].name, others, SURE if is_sure else LIKELY


def _is_complete(blocks: Mapping[str, set[int]], names: Iterable[str], number: int) -> bool:
    """Return whether a file updates every block of a base that has modules of these names. blocks: per stack."""
    kinds = {kind for name in names for kind in _KINDS.get((number, name), ())}
    return all(any(len(blocks.get(stack, ())) >= depth for stack in stacks) for stacks, depth in kinds)


def _is_whole(blocks: Mapping[str, set[int]], number: int) -> bool:
    """Return whether a file updates every kind of blocks of a base, at least MIN_COMPLETE blocks together."""
    counts = [max(len(blocks.get(stack, ())) for stack in stacks) for stacks, _ in _depths(BASES[number])]
    return all(counts) and sum(counts) >= MIN_COMPLETE


def _explaining(module: _Module, *, with_sizes: bool = True) -> Iterator[_Linear]:
    """Yield what has the module's name, block and size, once per base. with_sizes: whether sizes and blocks count."""
    name = _PART.sub(r"\1", module.name)
    is_whole = name == module.name  # a numbered part has a part of the rows
    size = module.size if with_sizes and is_whole else None
    for known in _names(module.stack, name):
        found = [
            linear
            for linear in _INDEX.get((module.stack, known), ())
            if not with_sizes or (module.block < linear.depth and linear.has(size))
        ]
        if found:
            yield from {linear.base: linear for linear in found}.values()
            return


def _names(stack: str, name: str) -> Iterator[str]:
    """Yield the names under which a module is looked up: its own, any, and outside of blocks its first words."""
    yield name
    if stack:
        yield "*"
        return
    words = name.split("_", MAX_WORDS)[:MAX_WORDS]
    yield from ("_".join(words[:count]) for count in range(len(words), 0, -1))


def _choose_unet(modules: Sequence[_Module]) -> tuple[str, tuple[str, ...], str]:
    """Return which Stable Diffusion a UNet's modules belong to, by the channels of its text."""
    contexts = Counter(size[1] for module in modules if "attn2_to_k" in module.name and (size := module.size))
    for channels, _ in contexts.most_common():
        if channels in UNET_CONTEXT:
            return UNET_CONTEXT[channels], (), SURE
    names = [module.name for module in modules]
    if any(UNET_DEPTH.search(name) for name in names):
        return "Stable Diffusion XL", (), SURE
    is_small = any("attentions" in m.name and (size := m.size) and 320 in size for m in modules)
    others = ("Stable Diffusion 2.x",) if is_small else ("Stable Diffusion 2.x", "Stable Diffusion XL")
    return "Stable Diffusion 1.x", others, LIKELY


def _find_writer(keys: Sequence[str], base: str) -> str:
    """Return the tool that writes such keys; the most frequent one if they are mixed."""
    counts = Counter(_writer_of(key, base) for key in keys)
    counts.pop("", None)
    return counts.most_common(1)[0][0] if counts else ""


def _writer_of(key: str, base: str) -> str:
    if tool := next((tool for tool, pattern in WRITER_PATTERNS if pattern.search(key)), ""):
        return tool
    if key.startswith("lora_unet_"):
        return MUSUBI if base and not SD_SCRIPTS_BASES.match(base) else KOHYA
    return ""


def _header_tool(metadata: Mapping[str, str]) -> str:
    """Return the tool that a header names; empty if it names none."""
    for tool, name, pattern in HEADER_TOOLS:
        if name in metadata and re.search(pattern, metadata[name][:200].lower()):
            return tool
    return ""


def stated_bases(metadata: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield each base that a header states, with the field and its text."""
    for name in HEADER_FIELDS:
        value = metadata.get(name, "")
        if value != PLACEHOLDER and (base := find_stated(value)):
            yield base, f"the header's {name} = {value[:100]!r}"


def _agrees(claim: str, bases: Iterable[str]) -> bool:
    """Return whether a stated base is one of some bases, or its family: FLUX.2 is stated for FLUX.2-klein 4B."""
    return any(base.startswith(claim) or claim.startswith(base) for base in bases)


def _describe(modules: Mapping[str, _Module]) -> str:
    """Return the number of modules, their widths and the most frequent name, with N for numbers."""
    if not modules:
        return ""
    names = Counter(
        linear.base for module in modules.values() for linear in _explaining(module, with_sizes=False)
    )
    similar = [BASES[number].name for number, count in names.items() if 2 * count > len(modules)]
    widths = Counter(size[1] for module in modules.values() if (size := module.size))
    listed = ", ".join(str(width) for width, _ in widths.most_common(MAX_LISTED))
    name = Counter(re.sub(r"(?<=[._-])\d+(?=[._-]|$)", "N", path) for path in modules).most_common(1)[0][0]
    as_in = f" as in {', '.join(similar[:MAX_LISTED])}" if similar else ""
    return f"{len(modules)} modules{f' of width {listed}' if listed else ''}, named {name[:100]}{as_in}"
