"""What a method of a comparison is: its settings in a config, a class per loss.

Nothing here imports TensorFlow. `lsplus_tf.training.methods` makes losses and callbacks of them.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from lsplus_tf.config.settings import Count, NotNegative, Positive, Seed, Settings, Weight
from lsplus_tf.conventions import Convention
from lsplus_tf.errors import LEAST_MARGIN, MOST_ACLS_WEIGHT, MOST_MARGIN, MOST_SCALE_EXPONENT

_MOST_SOFT_BINS = 10_000  # each of which has a number for every sample of a batch
_ACLSWeight = Annotated[float, Field(ge=0, le=MOST_ACLS_WEIGHT, strict=True)]
_MARKS: dict[Convention, str] = {"standard": ", standard", "released_code": ", released code"}
_CONVENTION: Any = Field(
    default="standard", description="as in its paper, or as in its authors' code"
)


class MethodSettings(Settings):
    """What all methods have; a subclass's fields are its loss's arguments, by the same names."""

    short_name: ClassVar[str]  # in tables and figures
    loss_class: ClassVar[str]  # in lsplus_tf.losses
    from_data: ClassVar[tuple[str, ...]] = ()  # the loss's arguments that the images decide
    needs_features: ClassVar[bool] = False  # of the network's output, for the loss
    # Whether its soft labels are shares of the smoothing mass, without the class itself.
    smooths_towards_others: ClassVar[bool] = False
    not_of_the_loss: ClassVar[frozenset[str]] = frozenset({"loss", "mixup"})

    mixup: NotNegative = Field(
        default=0.0,
        description="each batch is mixed with itself, lambda ~ Beta(mixup, mixup); 0 is off",
    )

    @property
    def title(self) -> str:
        """What the method is called in tables of an experiment as the papers have it."""
        return self.title_in("standard")

    def title_in(self, convention: Convention) -> str:
        """What the method is called in tables of an experiment of a convention."""
        return self.short_name + self.mark_in(convention) + (" + mixup" if self.mixup else "")

    def mark_in(self, convention: Convention) -> str:
        """What marks a method that has a convention of its own."""
        del convention
        own: Convention = getattr(self, "convention", "standard")
        return _MARKS[own] if own == "released_code" else ""


class ClassAccuracy(Settings):
    """Where LS+ takes the class accuracies V from: validation predictions of hard-label runs."""

    seeds: Literal["same", "all"] = Field(
        default="same",
        description="the hard-label run of the same seed, or the mean over all (the authors' way)",
    )
    shrinkage: NotNegative = Field(
        default=0.0, description="samples' worth of pull towards the overall accuracy; 0 is Eq. 3"
    )


SECTION, GIVEN = "section", "given"


def _section_or_given(value: Any) -> str | None:
    """Which of the two forms of `class_accuracy` a value is meant as; None if it is neither."""
    if isinstance(value, (dict, ClassAccuracy)):
        return SECTION
    return GIVEN if isinstance(value, (list, tuple)) else None


def _of_two_classes(values: tuple[float, ...]) -> tuple[float, ...]:
    if len(values) < 2:
        raise ValueError(f"expected a number for each class, two at least, received {list(values)}")
    return values


GivenAccuracies = Annotated[tuple[Weight, ...], AfterValidator(_of_two_classes)]


class NeedsClassAccuracy(MethodSettings):
    """A method whose prior comes from class accuracies: of hard-label runs, or given ones."""

    from_data: ClassVar[tuple[str, ...]] = ("prior",)
    not_of_the_loss: ClassVar[frozenset[str]] = MethodSettings.not_of_the_loss | {"class_accuracy"}

    class_accuracy: Annotated[
        Annotated[ClassAccuracy, Tag(SECTION)] | Annotated[GivenAccuracies, Tag(GIVEN)],
        Discriminator(
            _section_or_given,
            custom_error_type="class_accuracy",
            custom_error_message="Input should be a section (seeds, shrinkage) or a list of "
            "numbers in [0, 1]",
        ),
    ] = Field(
        default=ClassAccuracy(),
        description="measured, or given: the numbers V, one for each class in their order; then "
        "no hard-label run is needed for them",
    )

    @property
    def given_accuracies(self) -> tuple[float, ...] | None:
        """V, where the config gives it."""
        return None if isinstance(self.class_accuracy, ClassAccuracy) else self.class_accuracy

    @property
    def shrinkage(self) -> float:
        """Samples' worth of pull on what is measured: before training, and in refreshes."""
        source = self.class_accuracy
        return source.shrinkage if isinstance(source, ClassAccuracy) else 0.0


