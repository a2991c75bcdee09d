"""How a model is trained: method, objective, optimizer, checkpoints, devices."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from steep.section import Count, Fraction, NoSwitch, NotNegative, Positive, Section, Share, Text, Texts, Whole

Factor = Annotated[int, Field(ge=2), NoSwitch]

SUPERVISED = ("sft", "pretrain")
"""Objectives whose loss is that of the examples' own next tokens."""
PREFERENCES = ("dpo", "reward")
"""Objectives whose examples are a prompt with a chosen and a rejected answer."""
ROLLOUTS = ("rloo", "grpo")
"""Objectives under which the model writes answers itself and is told how good they are."""


class LowRank(Section):
    """What LoRA and AdaLoRA share."""

    alpha: Count = 32
    """The product is scaled by alpha / rank."""
    dropout: Share = 0.0
    """On the adapter's input while training."""
    target_modules: Texts = "all-linear"
    """Names of the layers that get an adapter; `all-linear` is all but the output layer."""


class Lora(LowRank):
    """Low-rank adaptation (Hu et al. 2021, arXiv 2106.09685)."""

    rank: Count = 16
    """Of the two matrices whose product is added to a weight."""
    use_rslora: bool = False
    """Scale by alpha / sqrt(rank) instead (Kalajdzievski 2023, arXiv 2312.03732): for high ranks."""
    use_dora: bool = False
    """Train the length of a weight's columns apart from their direction (Liu et al. 2024, arXiv 2402.09353)."""
    init_lora_weights: Literal["default", "gaussian", "pissa", "loftq"] = "default"
    """`default` and `gaussian` start as the base model. `pissa` starts from the weights' largest singular values
    (Meng et al. 2024, arXiv 2404.02948), `loftq` from what nf4 rounds away (Li et al. 2023, arXiv 2310.08659)."""


class AdaLora(LowRank):
    """LoRA whose ranks move to the layers that need them (Zhang et al. 2023, arXiv 2303.10512)."""

    init_r: Count = 24
    """Rank of every matrix at the start."""
    target_r: Count = 16
    """Mean rank at the end."""
    tinit: Annotated[int, Field(ge=0), NoSwitch] | None = None
    """Steps before ranks are taken away; by default a tenth of all."""
    tfinal: Annotated[int, Field(ge=0), NoSwitch] | None = None
    """Steps at the end during which ranks stay; by default three tenths of all."""
    delta_t: Count = 1
    """Steps between two distributions of the ranks."""
    beta1: Fraction = 0.85
    """Decay of a weight's mean importance."""
    beta2: Fraction = 0.85
    """Decay of the mean uncertainty of that importance."""
    orth_reg_weight: Positive = 0.5
    """Weight of the penalty that keeps the singular vectors orthogonal."""


class AdaptionPrompt(Section):
    """Learned prompts in the upper layers' attention, let in by a gate that starts closed (LLaMA-Adapter, Zhang et al.
    2023, arXiv 2303.16199)."""

    adapter_len: Count = 10
    """Learned prompt tokens in each layer."""
    adapter_layers: Count | None = None
    """How many layers, counted from the top; by default all but the lowest two."""


LossType = Literal[
    "sigmoid",
    "sigmoid_norm",
    "hinge",
    "ipo",
    "exo_pair",
    "nca_pair",
    "robust",
    "bco_pair",
    "sppo_hard",
    "aot",
    "aot_unpaired",
    "apo_zero",
    "apo_down",
    "discopop",
    "sft",
]


class Dpo(Section):
    """Direct preference optimization (Rafailov et al. 2023, arXiv 2305.18290)."""

    beta: Positive = 0.1
    """How much leaving the base model costs."""
    loss_type: list[LossType] = Field(default=["sigmoid"], min_length=1)
    """As TRL names them; several are added up."""
    loss_weights: list[Positive] = Field(default=[])
    """Of several losses; by default 1 each."""
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5), NoSwitch] = 0.0
    """Share of the pairs that is taken to be the wrong way round."""


