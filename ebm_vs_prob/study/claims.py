"""The claims of the lecture (LeCun, NYU Deep Learning 2020, week 7, part 1) that studies hold against measurements."""

from __future__ import annotations

from dataclasses import dataclass

#: Where the lecture's words stand: notes by Chahal, He, Gao and Zhu, 9 March 2020 (`lecun2020energy`).
LECTURE = "https://atcold.github.io/NYU-DLSP20/en/week07/07-1/"


@dataclass(frozen=True)
class Claim:
    """One claim of the lecture.

    Attributes:
        text: what it says, in our words.
        quote: the lecture's own words, short and exact.
        home: the study that decides it, whatever others find beside it.
        tags: what it is about.
    """

    text: str
    quote: str
    home: str
    tags: tuple[str, ...]


REGISTER = {
    "C1": Claim(
        "Inference is the argmin of F(x, ·), and gradient descent on a smooth F finds it",
        "We would like the energy function to be smooth and differentiable so that we can use it to perform the "
        "gradient-based method for inference.",
        "descent",
        ("inference",),
    ),
    "C2": Claim(
        "A graphical model is an energy-based model whose energy is a sum of factors; its structure gives inference",
        "Graphical models are a special case of Energy-Based models.",
        "structure",
        ("inference", "discrete"),
    ),
    "C3": Claim(
        "The free energy tends to the minimum over the latent as β grows; a small β averages",
        "And this is equivalent to redefining the energy function as: F_∞(x,y) = argmin_z E(x,y,z)",
        "free_energy",
        ("latent",),
    ),
    "C4": Claim(
        "Varying the latent sweeps the answers over the manifold of possible answers",
        "by varying the latent variable over a set, we can make the prediction output y vary over the manifold of "
        "possible predictions",
        "latent_sweep",
        ("latent", "thin"),
    ),
    "C5": Claim(
        "Gibbs-Boltzmann turns energies into probabilities, and β sets the sharpness",
        "β is positive constant and needs to be calibrated to fit your model",
        "temperature",
        ("probability", "calibration"),
    ),
    "C6": Claim(
        "Marginalising the latent exactly is Gibbs-Boltzmann on the free energy",
        "we just need to redefine the energy function F_β (Free Energy)",
        "minimise_or_marginalise",
        ("latent", "probability"),
    ),
    "C7": Claim(
        "The free energy is intractable in general and variational methods bound it; minimising can still be done",
        "Computing this can be very hard... In fact, in most cases, it's probably intractable.",
        "variational_gap",
        ("latent", "probability"),
    ),
    "C8": Claim(
        "For a decision the probabilities do not matter, only that the best decision scores best",
        "So probabilities are useless if you want to make decisions.",
        "decision",
        ("decision",),
    ),
    "C9": Claim(
        "Systems trained apart combine well only through calibrated scores",
        "There is only one way to calibrate scores, and that is to turn them into probabilities.",
        "fusion",
        ("decision", "calibration"),
    ),
    "C10": Claim(
        "Energy-based models leave the training objective open, and not every objective works",
        "Energy-based models give you way more choices in how you handle the model, way more choices of how you train "
        "it, and what objective function you use.",
        "objectives",
        ("objective",),
    ),
    "C11": Claim(
        "On an infinitely thin manifold maximum likelihood drives the density to infinity, and the weights with it",
        "your neural net will have to have infinite weights",
        "thin_manifold",
        ("thin", "objective"),
    ),
    "C12": Claim(
        "A perfect density is useless for inference by descent; a smooth contrast function is not",
        "Imagine that you had the perfect density model for this example, which is a thin plate in that (x, y) space "
        "-- you couldn't do inference!",
        "thin_manifold",
        ("thin", "inference"),
    ),
    "C13": Claim(
        "A Bayesian prior is an additive regulariser",
        "Energy-based models that have a regulariser, which is additive to your energy function, are completely "
        "equivalent to Bayesian models",
        "prior_is_regulariser",
        ("prior",),
    ),
    "C14": Claim(
        "A strong smoothness prior rescues the probabilistic model, and makes it an energy-based one",
        "oh but you can correct this by having a strong prior where the prior says your density function has to be "
        "smooth",
        "smoothness_prior",
        ("prior", "thin"),
    ),
    "C15": Claim(
        "Normalising a wrong model makes it more wrong, most in high-dimensional continuous spaces",
        "They're all wrong in a way, and if you try to normalize them, you make them more wrong.",
        "wrong_model",
        ("misspecified", "high-dimensional"),
    ),
    "C16": Claim(
        "Discrete outputs are fine for normalised models; large combinatorial ones are not",
        "Even if the output is discrete, it could have a large sample space.",
        "strings",
        ("discrete", "high-dimensional"),
    ),
    "C17": Claim(
        "One answer is not enough: regression averages the answers away",
        "This allows a machine to produce multiple outputs, not just one.",
        "averages",
        ("inference",),
    ),
    "C18": Claim(
        "If you insist that your model be probabilistic, you have to use maximum likelihood",
        "If you insist your model be probabilistic, you have to use maximum likelihood",
        "scoring_rules",
        ("objective", "probability"),
    ),
    "C19": Claim(
        "Likelihood is proven only when the model is correct, and it never is",
        'this can only be proven to work in the case where your model is "correct" -- and your model is never '
        '"correct"',
        "misspecified",
        ("misspecified", "decision"),
    ),
    "C20": Claim(
        "Some inference needs more than a feed-forward pass",
        "What if the inference procedure is a more complex calculation than stacked layers of weighted sums?",
        "deliberation",
        ("inference", "discrete"),
    ),
}

CLAIMS = {name: claim.text for name, claim in REGISTER.items()}
