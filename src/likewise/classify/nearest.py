"""Categories by labelled examples, from the vector that the lookup needs anyway.

A linear discriminant with a shrunken covariance (R. Fisher 1936; the shrinkage toward a multiple of
the identity as in O. Ledoit and M. Wolf, J. Multivariate Analysis 2004, with a fixed share) over
the embedding and a few numbers on how the text is written. It has a closed form: thirty examples of
a category are enough, the fit takes a tenth of a second, and a question costs one small product.
Its scores become probabilities by one temperature, fitted to what it says of examples left out.
"""

from __future__ import annotations

import io
import logging
import math
import operator
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from likewise.classify.style import STYLE, style_of
from likewise.embed import Embedder, Vectors
from likewise.errors import ConfigError
from likewise.files import write_whole
from likewise.kept import cache_folder

logger = logging.getLogger("likewise")

_RECIPE = "lda-7"
"""Name of the way of fitting; change it with anything below that changes a score."""

_SHRINKAGE = 0.5
_STYLE_WEIGHT = 0.2
"""Of a standard deviation of style beside a vector of length 1."""

_LEAST_DEVIATION = 0.1
_FOLDS = 5
_BATCH = 32
_LEAST_EXAMPLES = 2
_TEMPERATURES = np.geomspace(0.25, 32.0, 43)
_LIKELY = 0.05
_MOST_LIKELY = 3
_OUTERMOST = 0.02
_UNLIKE = 0.5
"""A question is unlike a category when its cosine to the centre is below this share of what all but
the outermost examples have: a few examples do not reach as far as the questions that come."""

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Guess:
    """What a question probably is.

    Attributes:
        likely: The categories it may be, the most probable first, at most three; none when it is
            unlike every example.
        probabilities: How probable each of them is.
    """

    likely: tuple[str, ...]
    probabilities: tuple[float, ...]

    @property
    def category(self) -> str | None:
        """The most probable category."""
        return self.likely[0] if self.likely else None

    @property
    def confidence(self) -> float:
        """How probable that is, 0 for a question unlike every example."""
        return self.probabilities[0] if self.probabilities else 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Nearest:
    """The fitted classifier. Safe to use from many threads.

    Attributes:
        names: The ``c`` categories.
        weights: float32 of shape ``(dimensions + STYLE, c)``, for a vector and the style behind it
            as they are; the last number of a style is always 1, so its weights are the biases.
        centres: Mean vectors of the categories, of length 1, float32 of shape ``(c, dimensions)``.
        floors: Cosine to its centre below which a question is unlike a category.
        temperature: Of the scores.
        accuracy: Share of the examples that it names rightly when they are left out.
    """

    names: tuple[str, ...]
    weights: NDArray[np.float32]
    centres: NDArray[np.float32]
    floors: tuple[float, ...]
    temperature: float
    accuracy: float

    def guess(self, question: str, vector: Vectors) -> Guess:
        """Return what a question probably is.

        Args:
            question: Its text.
            vector: Its vector, float32 of shape ``(dimensions,)``, length 1.
        """
        width = len(vector)
        row = np.empty(width + STYLE, np.float32)
        row[:width] = vector
        row[width:] = style_of(question)
        # Of so few numbers plain Python is the faster, once they are out of the product.
        values = (row @ self.weights).tolist()
        best, scale = max(values), 1.0 / self.temperature
        place = values.index(best)
        if vector @ self.centres[place] < self.floors[place] and self._is_unlike_all(vector):
            return Guess((), ())
        odds = [math.exp((value - best) * scale) for value in values]
        total = sum(odds)
        least = _LIKELY * total
        likely = [place for place, value in enumerate(odds) if value >= least]
        if len(likely) != 1:
            ranked = sorted(range(len(odds)), key=odds.__getitem__, reverse=True)
            likely = ranked[: min(max(len(likely), 1), _MOST_LIKELY)]
        return Guess(
            tuple([self.names[place] for place in likely]),
            tuple([odds[place] / total for place in likely]),
        )

    def _is_unlike_all(self, vector: Vectors) -> bool:
        return not any(map(operator.ge, (self.centres @ vector).tolist(), self.floors))