class AlsoReleased(MethodSettings):
    """A method in whose name the LS+ authors' code optimised a loss of its own."""

    not_of_the_loss: ClassVar[frozenset[str]] = MethodSettings.not_of_the_loss | {"convention"}

    convention: Convention = Field(
        default="standard",
        description="the method as published, or what the LS+ authors' code optimised in its "
        "name; where it is not set, the experiment's",
    )

    def mark_in(self, convention: Convention) -> str:
        return "" if self.convention == convention else _MARKS[self.convention]


class HardLabels(AlsoReleased):
    """Cross-entropy."""

    short_name, loss_class = "HL", "HardLabelLoss"
    loss: Literal["hard_labels"]


class LabelSmoothing(AlsoReleased):
    """Cross-entropy against (1 - alpha) one-hot + alpha / K."""

    short_name, loss_class = "LS", "LabelSmoothingLoss"
    loss: Literal["label_smoothing"]
    alpha: Weight = 0.1


class LSPlus(NeedsClassAccuracy, AlsoReleased):
    """LS+: (1 - alpha) CE + alpha KL(v^k || p)."""

    short_name, loss_class = "LS+", "LSPlusLoss"
    not_of_the_loss: ClassVar[frozenset[str]] = (
        NeedsClassAccuracy.not_of_the_loss
        | AlsoReleased.not_of_the_loss
        | {"start_from", "refresh_every"}
    )
    loss: Literal["ls_plus"]
    alpha: Weight = 0.5
    start_from: Literal["initial_weights", "hard_labels"] = Field(
        default="initial_weights", description="as the hard-label run did, or where it ended"
    )
    refresh_every: Count | None = Field(
        default=None,
        description="epochs after which the class accuracies are estimated anew, of this network; "
        "those measured before, or given, are the first",
    )

    @model_validator(mode="after")
    def _released_estimates_once(self) -> LSPlus:
        if self.convention == "released_code" and self.refresh_every:
            raise ValueError(
                "refresh_every: the released code has class accuracies that stay, expected null "
                f"or this method with convention: standard, received {self.refresh_every}"
            )
        return self

    def title_in(self, convention: Convention) -> str:
        return super().title_in(convention) + (", refreshed" if self.refresh_every else "")


class OnlineLabelSmoothing(MethodSettings):
    """OLS: alpha CE + soft_weight CE against the mean correct softmax of the epoch before."""

    short_name, loss_class = "OLS", "OnlineLabelSmoothingLoss"
    from_data: ClassVar[tuple[str, ...]] = ("num_classes",)
    loss: Literal["online_label_smoothing"]
    alpha: Weight = 0.5
    soft_weight: NotNegative | None = Field(default=None, description="null is 1 - alpha")
    initial: Literal["uniform", "zeros", "label_smoothed"] = "uniform"
    freeze_above: Weight | None = Field(
        default=None, description="a class whose largest soft label got there keeps its row"
    )
    empty_class: Literal["uniform", "keep", "zeros"] = "uniform"


class LSPlusOnline(NeedsClassAccuracy):
    """LS+ and OLS as one matrix: a mixture of the informed prior and the mean correct softmax."""

    short_name, loss_class = "LS+ with OLS", "OnlineLabelSmoothingLoss"
    from_data: ClassVar[tuple[str, ...]] = ("num_classes", "prior")
    loss: Literal["ls_plus_online"]
    alpha: Weight = 0.5
    prior_weight: Weight = 0.5


class Focal(AlsoReleased):
    """Focal loss: (1 - p_y)^gamma CE."""

    short_name, loss_class = "FL", "FocalLoss"
    loss: Literal["focal"]
    gamma: NotNegative = 3.0


class SampleDependentFocal(MethodSettings):
    """FLSD-53: focal loss with gamma 5 where p_y < 0.2."""

    short_name, loss_class = "FLSD", "SampleDependentFocalLoss"
    loss: Literal["sample_dependent_focal"]
    gamma: NotNegative = 3.0


class DualFocal(MethodSettings):
    """DFL: (1 - p_y + p_j)^gamma CE, j the most probable class below the label."""

    short_name, loss_class = "DFL", "DualFocalLoss"
    loss: Literal["dual_focal"]
    gamma: NotNegative = 5.0
    detached: Literal["none", "rival", "weight"] = Field(
        default="none", description="what of the weight has no gradient"
    )

    def title_in(self, convention: Convention) -> str:
        marked = {"none": "DFL", "rival": "DFL, rival detached", "weight": "DFL-GRA"}
        return super().title_in(convention).replace("DFL", marked[self.detached])


