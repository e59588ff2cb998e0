"""The claims of the lecture (LeCun, NYU Deep Learning 2020, week 7, part 1) that studies hold against measurements."""

CLAIMS = {
    "C1": "Inference is the argmin of F(x, ·), and gradient descent on a smooth F finds it",
    "C2": "A graphical model is an energy-based model whose energy is a sum of factors; its structure gives inference",
    "C3": "The free energy tends to the minimum over the latent as β grows; a small β averages",
    "C4": "Varying the latent sweeps the answers over the manifold of possible answers",
    "C5": "Gibbs-Boltzmann turns energies into probabilities, and β sets the sharpness",
    "C6": "Marginalising the latent exactly is Gibbs-Boltzmann on the free energy",
    "C7": "The free energy is intractable in general and variational methods bound it; minimising can still be done",
    "C8": "For a decision the probabilities do not matter, only that the best decision scores best",
    "C9": "Systems trained apart combine well only through calibrated scores",
    "C10": "Energy-based models leave the training objective open, and not every objective works",
    "C11": "On an infinitely thin manifold maximum likelihood drives the density to infinity, and the weights with it",
    "C12": "A perfect density is useless for inference by descent; a smooth contrast function is not",
    "C13": "A Bayesian prior is an additive regulariser",
    "C14": "A strong smoothness prior rescues the probabilistic model, and makes it an energy-based one",
    "C15": "Normalising a wrong model makes it more wrong, most in high-dimensional continuous spaces",
    "C16": "Discrete outputs are fine for normalised models; large combinatorial ones are not",
    "C17": "One answer is not enough: regression averages the answers away",
    "C18": "If you insist that your model be probabilistic, you have to use maximum likelihood",
    "C19": "Likelihood is proven only when the model is correct, and it never is",
    "C20": "Some inference needs more than a feed-forward pass",
}