def fit_nearest(
    examples: Mapping[str, Sequence[str]], embedder: Embedder, *, keep: bool = True
) -> Nearest:
    """Fit a classifier to labelled examples.

    Args:
        examples: Prompts by category, of two categories at least.
        embedder: What turns them into vectors; texts it cannot read whole do not count.
        keep: Whether to look in the cache folder for the same fit, and to keep it there.

    Raises:
        EmbedderError: The embedder failed.
    """
    path = None
    if keep:
        try:
            digest = sha256(repr((_RECIPE, embedder.name, sorted(examples.items()))).encode())
            path = cache_folder() / f"categories.{digest.hexdigest()[:24]}.npz"
            return _read(path.read_bytes())
        except OSError:
            pass  # not there yet
        except Exception:
            logger.debug("the kept classifier is damaged, it is fitted again", exc_info=True)
    fitted = rows_of(examples, embedder).fit()
    if path is not None:
        _keep(path, fitted)
    return fitted


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Examples as the classifier sees them.

    Attributes:
        names: The ``c`` categories.
        texts: The ``n`` examples.
        labels: Place of each example's category, shape ``(n,)``.
        vectors: float64 of shape ``(n, dimensions)``.
        styles: float64 of shape ``(n, STYLE)``.
    """

    names: tuple[str, ...]
    texts: Sequence[str]
    labels: NDArray[np.int_]
    vectors: Array
    styles: Array

    @property
    def style_mean(self) -> Array:
        """Mean of the styles, shape ``(STYLE,)``."""
        mean: Array = self.styles.mean(axis=0)
        return mean

    @property
    def style_scale(self) -> Array:
        """What a deviation from the mean is multiplied by, shape ``(STYLE,)``."""
        scale: Array = _STYLE_WEIGHT / (self.styles.std(axis=0) + _LEAST_DEVIATION)
        return scale

    @property
    def joined(self) -> Array:
        """Vectors and styles beside each other, shape ``(n, dimensions + STYLE)``."""
        styles = (self.styles - self.style_mean) * self.style_scale
        return np.concatenate([self.vectors, styles], axis=1)

    def left_out(self) -> Array:
        """Return each example's scores by a classifier fitted without it, shape ``(n, c)``."""
        labels, rows, count = self.labels, self.joined, len(self.names)
        # Dealt in turn within each category, so that every fold holds some of each.
        turn = np.zeros(len(labels), np.int_)
        for label in range(count):
            mine = np.flatnonzero(labels == label)
            turn[mine] = np.arange(len(mine)) % _FOLDS
        scores = np.zeros((len(labels), count))
        for fold in range(_FOLDS):
            held, rest = turn == fold, turn != fold
            weights, biases = _discriminant(labels[rest], rows[rest], count)
            scores[held] = rows[held] @ weights + biases
        return scores

    def temperature(self, scores: Array) -> float:
        """Return the temperature under which the examples left out are the most probable."""
        labels = self.labels

        def surprise(temperature: float) -> float:
            scaled = scores / temperature
            scaled -= scaled.max(axis=1, keepdims=True)
            own = scaled[np.arange(len(labels)), labels]
            return float(np.mean(np.log(np.exp(scaled).sum(axis=1)) - own))

        return float(min(_TEMPERATURES, key=surprise))

    def fit(self) -> Nearest:
        """Return the classifier fitted to all of them."""
        names, labels, vectors = self.names, self.labels, self.vectors
        weights, biases = _discriminant(labels, self.joined, len(names))
        scores = self.left_out()
        centres = np.stack([vectors[labels == label].mean(axis=0) for label in range(len(names))])
        centres /= np.linalg.norm(centres, axis=1, keepdims=True)
        own = (vectors * centres[labels]).sum(axis=1)
        floors = [
            _UNLIKE * np.quantile(own[labels == label], _OUTERMOST) for label in range(len(names))
        ]
        # Centring and scaling of the style go into its weights: nothing is left to do per question.
        split = vectors.shape[1]
        weights[split:] *= self.style_scale[:, None]
        weights[-1] += biases - self.style_mean @ weights[split:]
        return Nearest(
            names,
            weights.astype(np.float32),
            centres.astype(np.float32),
            tuple(floors),
            self.temperature(scores),
            float(np.mean(scores.argmax(axis=1) == labels)),
        )