class BrierScaledCrossEntropy(MethodSettings):
    """BSCE-GRA: CE, times a distance of the probabilities from the label without gradient."""

    short_name, loss_class = "BSCE-GRA", "BrierScaledCrossEntropyLoss"
    loss: Literal["brier_scaled_cross_entropy"]
    norm: Annotated[float, Field(ge=1, le=1e38, strict=True)] = 2.0
    gamma: Annotated[float, Field(ge=0, le=MOST_SCALE_EXPONENT, strict=True)] = 2.0
    detached: bool = Field(default=True, description="false is BSCE, whose distance has a gradient")

    def title_in(self, convention: Convention) -> str:
        title = super().title_in(convention)
        return title if self.detached else title.replace("-GRA", "")


class FocalCalibration(MethodSettings):
    """FCL: focal loss + weight * Brier score; SA-FCL with a gate."""

    short_name, loss_class = "FCL", "FocalCalibrationLoss"
    loss: Literal["focal_calibration"]
    gamma: NotNegative = 2.0
    weight: NotNegative = 1.0
    gate: NotNegative | None = Field(
        default=None, description="the Brier score counts (1 - p_y)^gate times; null is no gate"
    )
    gate_detached: bool = Field(default=True, description="whether the gate has no gradient")

    def title_in(self, convention: Convention) -> str:
        return ("" if self.gate is None else "SA-") + super().title_in(convention)


class OnABase(MethodSettings):
    """A penalty on what a base's targets, or its focal factor, make of cross-entropy."""

    base: Literal["hard_labels", "label_smoothing", "focal"] = Field(
        default="hard_labels",
        description="the loss that the penalty is added to, with its default settings",
    )

    def title_in(self, convention: Convention) -> str:
        on = {"hard_labels": "", "label_smoothing": "LS + ", "focal": "FL + "}[self.base]
        return on + super().title_in(convention)


class ConfidencePenalty(OnABase):
    """ECP: base - weight * entropy."""

    short_name, loss_class = "ECP", "ConfidencePenaltyLoss"
    loss: Literal["confidence_penalty"]
    weight: NotNegative = 0.1


class DCA(AlsoReleased):
    """DCA: CE + weight * |confidence - accuracy| of the batch."""

    short_name, loss_class = "DCA", "DCALoss"
    loss: Literal["dca"]
    weight: NotNegative = 10.0


class MDCA(OnABase, AlsoReleased):
    """MDCA: base + weight * the mean over classes of |confidence - frequency| of the batch."""

    short_name, loss_class = "MDCA", "MDCALoss"
    loss: Literal["mdca"]
    weight: NotNegative = 1.0

    @model_validator(mode="after")
    def _released_on_cross_entropy_only(self) -> MDCA:
        if self.convention == "released_code" and self.base != "hard_labels":
            raise ValueError(f"base: the released code has hard_labels only, received {self.base}")
        return self


class MarginLabelSmoothing(MethodSettings):
    """MbLS: CE + weight * what the logits' distances to the largest exceed the margin by."""

    short_name, loss_class = "MbLS", "MarginLabelSmoothingLoss"
    loss: Literal["margin_label_smoothing"]
    margin: NotNegative = 10.0
    weight: NotNegative = 0.1


class MaxSup(MethodSettings):
    """MaxSup: CE + weight * what the largest logit exceeds the mean of all by."""

    short_name, loss_class = "MaxSup", "MaxSupLoss"
    not_of_the_loss: ClassVar[frozenset[str]] = MethodSettings.not_of_the_loss | {"final_factor"}
    loss: Literal["maxsup"]
    weight: NotNegative = Field(default=0.1, description="of the first epoch")
    final_factor: Annotated[float, Field(ge=0, le=1000, strict=True)] = Field(
        default=2.0,
        description="of weight in the last epoch, which it reaches in equal steps; 1 leaves it as "
        "it is. With one epoch the weight is the first, and early stopping ends before the last",
    )


class ACLS(MethodSettings):
    """ACLS: CE + weight * squares of what exceeds the margin: largest logits, and their distances.

    The largest logits count times positive_weight, distances to them times negative_weight.
    """

    short_name, loss_class = "ACLS", "ACLSLoss"
    loss: Literal["acls"]
    margin: NotNegative = 10.0
    weight: _ACLSWeight = 0.1
    positive_weight: _ACLSWeight = 1.0
    negative_weight: _ACLSWeight = 0.1


