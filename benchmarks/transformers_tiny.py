# ruff: noqa: E501 - a table, one row a line
# ruff: noqa: E501 - one configuration a line
"""Architectures of transformers in tiny random configurations: nothing is downloaded.

`ARCHITECTURES` names a configuration class, a model class, and what the common small sizes do not say; `build` gives a module of
plain tensors in and out, and example inputs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

__all__ = ["ARCHITECTURES", "Architecture", "build"]

_COMMON: dict[str, Any] = {
    "vocab_size": 99, "hidden_size": 32, "d_model": 32, "n_embd": 32, "dim": 32, "embedding_size": 16, "emb_dim": 32,
    "num_hidden_layers": 2, "n_layer": 2, "n_layers": 2, "num_layers": 2, "encoder_layers": 2, "decoder_layers": 2,
    "num_attention_heads": 4, "n_head": 4, "n_heads": 4, "num_heads": 4, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "d_kv": 8, "d_head": 8, "rotary_dim": 4,
    "intermediate_size": 64, "hidden_dim": 64, "ffn_dim": 64, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "d_ff": 64,
    "n_inner": 64, "d_inner": 64, "max_position_embeddings": 64, "n_positions": 64, "max_length": 20, "image_size": 32,
    "patch_size": 8, "num_channels": 3, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 0,
    "use_cache": False, "return_dict": True, "projection_dim": 16, "state_size": 8, "word_embed_proj_dim": 32,
}  # fmt: skip


@dataclass(frozen=True)
class Architecture:
    """One architecture.

    Attributes:
        config: The configuration class without its suffix.
        model: The model class without the prefix of the configuration; "Model" is the bare one.
        kind: What it takes: "text", "image", "audio" or "sequence" (an encoder's and a decoder's tokens).
        sizes: Beyond the common ones; None for a common one that the configuration does not take.
        dynamic: Whether it is tried with dynamic batch and sequence too.
    """

    config: str
    model: str = "Model"
    kind: str = "text"
    sizes: dict[str, Any] = field(default_factory=dict)
    dynamic: bool = False


_CONV_AUDIO = {
    "conv_dim": (16, 16), "conv_stride": (5, 2), "conv_kernel": (10, 3), "num_feat_extract_layers": 2, "feat_extract_norm": "group",
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip
_STAGES = {"hidden_sizes": [16, 32], "depths": [1, 2], "num_stages": 2, "layer_type": "basic"}

ARCHITECTURES: dict[str, Architecture] = {
    "bert": Architecture("Bert", dynamic=True),
    "roberta": Architecture("Roberta", sizes={"pad_token_id": 1}),
    "electra": Architecture("Electra"),
    "distilbert": Architecture("DistilBert", dynamic=True),
    "albert": Architecture("Albert", sizes={"num_hidden_groups": 1}),
    "mpnet": Architecture("MPNet"),
    "deberta": Architecture("Deberta"),
    "deberta-v2": Architecture("DebertaV2"),
    "convbert": Architecture("ConvBert", sizes={"conv_kernel_size": 3, "head_ratio": 2}),
    "funnel": Architecture("Funnel", sizes={"block_sizes": [1, 1], "num_decoder_layers": 1, "num_hidden_layers": None}),
    "xlnet": Architecture("XLNet", sizes={"max_position_embeddings": None}),
    "roformer": Architecture("RoFormer"),
    "mobilebert": Architecture(
        "MobileBert", sizes={"true_hidden_size": 32, "intra_bottleneck_size": 32, "embedding_size": 32, "hidden_size": 32}
    ),
    "squeezebert": Architecture("SqueezeBert", sizes={"embedding_size": 32}),
    "fnet": Architecture("FNet"),
    "nystromformer": Architecture("Nystromformer", sizes={"segment_means_seq_len": 8, "num_landmarks": 4}),
    "ernie": Architecture("Ernie"),
    "layoutlm": Architecture("LayoutLM"),
    "modernbert": Architecture("ModernBert"),
    "gpt2": Architecture("GPT2", "LMHeadModel", dynamic=True),
    "gpt-neo": Architecture("GPTNeo", sizes={"attention_types": [[["global", "local"], 1]], "window_size": 4}),
    "gpt-neox": Architecture("GPTNeoX", "ForCausalLM"),
    "gptj": Architecture("GPTJ", "ForCausalLM"),
    "opt": Architecture("OPT", "ForCausalLM"),
    "bloom": Architecture("Bloom", "ForCausalLM"),
    "llama": Architecture("Llama", "ForCausalLM", dynamic=True),
    "mistral": Architecture("Mistral", "ForCausalLM"),
    "qwen2": Architecture("Qwen2", "ForCausalLM"),
    "qwen3": Architecture("Qwen3", "ForCausalLM"),
    "gemma": Architecture("Gemma", "ForCausalLM"),
    "gemma2": Architecture("Gemma2", "ForCausalLM"),
    "gemma3": Architecture("Gemma3Text"),
    "phi": Architecture("Phi", "ForCausalLM"),
    "phi3": Architecture("Phi3", "ForCausalLM"),
    "stablelm": Architecture("StableLm", "ForCausalLM"),
    "falcon": Architecture("Falcon", "ForCausalLM", sizes={"head_dim": None}),
    "mamba": Architecture("Mamba", "ForCausalLM"),
    "starcoder2": Architecture("Starcoder2", "ForCausalLM"),
    "olmo2": Architecture("Olmo2", "ForCausalLM"),
    "cohere": Architecture("Cohere", "ForCausalLM"),
    "granite": Architecture("Granite", "ForCausalLM"),
    "t5": Architecture("T5", kind="sequence", dynamic=True),
    "bart": Architecture("Bart", kind="sequence"),
    "pegasus": Architecture("Pegasus", kind="sequence"),
    "marian": Architecture("Marian", kind="sequence"),
    "m2m100": Architecture("M2M100", kind="sequence"),
    "vit": Architecture("ViT", kind="image", dynamic=True),
    "deit": Architecture("DeiT", kind="image"),
    "beit": Architecture("Beit", kind="image"),
    "swin": Architecture("Swin", kind="image", sizes={"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "patch_size": 2, "window_size": 4, "num_attention_heads": None, "num_hidden_layers": None}),
    "swin-v2": Architecture("Swinv2", kind="image", sizes={"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "patch_size": 2, "window_size": 4, "num_attention_heads": None, "num_hidden_layers": None}),
    "hf-convnext": Architecture("ConvNext", kind="image", sizes={"hidden_sizes": [16, 32], "depths": [1, 1], "num_stages": 2, "patch_size": 4}),
    "hf-convnext-v2": Architecture("ConvNextV2", kind="image", sizes={"hidden_sizes": [16, 32], "depths": [1, 1], "num_stages": 2, "patch_size": 4}),
    "dinov2": Architecture("Dinov2", kind="image"),
    "poolformer": Architecture("PoolFormer", kind="image", sizes={"image_size": 64, "initializer_range": 0.1, "hidden_sizes": [16, 16, 32, 32], "depths": [1, 1, 1, 1]}),
    "segformer": Architecture(
        "Segformer", kind="image",
        sizes={"depths": [1, 1], "num_encoder_blocks": 2, "hidden_sizes": [16, 32], "num_attention_heads": [1, 2], "sr_ratios": [2, 1], "patch_sizes": [7, 3], "strides": [4, 2], "mlp_ratios": [2, 2]},
    ),
    "mobilevit": Architecture("MobileViT", kind="image", sizes={"image_size": 64, "hidden_sizes": [24, 32, 40], "neck_hidden_sizes": [8, 12, 16, 20, 24, 28, 32], "patch_size": 2}),
    "hf-resnet": Architecture("ResNet", kind="image", sizes={**_STAGES, "embedding_size": 16}),
    "hf-regnet": Architecture("RegNet", kind="image", sizes={**_STAGES, "embedding_size": 16, "groups_width": 8, "layer_type": "y"}),
    "hf-mobilenet-v2": Architecture("MobileNetV2", kind="image", sizes={"depth_multiplier": 0.25, "image_size": 32}),
    "wav2vec2": Architecture("Wav2Vec2", kind="audio", sizes=_CONV_AUDIO),
    "hubert": Architecture("Hubert", kind="audio", sizes=_CONV_AUDIO),
    "whisper-encoder": Architecture("Whisper", "Encoder", kind="mel", sizes={"num_mel_bins": 16, "max_source_positions": 20}),
    "clip-text": Architecture("CLIPText", sizes={"hidden_act": "gelu"}),
    "clip-vision": Architecture("CLIPVision", kind="image"),
    "siglip-vision": Architecture("SiglipVision", kind="image"),
}  # fmt: skip


class _Tensors(nn.Module):
    """A model with positional tensors in and its first output out."""

    def __init__(self, model: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        return self.model(**dict(zip(self.names, tensors, strict=True)))[0]


class _Single(_Tensors):
    def forward(self, x: torch.Tensor) -> torch.Tensor:  # torch.export names inputs after the parameters
        return super().forward(x)


class _Both(_Tensors):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return super().forward(x, y)


def build(name: str) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """The network in eval mode, with weights that keep the variance, and inputs for it."""
    import transformers

    one = ARCHITECTURES[name]
    torch.manual_seed(0)
    kind = getattr(transformers, f"{one.config}Config")
    known = kind()
    given = {key: value for key, value in _COMMON.items() if hasattr(known, key)}
    config = kind(**{key: value for key, value in {**given, **one.sizes}.items() if value is not None})
    config._attn_implementation = "eager"
    prefix = one.config if one.model != "Encoder" else "Whisper"
    if one.model == "Encoder":
        from transformers.models.whisper.modeling_whisper import WhisperEncoder

        model = WhisperEncoder(config)
    else:
        model = getattr(transformers, prefix + one.model)(config)
    model = model.eval()
    _randomise(model)
    text = torch.randint(3, 99, (2, 8))
    inputs: dict[str, tuple[tuple[str, ...], tuple[torch.Tensor, ...]]] = {
        "text": (("input_ids",), (text,)),
        "sequence": (("input_ids", "decoder_input_ids"), (text, torch.randint(3, 99, (2, 6)))),
        "image": (("pixel_values",), (torch.randn(1, 3, *[getattr(config, "image_size", 32) or 32] * 2)[..., :64, :64],)),
        "audio": (("input_values",), (torch.randn(1, 800),)),
        "mel": (("input_features",), (torch.randn(1, 16, 40),)),
    }
    names, tensors = inputs[one.kind]
    return (_Single if len(names) == 1 else _Both)(model, names).eval(), tensors


def _randomise(model: nn.Module) -> None:
    """A fresh model's head gives 1e-9: weights that keep the variance, norms and biases of their own."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                scale = 1.0 if "embed" in name else parameter[0].numel() ** -0.5
                parameter.normal_(0, scale)
            elif name.endswith("weight"):
                parameter.uniform_(0.5, 1.5)
            elif "A_log" not in name and name.rsplit(".", 1)[-1] != "D":
                parameter.add_(torch.randn_like(parameter) * 0.1)
