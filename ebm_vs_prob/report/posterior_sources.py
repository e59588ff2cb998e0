"""BibTeX entries behind the methods with a prior over the weights."""

from __future__ import annotations

Entry = tuple[str, str, dict[str, str]]

_GIBBS: Entry = ("article", "mackay1992practical", {
    "author": "MacKay, David J. C.", "title": "A Practical {Bayesian} Framework for Backpropagation Networks",
    "journal": "Neural Computation", "year": "1992", "volume": "4", "number": "3", "pages": "448--472",
    "doi": "10.1162/neco.1992.4.3.448",
})  # fmt: skip

_HORSESHOE: Entry = ("article", "carvalho2010horseshoe", {
    "author": "Carvalho, Carlos M. and Polson, Nicholas G. and Scott, James G.",
    "title": "The Horseshoe Estimator for Sparse Signals",
    "journal": "Biometrika", "year": "2010", "volume": "97", "number": "2", "pages": "465--480",
    "doi": "10.1093/biomet/asq017",
})  # fmt: skip

POSTERIOR_METHODS: dict[str, tuple[Entry, ...]] = {
    "gibbs_maximum_a_posteriori": (_GIBBS, _HORSESHOE),
    "gibbs_ensemble": (
        ("inproceedings", "lakshminarayanan2017simple", {
            "author": "Lakshminarayanan, Balaji and Pritzel, Alexander and Blundell, Charles",
            "title": "Simple and Scalable Predictive Uncertainty Estimation Using Deep Ensembles",
            "booktitle": "Advances in Neural Information Processing Systems 30", "year": "2017",
        }),
        _HORSESHOE,
    ),
    "gibbs_variational_bayes": (
        ("inproceedings", "blundell2015weight", {
            "author": "Blundell, Charles and Cornebise, Julien and Kavukcuoglu, Koray and Wierstra, Daan",
            "title": "Weight Uncertainty in Neural Networks",
            "booktitle": "International Conference on Machine Learning", "year": "2015", "pages": "1613--1622",
        }),
        ("article", "ong2018gaussian", {
            "author": "Ong, Victor M.-H. and Nott, David J. and Smith, Michael S.",
            "title": "Gaussian Variational Approximation with a Factor Covariance Structure",
            "journal": "Journal of Computational and Graphical Statistics", "year": "2018", "volume": "27",
            "number": "3", "pages": "465--478", "doi": "10.1080/10618600.2017.1390472",
        }),
        _HORSESHOE,
    ),
    "gibbs_stochastic_gradient_langevin": (
        ("inproceedings", "welling2011bayesian", {
            "author": "Welling, Max and Teh, Yee Whye",
            "title": "Bayesian Learning via Stochastic Gradient {Langevin} Dynamics",
            "booktitle": "International Conference on Machine Learning", "year": "2011", "pages": "681--688",
        }),
        ("inproceedings", "li2016preconditioned", {
            "author": "Li, Chunyuan and Chen, Changyou and Carlson, David and Carin, Lawrence",
            "title": "Preconditioned Stochastic Gradient {Langevin} Dynamics for Deep Neural Networks",
            "booktitle": "AAAI Conference on Artificial Intelligence", "year": "2016", "pages": "1788--1794",
        }),
        _HORSESHOE,
    ),
    "gibbs_nuts": (
        ("article", "hoffman2014no", {
            "author": "Hoffman, Matthew D. and Gelman, Andrew",
            "title": "The {No-U-Turn} Sampler: Adaptively Setting Path Lengths in {Hamiltonian} {Monte} {Carlo}",
            "journal": "Journal of Machine Learning Research", "year": "2014", "volume": "15", "pages": "1593--1623",
        }),
        _HORSESHOE,
    ),
}  # fmt: skip