class UniformPenalty(MethodSettings):
    """CE + weight * the L1 distance of the probabilities from uniform."""

    short_name, loss_class = "L1", "UniformPenaltyLoss"
    loss: Literal["uniform_penalty"]
    weight: NotNegative = 1.0


class MMCE(MethodSettings):
    """MMCE: CE + weight * a kernel distance between confidence and correctness in the batch."""

    short_name, loss_class = "MMCE", "MMCELoss"
    loss: Literal["mmce"]
    weight: NotNegative = 2.0
    weighted: bool = False


class Brier(MethodSettings):
    """Brier score: the squared distance of the probabilities from the label."""

    short_name, loss_class = "Brier", "BrierLoss"
    loss: Literal["brier"]


class ErroneousEntropy(MethodSettings):
    """MEEP: CE - weight * the mean entropy of misclassified samples, or MEEP-KL."""

    short_name, loss_class = "MEEP", "ErroneousEntropyLoss"
    loss: Literal["erroneous_entropy"]
    weight: NotNegative = 0.3
    divergence: Literal["entropy", "kl"] = "entropy"

    def title_in(self, convention: Convention) -> str:
        return super().title_in(convention) + ("-KL" if self.divergence == "kl" else "")


class DifferentiableECE(MethodSettings):
    """DECE: CE + weight * a differentiable expected calibration error of the batch."""

    short_name, loss_class = "DECE", "DifferentiableECELoss"
    loss: Literal["differentiable_ece"]
    weight: NotNegative = 0.5
    num_bins: Annotated[int, Field(gt=0, le=_MOST_SOFT_BINS, strict=True)] = 15


class ClassDistributionLabelSmoothing(MethodSettings):
    """Label smoothing that grows with the class's frequency in training."""

    short_name, loss_class = "CDA-LS", "ClassDistributionLabelSmoothingLoss"
    from_data: ClassVar[tuple[str, ...]] = ("class_counts",)
    loss: Literal["class_distribution_label_smoothing"]
    alpha: Weight = 0.1
    gamma: Weight = 0.01

    @model_validator(mode="after")
    def _at_most_all(self) -> ClassDistributionLabelSmoothing:
        if self.alpha + self.gamma > 1:
            raise ValueError(f"gamma: expected alpha + gamma <= 1, received {self.gamma}")
        return self


class ConfusionPenalty(MethodSettings):
    """CPLS: label smoothing towards what the validation confuses the class with."""

    short_name, loss_class = "CPLS", "ConfusionPenaltyLoss"
    from_data: ClassVar[tuple[str, ...]] = ("num_classes",)
    smooths_towards_others: ClassVar[bool] = True
    loss: Literal["confusion_penalty"]
    alpha: Weight = 0.1


class FedLAS(MethodSettings):
    """FedLAS: label smoothing whose strength follows the norm of a sample's features."""

    short_name, loss_class = "FedLAS", "FedLASLoss"
    from_data: ClassVar[tuple[str, ...]] = ("num_classes",)
    needs_features: ClassVar[bool] = True
    loss: Literal["fedlas"]
    smoothing: Annotated[float, Field(ge=0, le=0.5, strict=True)] = Field(
        default=0.05, description="that of a sample whose norm is the mean; twice this at most"
    )
    slope: NotNegative = Field(default=4.0, description="how fast it changes with the norm")
    momentum: Weight = Field(default=0.95, description="weight of the new batch in the statistics")
    margin: NotNegative | None = Field(
        default=None,
        description="of FedLAS+: what it leaves of logits' distances; null is FedLAS. "
        "smoothing and slope stay as they are; with it the authors have 0.1 and 0.5 (CIFAR-10)",
    )
    gate_learning_rate: NotNegative = Field(
        default=0.1, description="of the SGD of the gate, which gives the sign of a sample"
    )
    gate_momentum: Weight = Field(default=0.9, description="of that SGD")
    gate_weight_decay: NotNegative = Field(default=5e-4, description="of that SGD")
    seed: Seed = Field(default=0, description="of the gate's first weights")

    def title_in(self, convention: Convention) -> str:
        plus = "" if self.margin is None else "+"
        return super().title_in(convention).replace(self.short_name, self.short_name + plus, 1)


