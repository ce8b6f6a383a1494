"""The shape of a TinyAST model: `config.json` of a checkpoint."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig


class TinyASTConfig(PreTrainedConfig):
    """Sizes of a `TinyASTForAudioClassification`; the defaults are those of version 4.

    Args:
        n_mels: rows of the input picture, mel bands.
        n_frames: columns of the input picture, frames.
        stem: "convolutions", as in versions 1 to 4, or "mobilenet": that of mn04, whose weights
            have heard AudioSet. The keys up to `stem_depths` shape the first alone, those up to
            `familiar_distance` the second.
        stem_channels: channels of the stages of the convolution stem, but for the last, which has
            `hidden_size`. Each stage but the last halves both sides of the picture.
        stem_depths: convolutions in each stage, the last one included. That may be 0: then the
            last of `stem_channels` is `hidden_size`, and four numbers give n_mels/16 x n_frames/16
            tokens.
        stretched: bands and columns that the picture is stretched to before a stem of "mobilenet";
            None: it is looked at as it is.
        embedding_size: how many numbers describe a window, beside its logits.
        familiar_distance: how familiar a sound is, is its best logit less this many times its
            distance from all kinds (`tinyast.model.familiarity`); None: the best logit alone.
        hidden_size: width of a token.
        num_hidden_layers, num_attention_heads, intermediate_size: the transformer's blocks, named
            as in `transformers.ViTConfig`.
        hidden_dropout_prob: dropout inside the blocks, while training.
        classifier_dropout: dropout before the classifier, while training.
        drop_path: probability of skipping the last block, while training (Huang et al. 2016,
            "Deep Networks with Stochastic Depth"); earlier blocks are skipped less, in proportion.
        logit_temperature: logits are divided by it (Guo et al. 2017, "On Calibration of Modern
            Neural Networks"), so that a score can be read as a probability.
        unknown_below: below this familiarity (`tinyast.inference.familiarity`) a sound counts as
            unknown; None if it was not fitted.
    """

    model_type = "tinyast"

    def __init__(
        self,
        n_mels: int = 64,
        n_frames: int = 64,
        stem: str = "convolutions",
        stem_channels: tuple[int, ...] = (32, 64, 128, 256),
        stem_depths: tuple[int, ...] = (2, 2, 2, 2, 0),
        stretched: tuple[int, int] | None = None,
        embedding_size: int = 64,
        familiar_distance: float | None = None,
        hidden_size: int = 256,
        num_hidden_layers: int = 1,
        num_attention_heads: int = 4,
        intermediate_size: int = 512,
        hidden_act: str = "gelu",
        hidden_dropout_prob: float = 0.0,
        attention_probs_dropout_prob: float = 0.0,
        classifier_dropout: float = 0.0,
        drop_path: float = 0.0,
        layer_norm_eps: float = 1e-6,
        initializer_range: float = 0.02,
        qkv_bias: bool = True,
        logit_temperature: float = 1.0,
        unknown_below: float | None = None,
        **kwargs: Any,
    ) -> None:
        self.n_mels = n_mels
        self.n_frames = n_frames
        self.stem = stem
        self.stem_channels = list(stem_channels)
        self.stem_depths = list(stem_depths)
        self.stretched = None if stretched is None else list(stretched)
        self.embedding_size = embedding_size
        self.familiar_distance = familiar_distance
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.intermediate_size = intermediate_size
        self.hidden_act = hidden_act
        self.hidden_dropout_prob = hidden_dropout_prob
        self.attention_probs_dropout_prob = attention_probs_dropout_prob
        self.classifier_dropout = classifier_dropout
        self.drop_path = drop_path
        self.layer_norm_eps = layer_norm_eps
        self.initializer_range = initializer_range
        self.qkv_bias = qkv_bias
        self.logit_temperature = logit_temperature
        self.unknown_below = unknown_below
        super().__init__(**kwargs)