class Reward(Section):
    """A model that scores answers (Bradley-Terry on pairs, as in Ouyang et al. 2022, arXiv 2203.02155, section 3.5)."""

    center_rewards_coefficient: NotNegative | None = None
    """Weight of a penalty that keeps the mean score at zero (Eisenstein et al. 2023, arXiv 2312.09244); often 0.01."""


class Rollouts(Section):
    """Answers that the model writes while it is trained, for `rloo` (Ahmadian et al. 2024, arXiv 2402.14740) and `grpo`
    (Shao et al. 2024, arXiv 2402.03300)."""

    rewards: list[Text] = Field(default=[])
    """What scores an answer: `module:function` beside the recipe or installed, the folder of a run with the objective
    `reward`, or a reward model's folder or hub name. A function takes `prompts` and `completions`, `reference` (the
    examples' own completions) and other columns of the examples by name, and returns a number for each."""
    reward_weights: list[float] = Field(default=[])
    """Of several rewards; by default 1 each."""
    num_generations: Factor = 4
    """Answers to each prompt, compared with each other. `batch_size` counts answers."""
    max_completion_length: Count = 128
    """Longest answer, in tokens."""
    temperature: Positive = 1.0
    """Of the sampling."""
    beta: NotNegative = 0.05
    """How much leaving the base model costs (KL divergence)."""
    num_iterations: Count = 1
    """Steps on the same answers."""
    epsilon: Positive = 0.2
    """Limit of a step's change of an answer's probability, as a share (PPO's clipping)."""


Optimizer = Literal[
    "adamw_torch_fused",
    "adamw_torch",
    "adamw_8bit",
    "paged_adamw_32bit",
    "paged_adamw_8bit",
    "adafactor",
    "lion_8bit",
    "sgd",
    "muon",
]
Schedule = Literal["cosine", "linear", "constant", "cosine_with_min_lr", "polynomial", "inverse_sqrt"]
Tracker = Literal["trackio", "tensorboard", "wandb", "mlflow"]