class LearnedLabelSmoothing(MethodSettings):
    """LS++: label smoothing whose shares of the other classes are trained with the network."""

    short_name, loss_class = "LS++", "LearnedLabelSmoothingLoss"
    from_data: ClassVar[tuple[str, ...]] = ("num_classes",)
    smooths_towards_others: ClassVar[bool] = True
    loss: Literal["learned_label_smoothing"]
    alpha: Weight = 0.1
    learning_rate: NotNegative | None = Field(
        default=0.1, description="of the shares; null is the network's in the same step"
    )
    momentum: Weight = 0.9
    weight_decay: NotNegative = 5e-4


class CALS(MethodSettings):
    """CALS: CE + a penalty on distances of logits, whose multipliers the validation sets."""

    short_name, loss_class = "CALS", "CALSLoss"
    from_data: ClassVar[tuple[str, ...]] = ("num_classes",)
    loss: Literal["cals"]
    margin: Annotated[float, Field(ge=LEAST_MARGIN, le=MOST_MARGIN, strict=True)] = Field(
        default=10.0, description="distance of logits from the largest that costs nothing"
    )
    penalty: Literal["phr", "p2", "p3"] = Field(
        default="phr", description="what is made of the distances beyond the margin"
    )
    normalize: bool = Field(
        default=True, description="whether the distances are divided by the margin"
    )
    update_every: Count | None = Field(
        default=10,
        description="epochs after which penalty parameters may grow; null is never",
    )
    growth: Annotated[float, Field(ge=1, le=1e38, strict=True)] = Field(
        default=1.2, description="what they grow by, up to 10"
    )
    improvement: NotNegative = Field(
        default=0.9, description="they grow where the mean distance is above this times the last"
    )


class AdaptiveFocal(MethodSettings):
    """AdaFocal: focal loss with a gamma for each bin of confidence, which the validation sets."""

    short_name, loss_class = "AdaFocal", "AdaptiveFocalLoss"
    loss: Literal["adaptive_focal"]
    num_bins: Annotated[int, Field(gt=0, le=_MOST_SOFT_BINS, strict=True)] = Field(
        default=15, description="of confidence, of equally many validation images"
    )
    rate: NotNegative = Field(default=1.0, description="how fast gamma follows a bin's gap")


class TfKDRegularization(MethodSettings):
    """Tf-KD with a virtual teacher."""

    short_name, loss_class = "Tf-KD reg", "TfKDRegularizationLoss"
    loss: Literal["tf_kd_regularization"]
    alpha: Weight = 0.95
    temperature: Positive = 10.0
    correct_probability: Annotated[float, Field(gt=0, le=1, strict=True)] = 0.99
    multiplier: NotNegative = 1.0
    convention: Convention = _CONVENTION


class TfKDSelfTraining(MethodSettings):
    """Tf-KD whose teacher is the hard-label run of the same seed."""

    short_name, loss_class = "Tf-KD self", "TfKDSelfTrainingLoss"
    loss: Literal["tf_kd_self_training"]
    alpha: Weight = 0.9
    temperature: Positive = 20.0
    multiplier: NotNegative | None = Field(
        default=None, description="of the KL term; null is temperature squared, its authors' factor"
    )
    convention: Convention = _CONVENTION


Method = Annotated[
    HardLabels
    | LabelSmoothing
    | LSPlus
    | OnlineLabelSmoothing
    | LSPlusOnline
    | Focal
    | SampleDependentFocal
    | DualFocal
    | BrierScaledCrossEntropy
    | FocalCalibration
    | ConfidencePenalty
    | DCA
    | MDCA
    | MarginLabelSmoothing
    | MaxSup
    | ACLS
    | UniformPenalty
    | MMCE
    | Brier
    | ErroneousEntropy
    | DifferentiableECE
    | ClassDistributionLabelSmoothing
    | ConfusionPenalty
    | FedLAS
    | LearnedLabelSmoothing
    | CALS
    | AdaptiveFocal
    | TfKDRegularization
    | TfKDSelfTraining,
    Field(discriminator="loss"),
]
# By their names in configs.
METHODS: dict[str, type[MethodSettings]] = {
    get_args(kind.model_fields["loss"].annotation)[0]: kind
    for kind in get_args(get_args(Method)[0])
}


def short_names(methods: dict[str, Method], convention: Convention = "standard") -> dict[str, str]:
    """What a method is called in tables: HL, LS, LS+, OLS ... where only one has that title.

    A method is marked where it does not follow the experiment's `convention`.
    """
    titles = {name: method.title_in(convention) for name, method in methods.items()}
    listed = list(titles.values())
    return {name: title if listed.count(title) == 1 else name for name, title in titles.items()}
