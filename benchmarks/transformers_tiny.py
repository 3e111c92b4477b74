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
        kind: What it takes, a key of `_INPUTS`.
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
    "bigbird": Architecture("BigBird", sizes={"attention_type": "original_full"}),
    "ibert": Architecture("IBert"),
    "rembert": Architecture("RemBert", sizes={"input_embedding_size": 16}),
    "xlm": Architecture("XLM"),
    "canine": Architecture("Canine", sizes={"num_hash_functions": 4, "num_hash_buckets": 32, "upsampling_kernel_size": 2, "downsampling_rate": 2, "local_transformer_stride": 4}),
    "esm": Architecture("Esm"),
    "longformer": Architecture("Longformer", sizes={"attention_window": [4, 4]}),
    "mixtral": Architecture("Mixtral", "ForCausalLM", sizes={"num_local_experts": 4}),
    "qwen2-moe": Architecture("Qwen2Moe", "ForCausalLM", sizes={"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16}),
    "deepseek-v3": Architecture(
        "DeepseekV3", "ForCausalLM",
        sizes={"n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 2, "topk_group": 1, "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8, "moe_intermediate_size": 16, "first_k_dense_replace": 1, "num_key_value_heads": 4},
    ),
    "gpt-oss": Architecture("GptOss", "ForCausalLM", sizes={"num_local_experts": 4, "num_experts_per_tok": 2}),
    "mpt": Architecture("Mpt", "ForCausalLM", sizes={"max_seq_len": 64}),
    "xglm": Architecture("XGLM", "ForCausalLM", sizes={"attention_heads": 4}),
    "codegen": Architecture("CodeGen", "ForCausalLM"),
    "rwkv": Architecture("Rwkv", "ForCausalLM", sizes={"attention_hidden_size": 32}),
    "mamba2": Architecture("Mamba2", "ForCausalLM", sizes={"num_heads": 8, "head_dim": 8, "n_groups": 1, "chunk_size": 8}),
    "lfm2": Architecture("Lfm2", "ForCausalLM", sizes={"layer_types": ["conv", "full_attention"]}),
    "recurrent-gemma": Architecture("RecurrentGemma", "ForCausalLM", sizes={"lru_width": 32, "attention_window_size": 8, "block_types": ["recurrent", "attention"]}),
    "bitnet": Architecture("BitNet", "ForCausalLM"),
    "nemotron": Architecture("Nemotron", "ForCausalLM"),
    "mt5": Architecture("MT5", kind="sequence"),
    "led": Architecture("LED", kind="sequence", sizes={"attention_window": [4, 4], "max_encoder_position_embeddings": 64, "max_decoder_position_embeddings": 64}),
    "switch": Architecture("SwitchTransformers", kind="sequence", sizes={"num_experts": 4, "num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 1}),
    "blenderbot": Architecture("Blenderbot", kind="sequence"),
    "longt5": Architecture("LongT5", kind="sequence", sizes={"local_radius": 4}),
    "fsmt": Architecture("FSMT", kind="sequence", sizes={"src_vocab_size": 99, "tgt_vocab_size": 99}),
    "yolos": Architecture("Yolos", kind="image", sizes={"image_size": [32, 32], "num_detection_tokens": 4}),
    "pvt-v2": Architecture("PvtV2", kind="image", sizes={"image_size": 64, "hidden_sizes": [16, 16, 32, 32], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 2, 2], "patch_size": None}),
    "bit": Architecture("Bit", kind="image", sizes={"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1], "num_groups": 4, "layer_type": "preactivation"}),
    "swin2sr": Architecture("Swin2SR", "ForImageSuperResolution", kind="image", sizes={"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "patch_size": 1, "window_size": 4, "image_size": 16, "num_attention_heads": None, "num_hidden_layers": None, "upscale": 2}),
    "hiera": Architecture("Hiera", kind="image", sizes={"image_size": [32, 32], "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "patch_size": [7, 7], "query_stride": [2, 2], "masked_unit_size": [4, 4], "num_query_pool": 1}),
    "dinov3": Architecture("DINOv3ViT", kind="image"),
    "focalnet": Architecture("FocalNet", kind="image", sizes={"embed_dim": 16, "depths": [1, 1], "focal_levels": [2, 2], "focal_windows": [3, 3], "hidden_sizes": [16, 32], "patch_size": 4}),
    "mobilevit-v2": Architecture("MobileViTV2", kind="image", sizes={"image_size": 64, "base_attn_unit_dims": [16, 24, 32], "n_attn_blocks": [1, 1, 1], "width_multiplier": 0.25, "patch_size": 2}),
    "wavlm": Architecture("WavLM", kind="audio", sizes=_CONV_AUDIO),
    "sew": Architecture("SEW", kind="audio", sizes={**_CONV_AUDIO, "squeeze_factor": 2}),
    "wav2vec2-conformer": Architecture("Wav2Vec2Conformer", kind="audio", sizes=_CONV_AUDIO),
    "ast": Architecture("AST", kind="spectrum", sizes={"max_length": 40, "num_mel_bins": 16, "frequency_stride": 8, "time_stride": 8}),
    "whisper": Architecture("Whisper", kind="mel-sequence", sizes={"num_mel_bins": 16, "max_source_positions": 20, "max_target_positions": 32}),
    "speech2text": Architecture("Speech2Text", kind="frames-sequence", sizes={"input_feat_per_channel": 16, "conv_channels": 32, "num_conv_layers": 2, "max_source_positions": 64, "max_target_positions": 32}),
    "clip": Architecture("CLIP", kind="image-text"),
    "siglip": Architecture("Siglip", kind="image-text"),
    "chinese-clip": Architecture("ChineseCLIP", kind="image-text"),
    "blip": Architecture("Blip", kind="image-text"),
    "vilt": Architecture("Vilt", kind="image-text"),
    "flava": Architecture("Flava", kind="image-text"),
    "git": Architecture("Git", kind="image-text"),
    "owlvit": Architecture("OwlViT", kind="image-text"),
    "groupvit": Architecture("GroupViT", kind="image-text"),
    "patchtst": Architecture("PatchTST", kind="series", sizes={"context_length": 32, "num_input_channels": 3, "patch_length": 8, "patch_stride": 8}),
    "patchtsmixer": Architecture("PatchTSMixer", kind="series", sizes={"context_length": 32, "num_input_channels": 3, "patch_length": 8, "patch_stride": 8}),
    "videomae": Architecture("VideoMAE", "ForVideoClassification", kind="video", sizes={"num_frames": 4}),
    "timesformer": Architecture("Timesformer", kind="video", sizes={"num_frames": 4}),
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


_INPUTS: dict[str, tuple[str, ...]] = {
    "text": ("input_ids",),
    "sequence": ("input_ids", "decoder_input_ids"),
    "image": ("pixel_values",),
    "image-text": ("input_ids", "pixel_values"),
    "video": ("pixel_values",),
    "audio": ("input_values",),
    "spectrum": ("input_values",),
    "mel": ("input_features",),
    "mel-sequence": ("input_features", "decoder_input_ids"),
    "frames-sequence": ("input_features", "decoder_input_ids"),
    "series": ("past_values",),
}
"""The names of each kind's inputs; `_example` has their shapes."""


def build(name: str) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """The network in eval mode, with weights that keep the variance, and inputs for it."""
    import transformers

    one = ARCHITECTURES[name]
    torch.manual_seed(0)
    config = _configuration(getattr(transformers, f"{one.config}Config"), one.sizes)
    config._attn_implementation = "eager"
    config._experts_implementation = "batched_mm"  # the others are loops over data, and an operator that transformers registers
    if one.model == "Encoder":
        from transformers.models.whisper.modeling_whisper import WhisperEncoder

        model = WhisperEncoder(config)
    else:
        model = getattr(transformers, one.config + one.model)(config)
    model = model.eval()
    _randomise(model)
    names = _INPUTS[one.kind]
    inputs = tuple(_example(name, one.kind, config) for name in names)
    return (_Single if len(names) == 1 else _Both)(model, names).eval(), inputs


def _configuration(kind: Any, sizes: dict[str, Any]) -> Any:
    """A configuration in small; one of several models has small ones inside."""
    known = kind()
    given = {key: value for key, value in _COMMON.items() if hasattr(known, key)}
    parts = {
        name: _configuration(type(getattr(known, name)), sizes.get(name, {})).to_dict()
        for name in getattr(kind, "sub_configs", {})
        if getattr(known, name, None) is not None
    }
    return kind(**{key: value for key, value in {**given, **parts, **sizes}.items() if value is not None} | parts)


def _example(name: str, kind: str, config: Any) -> torch.Tensor:
    if name == "input_ids":
        return torch.randint(3, 99, (1 if kind == "image-text" else 2, 8))
    if name == "decoder_input_ids":
        return torch.randint(3, 99, (2 if kind == "sequence" else 1, 6))
    if name == "pixel_values":
        size = getattr(getattr(config, "vision_config", config), "image_size", 32) or 32
        height, width = (size, size) if isinstance(size, int) else size
        image = torch.randn(1, 3, height, width)[..., :64, :64]
        return torch.stack([image, image.flip(-1)] * 2, 1) if kind == "video" else image
    shapes = {
        "audio": (1, 800), "spectrum": (1, 40, 16), "mel": (1, 16, 40),
        "mel-sequence": (1, 16, 40), "frames-sequence": (1, 40, 16), "series": (1, 32, 3),
    }  # fmt: skip
    return torch.randn(shapes[kind])


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