class Train(Section):
    """Fine-tuning."""

    method: Literal["full", "lora", "adalora", "adaption-prompt"] = "lora"
    """`full` trains every weight; the others train a little beside the frozen ones."""
    objective: Literal["sft", "pretrain", "dpo", "reward", "rloo", "grpo"] = "sft"
    """`sft` keeps examples whole; `pretrain` splits long texts over rows instead of cutting them; `dpo` and `reward`
    learn from a chosen and a rejected answer, `rloo` and `grpo` from rewards of answers that the model writes."""
    learning_rate: Positive = 2e-4
    """Peak of the schedule."""
    epochs: Positive = 3.0
    """Passes over the training examples."""
    max_steps: Count | None = None
    """Stop after this many steps, whatever `epochs` says."""
    batch_size: Count | Literal["auto"] = 8
    """Rows per device at a time: packed rows of `max_length` tokens, or examples where `packing` is off. `auto` takes
    the largest that fits and divides `global_batch_size`."""
    gradient_accumulation_steps: Count = 1
    """Batches whose gradients are added before a step."""
    global_batch_size: Count | None = None
    """With `batch_size: auto`, the rows of a step over all devices; by default 8."""
    packing: bool = True
    """Fill rows with several examples; none of them sees another."""
    streaming: bool = False
    """Read examples from the disk as they are needed, instead of holding all of them in memory."""
    lr_scheduler_type: Schedule = "cosine"
    """How the learning rate falls after warming up."""
    min_lr_ratio: Share = 0.1
    """With `cosine_with_min_lr`, where it ends, as a share of the peak."""
    warmup_ratio: Share = 0.03
    """Share of the steps during which the learning rate rises."""
    optim: Optimizer = "adamw_torch_fused"
    """As in transformers' TrainingArguments. `muon` learns from fewer tokens when every weight is trained; embeddings
    and norms stay with AdamW."""
    weight_decay: NotNegative = 0.0
    """Decoupled, per step and unit of learning rate."""
    adam_beta2: Fraction = 0.999
    """Decay of AdamW's mean of squared gradients."""
    max_grad_norm: Positive = 1.0
    """Longer gradients are scaled down to this norm."""
    neftune_noise_alpha: Positive | None = None
    """Noise on the embeddings while training (NEFTune, Jain et al. 2023, arXiv 2310.05914); often 5."""
    gradient_checkpointing: bool | Literal["auto", "selective", "offloaded"] = "auto"
    """Compute activations again in the backward pass instead of keeping them: less memory, about a third slower.
    `selective` does so in every other layer, `offloaded` in all, and moves what is still kept to the host. `auto` takes
    the first of false, `selective`, true and `offloaded` that fits by the estimate of `steep check`."""
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    """Of weights and arithmetic. `auto` is bfloat16 on a GPU and on a CPU that has instructions for it, and float32 on
    others, where bfloat16 takes a hundred times as long."""
    compile: bool | Literal["auto"] = "auto"
    """Compile the repeated layers (`torch.compile`). `auto` does so on a GPU, for packed rows, where the training
    is long enough to earn back the time that compiling takes."""
    fp8: bool = False
    """With `model.quantization: nf4`, multiply in fp8 on Hopper and newer: faster, but inputs and gradients are rounded
    to three bits."""
    eval_steps: Count | None = None
    """Measure the loss on the validation examples (`prepare.split.validation`) every so many steps."""
    early_stopping_patience: Count | None = None
    """Stop after so many measurements without a better one."""
    load_best_model_at_end: bool = False
    """Keep the weights with the smallest validation loss, not the last ones; `save_steps` must then be `eval_steps`."""
    sample_steps: Count | None = None
    """Let the model answer a few validation or training prompts every so many steps; on the terminal and in
    `samples.jsonl`."""
    save_steps: Count = 100
    """Checkpoint every so many steps."""
    save_total_limit: Count = 2
    """How many checkpoints are kept, the latest ones."""
    report_to: list[Tracker] = Field(default=[])
    """Trackers that get the metrics as well; each must be installed."""
    devices: Count = 1
    """GPUs on each machine, or processes where there is none."""
    nodes: Count = 1
    """Machines; see `steep launch`."""
    parallel: Literal["auto", "ddp", "fsdp"] = "auto"
    """With several devices: `ddp` keeps the model on each, `fsdp` (FSDP2) a part of it. `auto` takes `ddp` for adapters
    and `fsdp` where every weight is trained."""
    seed: Whole = 42
    """Of the order of the examples and of new weights."""
    lora: Lora = Lora()
    adalora: AdaLora = AdaLora()
    adaption_prompt: AdaptionPrompt = AdaptionPrompt()
    dpo: Dpo = Dpo()
    reward: Reward = Reward()
    rollouts: Rollouts = Rollouts()

    @property
    def adapter(self) -> Lora | AdaLora | None:
        """The section of a method that adapts chosen layers."""
        if self.method == "lora":
            return self.lora
        return self.adalora if self.method == "adalora" else None

    @property
    def rows_at_a_time(self) -> int:
        """On each device; with `auto`, at most."""
        return self.rows_per_step // (self.devices * self.nodes) if self.batch_size == "auto" else self.batch_size

    @property
    def rows_per_step(self) -> int:
        """Of an optimizer's step, over all devices."""
        if self.batch_size == "auto":
            return self.global_batch_size or 8
        return self.batch_size * self.gradient_accumulation_steps * self.devices * self.nodes

    @property
    def checkpointed(self) -> float:
        """Share of the layers whose activations are computed again; `auto` stands for none until it is decided."""
        return {False: 0.0, "auto": 0.0, "selective": 0.5}.get(self.gradient_checkpointing, 1.0)

    @property
    def mixed(self) -> bool:
        """Whether, beside bfloat16 weights, there are float32 parts that only autocast reconciles with them."""
        return self.method != "lora" or self.objective == "reward"

    def shares_inputs(self, quantization: str) -> bool:
        """Whether LoRA layers that read one tensor are computed together."""
        return self.method == "lora" and not self.lora.use_dora and not self.sharded and quantization != "int8"

    @property
    def sharded(self) -> bool:
        """Whether several devices hold a part of the model each (FSDP2)."""
        if self.devices * self.nodes == 1:
            return False
        return self.parallel == "fsdp" or (self.parallel == "auto" and self.method == "full")