def rows_of(examples: Mapping[str, Sequence[str]], embedder: Embedder) -> Rows:
    """Return examples as rows; those that the embedder cannot read whole are left out.

    So are categories with fewer than two.

    Raises:
        ConfigError: Fewer than two categories are left.
        EmbedderError: The embedder failed.
    """
    pairs = [(name, text) for name in sorted(examples) for text in examples[name]]
    pairs = [(name, text) for name, text in pairs if embedder.fits(text)]
    counts = Counter(name for name, _ in pairs)
    pairs = [(name, text) for name, text in pairs if counts[name] >= _LEAST_EXAMPLES]
    names = tuple(dict.fromkeys(name for name, _ in pairs))
    if len(names) < 2:
        msg = (
            f"two categories need {_LEAST_EXAMPLES} examples each that the embedder can read; "
            f"there are {len(names)} such categories"
        )
        raise ConfigError(msg)
    return Rows(
        names,
        [text for _, text in pairs],
        np.array([names.index(name) for name, _ in pairs], np.int_),
        _embedded([text for _, text in pairs], embedder),
        np.array([style_of(text) for _, text in pairs], np.float64),
    )


def _embedded(texts: Sequence[str], embedder: Embedder) -> Array:
    """Return the vectors of some texts; a few at a time, for each call may be one to a server."""
    parts = [embedder.embed(texts[n : n + _BATCH]) for n in range(0, len(texts), _BATCH)]
    return np.concatenate(parts).astype(np.float64)


def _discriminant(labels: NDArray[np.int_], rows: Array, count: int) -> tuple[Array, Array]:
    """Return weights and biases of the linear discriminant with equal priors."""
    width = rows.shape[1]
    means = np.zeros((count, width))
    for label in range(count):
        mine = rows[labels == label]
        means[label] = mine.mean(axis=0) if len(mine) else 0.0
    apart = rows - means[labels]
    covariance = apart.T @ apart / len(rows)
    covariance *= 1.0 - _SHRINKAGE
    covariance += _SHRINKAGE * np.eye(width) * (np.square(apart).sum() / len(rows) / width)
    weights: Array = np.linalg.solve(covariance, means.T).astype(np.float64, copy=False)
    biases: Array = -0.5 * (means.T * weights).sum(axis=0)
    return weights, biases


def _keep(path: Path, fitted: Nearest) -> None:
    """Write a fit to the cache folder; one that cannot be written is fitted at every start."""
    buffer = io.BytesIO()
    np.savez(buffer, **{field.name: getattr(fitted, field.name) for field in fields(Nearest)})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, buffer.getvalue())
    except OSError as error:
        logger.warning("cannot keep the classifier in %s: %s", path.parent, error.strerror)


def _read(data: bytes) -> Nearest:
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        found = {field.name: arrays[field.name] for field in fields(Nearest)}
    names = tuple(str(name) for name in found.pop("names"))
    floors = tuple(found.pop("floors").tolist())
    temperature, accuracy = float(found.pop("temperature")), float(found.pop("accuracy"))
    if found["weights"].shape != (found["centres"].shape[1] + STYLE, len(names)):
        msg = "not a fit of this version"
        raise ValueError(msg)
    return Nearest(names=names, floors=floors, temperature=temperature, accuracy=accuracy, **found)
