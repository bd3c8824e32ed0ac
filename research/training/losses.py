"""The terms of the loss and the teacher's whitening.

Together they put the student's raw cosine on a scale with a meaning: near 1 for the same picture or object, near 0 for
unrelated ones. The embedding is a mean of averages after ReLU, so its cosines are never negative; the targets are
clamped at zero for that reason.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812


@dataclass
class Whitening:
    """Mean and projection that give the teacher's features zero mean and unit variance in every direction kept.

    Without it every two pictures are alike to the teacher too: its features share a large common direction. See Jégou
    and Chum, "Negative evidences and co-occurrences in image retrieval: the benefit of PCA and whitening", 2012.

    Attributes:
        mean: [D].
        projection: [D, components].
    """

    mean: torch.Tensor
    projection: torch.Tensor

    @classmethod
    def fit(cls, features: torch.Tensor, components: int) -> Whitening:
        """Fits it to features [N, D] of a sample of crops."""
        normalised = F.normalize(features.double(), dim=1)
        mean = normalised.mean(0)
        centred = normalised - mean
        values, vectors = torch.linalg.eigh(centred.T @ centred / len(features))
        components = min(components, len(features) - 1, features.shape[1])
        values, vectors = values[-components:].flip(0), vectors[:, -components:].flip(1)
        projection = vectors / values.clamp(min=1e-12).sqrt()
        return cls(mean.float(), projection.float())

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """Whitened features [N, components], strongest direction first; their length is not 1."""
        return (F.normalize(features, dim=1) - self.mean) @ self.projection


# Of the inputs' mean variance: 512 inputs and a few thousand crops are ill-posed without it.
RIDGE = 0.1


def ridge(inputs: torch.Tensor, outputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean [D] and map [D, E] of the linear regression of outputs [N, E], of mean zero, on inputs [N, D]."""
    mean = inputs.mean(0)
    centred = (inputs - mean).double()
    covariance = centred.T @ centred / len(inputs)
    covariance += RIDGE * covariance.diagonal().mean() * torch.eye(len(covariance), device=covariance.device)
    return mean, torch.linalg.solve(covariance, centred.T @ outputs.double() / len(inputs)).float()


def target_cosines(whitened: torch.Tensor, exponent: float) -> torch.Tensor:
    """The cosines [N, N] that the student is to have: the teacher's, clamped at zero, to the power of `exponent`."""
    whitened = F.normalize(whitened, dim=1)
    target = (whitened @ whitened.T).clamp(min=0)
    # A power below 1 is infinitely steep at zero; the targets need no gradient, only finite values.
    return target if exponent == 1 else target.pow(exponent)


def relation(
    embedding: torch.Tensor, target: torch.Tensor, same_crop: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean squared difference between the student's cosine matrix and the target.

    Matching a batch's similarity matrix: Tung and Mori, "Similarity-preserving knowledge distillation", 2019; Park et
    al., "Relational knowledge distillation", 2019.

    Args:
        embedding: [N, D]; rows i and i + N / 2 are a pair of crops of one photo.
        target: [N, N].
        same_crop: bool [N / 2]: pairs of equal clean crops, for which the target is exactly 1.

    Returns:
        The mean over all pairs of different pictures, and the mean over the N / 2 pairs of one photo alone.
    """
    normalised = F.normalize(embedding, dim=1)
    difference = (normalised @ normalised.T - target).square()
    count = len(embedding)
    everything = (difference.sum() - difference.diagonal().sum()) / (count * (count - 1))
    half = count // 2
    found = (normalised[:half] * normalised[half:]).sum(1)
    wanted = target[:half, half:].diagonal()
    if same_crop is not None:
        wanted = torch.where(same_crop, torch.ones_like(wanted), wanted)
    return everything, (found - wanted).square().mean()


def regression(predicted: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """1 - cosine between predictions and what they are to be, [N, D] each; 0 is a perfect match.

    Of a linear head and the teacher's whitened features (the head is thrown away after training; Beyer et al.,
    "Knowledge distillation: a good teacher is patient and consistent", 2021: both look at the same crop), or of the
    embedding and the first weights' (`anchor.py`).
    """
    return 1 - F.cosine_similarity(predicted, wanted, dim=1).mean()


def dense(predicted: list[torch.Tensor], maps: list[torch.Tensor]) -> torch.Tensor:
    """Share of the variance of the teacher's maps that the predictions leave unexplained; the mean over the maps.

    Every place of a picture is an example, where the pooled features are one for the whole picture: far more to learn
    from few photos. The teacher looks at the student's own, distorted picture. Romero et al., "FitNets: hints for thin
    deep nets", 2015.

    Args:
        predicted: Float maps [N, C, H, W].
        maps: The teacher's, of the same shapes.
    """
    errors = [guess - standardised(wanted) for guess, wanted in zip(predicted, maps, strict=True)]
    return torch.stack([error.square().mean() for error in errors]).mean()


def standardised(maps: torch.Tensor) -> torch.Tensor:
    """Maps of mean 0 and variance 1 in every channel."""
    deviation, mean = torch.std_mean(maps, (0, 2, 3), keepdim=True)
    return (maps - mean) / (deviation + 1e-6)


def contrast(embedding: torch.Tensor, related: torch.Tensor, temperature: float) -> torch.Tensor:
    """InfoNCE between the two distorted crops of a photo against all other pictures of the batch.

    Oord et al., "Representation learning with contrastive predictive coding", 2018; for copy detection Pizzi et al., "A
    self-supervised descriptor for image copy detection", 2022 (SSCD). Other crops that show the same photo are no
    negatives.

    Args:
        embedding: [N, D]; rows i and i + N / 2 belong together.
        related: bool [N, N], crops that show the same photo.
        temperature: Divides the cosines.
    """
    normalised = F.normalize(embedding, dim=1)
    count = len(embedding)
    own = torch.arange(count, device=embedding.device)
    partner = (own + count // 2) % count
    excluded = related.clone()
    excluded[own, partner] = False
    excluded[own, own] = True
    logits = (normalised @ normalised.T / temperature).masked_fill(excluded, float("-inf"))
    loss: torch.Tensor = F.cross_entropy(logits, partner)
    return loss


def koleo(embedding: torch.Tensor, related: torch.Tensor) -> torch.Tensor:
    """Minus the mean logarithm of the distance to the nearest other photo: small where the embedding is spread out.

    The differential entropy's Kozachenko-Leonenko estimator as in Sablayrolles et al., "Spreading vectors for
    similarity search", 2019, and SSCD (see `contrast`, also for the arguments).
    """
    normalised = F.normalize(embedding, dim=1)
    with torch.no_grad():
        cosines = (normalised @ normalised.T).masked_fill(related, -2)
        nearest = cosines.argmax(1)
    distance = (normalised - normalised[nearest] + 1e-6).norm(dim=1)
    spread: torch.Tensor = (distance + 1e-6).log().mean()
    return -spread
