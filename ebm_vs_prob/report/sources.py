"""BibTeX entries: what every report cites, and the sources of methods and tasks by name."""

from __future__ import annotations

from .baseline_sources import BASELINE_METHODS, LOAIZA_GANEM
from .posterior_sources import POSTERIOR_METHODS, Entry

ALWAYS: tuple[Entry, ...] = (
    ("misc", "lecun2020energy", {
        "author": "LeCun, Yann", "title": "Energy-Based Models", "year": "2020",
        "howpublished": "Deep Learning (DS-GA 1008), week 7, part 1, New York University, Spring 2020",
        "url": "https://atcold.github.io/NYU-DLSP20/en/week07/07-1/",
    }),
    ("incollection", "lecun2006tutorial", {
        "author": "LeCun, Yann and Chopra, Sumit and Hadsell, Raia and Ranzato, Marc'Aurelio and Huang, Fu Jie",
        "title": "A Tutorial on Energy-Based Learning", "booktitle": "Predicting Structured Data",
        "editor": "Bak{\\i}r, G{\\\"o}khan and Hofmann, Thomas and Sch{\\\"o}lkopf, Bernhard and Smola, Alexander J. "
        "and Taskar, Ben and Vishwanathan, S. V. N.",
        "publisher": "MIT Press", "year": "2006",
    }),
    ("incollection", "paszke2019pytorch", {
        "author": "Paszke, Adam and Gross, Sam and Massa, Francisco and others",
        "title": "{PyTorch}: An Imperative Style, High-Performance Deep Learning Library",
        "booktitle": "Advances in Neural Information Processing Systems 32", "year": "2019", "pages": "8024--8035",
    }),
    ("article", "bingham2019pyro", {
        "author": "Bingham, Eli and Chen, Jonathan P. and Jankowiak, Martin and Obermeyer, Fritz and Pradhan, Neeraj "
        "and Karaletsos, Theofanis and Singh, Rohit and Szerlip, Paul and Horsfall, Paul and Goodman, Noah D.",
        "title": "{Pyro}: Deep Universal Probabilistic Programming", "journal": "Journal of Machine Learning Research",
        "year": "2019", "volume": "20", "number": "28", "pages": "1--6",
    }),
    ("article", "kumar2019arviz", {
        "author": "Kumar, Ravin and Carroll, Colin and Hartikainen, Ari and Martin, Osvaldo",
        "title": "{ArviZ} a unified library for exploratory analysis of {Bayesian} models in {Python}",
        "journal": "Journal of Open Source Software", "year": "2019", "volume": "4", "number": "33", "pages": "1143",
        "doi": "10.21105/joss.01143",
    }),
    ("article", "virtanen2020scipy", {
        "author": "Virtanen, Pauli and Gommers, Ralf and Oliphant, Travis E. and others",
        "title": "{SciPy} 1.0: Fundamental Algorithms for Scientific Computing in {Python}",
        "journal": "Nature Methods", "year": "2020", "volume": "17", "pages": "261--272",
        "doi": "10.1038/s41592-019-0686-2",
    }),
    ("article", "holm1979simple", {
        "author": "Holm, Sture", "title": "A Simple Sequentially Rejective Multiple Test Procedure",
        "journal": "Scandinavian Journal of Statistics", "year": "1979", "volume": "6", "number": "2",
        "pages": "65--70",
    }),
)  # fmt: skip

_GUSTAFSSON: Entry = ("inproceedings", "gustafsson2020how", {
    "author": "Gustafsson, Fredrik K. and Danelljan, Martin and Timofte, Radu and Sch{\\\"o}n, Thomas B.",
    "title": "How to Train Your Energy-Based Model for Regression",
    "booktitle": "British Machine Vision Conference", "year": "2020",
})  # fmt: skip

_MA: Entry = ("inproceedings", "ma2018noise", {
    "author": "Ma, Zhuang and Collins, Michael",
    "title": "Noise Contrastive Estimation and Negative Sampling for Conditional Models: Consistency and "
    "Statistical Efficiency",
    "booktitle": "Empirical Methods in Natural Language Processing", "year": "2018", "pages": "3698--3707",
    "doi": "10.18653/v1/D18-1405",
})  # fmt: skip

_HINTON: Entry = ("article", "hinton2002training", {
    "author": "Hinton, Geoffrey E.", "title": "Training Products of Experts by Minimizing Contrastive Divergence",
    "journal": "Neural Computation", "year": "2002", "volume": "14", "number": "8", "pages": "1771--1800",
    "doi": "10.1162/089976602760128018",
})  # fmt: skip

#: Methods whose source is the lecture or the tutorial, which every report cites, have none of their own.
METHODS: dict[str, tuple[Entry, ...]] = {
    "energy_loss": (),
    "log_loss": (),
    "latent_free_energy": (),
    "latent_variable_likelihood": (
        ("article", "bishop1998gtm", {
            "author": "Bishop, Christopher M. and Svens{\\'e}n, Markus and Williams, Christopher K. I.",
            "title": "{GTM}: The Generative Topographic Mapping", "journal": "Neural Computation", "year": "1998",
            "volume": "10", "number": "1", "pages": "215--234", "doi": "10.1162/089976698300017953",
        }),
    ),
    "perceptron": (
        ("inproceedings", "collins2002discriminative", {
            "author": "Collins, Michael",
            "title": "Discriminative Training Methods for Hidden {Markov} Models: Theory and Experiments with "
            "Perceptron Algorithms",
            "booktitle": "Empirical Methods in Natural Language Processing", "year": "2002", "pages": "1--8",
        }),
    ),
    "hinge": (
        ("inproceedings", "taskar2003max", {
            "author": "Taskar, Ben and Guestrin, Carlos and Koller, Daphne", "title": "Max-Margin {Markov} Networks",
            "booktitle": "Advances in Neural Information Processing Systems 16", "year": "2003",
        }),
    ),
    "lvq2": (
        ("inproceedings", "kohonen1990improved", {
            "author": "Kohonen, Teuvo", "title": "Improved Versions of Learning Vector Quantization",
            "booktitle": "International Joint Conference on Neural Networks", "year": "1990", "pages": "545--550",
        }),
    ),
    "minimum_classification_error": (
        ("article", "juang1997minimum", {
            "author": "Juang, Biing-Hwang and Hou, Wu and Lee, Chin-Hui",
            "title": "Minimum Classification Error Rate Methods for Speech Recognition",
            "journal": "IEEE Transactions on Speech and Audio Processing", "year": "1997", "volume": "5",
            "number": "3", "pages": "257--265",
        }),
    ),
    "square_square": (
        ("inproceedings", "lecun2005loss", {
            "author": "LeCun, Yann and Huang, Fu Jie",
            "title": "Loss Functions for Discriminative Training of Energy-Based Models",
            "booktitle": "Artificial Intelligence and Statistics", "year": "2005",
        }),
    ),
    "square_exponential": (
        ("inproceedings", "chopra2005learning", {
            "author": "Chopra, Sumit and Hadsell, Raia and LeCun, Yann",
            "title": "Learning a Similarity Metric Discriminatively, with Application to Face Verification",
            "booktitle": "Computer Vision and Pattern Recognition", "year": "2005", "pages": "539--546",
        }),
    ),
    "minimum_empirical_error": (
        ("inproceedings", "ljolje1990estimation", {
            "author": "Ljolje, Andrej and Ephraim, Yariv and Rabiner, Lawrence R.",
            "title": "Estimation of Hidden {Markov} Model Parameters by Minimizing Empirical Error Rate",
            "booktitle": "International Conference on Acoustics, Speech, and Signal Processing", "year": "1990",
            "pages": "709--712",
        }),
    ),
    "contrastive_divergence": (_HINTON,),
    "persistent_contrastive_divergence": (
        _HINTON,
        ("inproceedings", "tieleman2008training", {
            "author": "Tieleman, Tijmen",
            "title": "Training Restricted {Boltzmann} Machines Using Approximations to the Likelihood Gradient",
            "booktitle": "International Conference on Machine Learning", "year": "2008", "pages": "1064--1071",
        }),
        ("inproceedings", "du2019implicit", {
            "author": "Du, Yilun and Mordatch, Igor",
            "title": "Implicit Generation and Modeling with Energy Based Models",
            "booktitle": "Advances in Neural Information Processing Systems 32", "year": "2019",
        }),
    ),
    "sparse_coding": (
        ("article", "olshausen1997sparse", {
            "author": "Olshausen, Bruno A. and Field, David J.",
            "title": "Sparse Coding with an Overcomplete Basis Set: A Strategy Employed by {V1}?",
            "journal": "Vision Research", "year": "1997", "volume": "37", "number": "23", "pages": "3311--3325",
        }),
        ("article", "beck2009fast", {
            "author": "Beck, Amir and Teboulle, Marc",
            "title": "A Fast Iterative Shrinkage-Thresholding Algorithm for Linear Inverse Problems",
            "journal": "SIAM Journal on Imaging Sciences", "year": "2009", "volume": "2", "number": "1",
            "pages": "183--202",
        }),
    ),
    "latent_clustering": (
        ("inproceedings", "bottou1995convergence", {
            "author": "Bottou, L{\\'e}on and Bengio, Yoshua",
            "title": "Convergence Properties of the {K-Means} Algorithms",
            "booktitle": "Advances in Neural Information Processing Systems 7", "year": "1995",
        }),
    ),
    "denoising_score_matching": (
        ("article", "vincent2011connection", {
            "author": "Vincent, Pascal", "title": "A Connection Between Score Matching and Denoising Autoencoders",
            "journal": "Neural Computation", "year": "2011", "volume": "23", "number": "7", "pages": "1661--1674",
            "doi": "10.1162/NECO_a_00142",
        }),
    ),
    "score_matching": (
        ("article", "hyvarinen2005estimation", {
            "author": "Hyv{\\\"a}rinen, Aapo",
            "title": "Estimation of Non-Normalized Statistical Models by Score Matching",
            "journal": "Journal of Machine Learning Research", "year": "2005", "volume": "6", "pages": "695--709",
        }),
    ),
    "sliced_score_matching": (
        ("inproceedings", "song2019sliced", {
            "author": "Song, Yang and Garg, Sahaj and Shi, Jiaxin and Ermon, Stefano",
            "title": "Sliced Score Matching: A Scalable Approach to Density and Score Estimation",
            "booktitle": "Uncertainty in Artificial Intelligence", "year": "2019",
        }),
    ),
    "multiscale_denoising_score_matching": (
        ("inproceedings", "song2019generative", {
            "author": "Song, Yang and Ermon, Stefano",
            "title": "Generative Modeling by Estimating Gradients of the Data Distribution",
            "booktitle": "Advances in Neural Information Processing Systems 32", "year": "2019",
        }),
        ("misc", "li2019learning", {
            "author": "Li, Zengyi and Chen, Yubei and Sommer, Friedrich T.",
            "title": "Learning Energy-Based Models in High-Dimensional Spaces with Multi-Scale "
            "Denoising Score Matching",
            "year": "2019", "eprint": "1910.07762", "archiveprefix": "arXiv",
        }),
    ),
    "negative_log_likelihood": (_MA,),
    **BASELINE_METHODS,
    **POSTERIOR_METHODS,
    "gibbs_maximum_likelihood": (_GUSTAFSSON,),
    "importance_sampled_likelihood": (_GUSTAFSSON,),
    "kl_divergence_importance_sampling": (_GUSTAFSSON,),
    "noise_contrastive_estimation": (
        ("article", "gutmann2012noise", {
            "author": "Gutmann, Michael U. and Hyv{\\\"a}rinen, Aapo",
            "title": "Noise-Contrastive Estimation of Unnormalized Statistical Models, with Applications to Natural "
            "Image Statistics",
            "journal": "Journal of Machine Learning Research", "year": "2012", "volume": "13", "pages": "307--361",
        }),
    ),
    "ranking_noise_contrastive_estimation": (
        ("misc", "jozefowicz2016exploring", {
            "author": "Jozefowicz, Rafal and Vinyals, Oriol and Schuster, Mike and Shazeer, Noam and Wu, Yonghui",
            "title": "Exploring the Limits of Language Modeling", "year": "2016", "eprint": "1602.02410",
            "archiveprefix": "arXiv",
        }),
        _MA,
    ),
    "self_normalised_likelihood": (
        ("misc", "senetaire2025learning", {
            "author": "Senetaire, Hugo and Jeha, Paul and Mattei, Pierre-Alexandre and Frellsen, Jes",
            "title": "Learning Energy-Based Models by Self-Normalising the Likelihood", "year": "2025",
            "eprint": "2503.07021", "archiveprefix": "arXiv",
        }),
    ),
}  # fmt: skip

_PRACTICUM: Entry = ("misc", "canziani2020practicum", {
    "author": "Canziani, Alfredo", "title": "Inference and Training of Latent Variable Energy-Based Models",
    "year": "2020", "howpublished": "Deep Learning (DS-GA 1008), practicum 15, New York University, Spring 2020",
    "url": "https://atcold.github.io/NYU-DLSP20/en/week15/15-1/",
})  # fmt: skip

TASKS: dict[str, tuple[Entry, ...]] = {
    "thin_sphere": (
        ("book", "mardia2000directional", {
            "author": "Mardia, Kanti V. and Jupp, Peter E.", "title": "Directional Statistics",
            "publisher": "Wiley", "year": "2000",
        }),
    ),
    "linear_gaussian": (
        ("article", "tipping1999probabilistic", {
            "author": "Tipping, Michael E. and Bishop, Christopher M.",
            "title": "Probabilistic Principal Component Analysis",
            "journal": "Journal of the Royal Statistical Society: Series B", "year": "1999", "volume": "61",
            "number": "3", "pages": "611--622",
        }),
    ),
    "ellipse": (_PRACTICUM,),
    "horn": (_PRACTICUM,),
    "circle": (LOAIZA_GANEM,),
    "gustafsson_1d": (_GUSTAFSSON,),
    "labelled_chain": (
        ("article", "rabiner1989tutorial", {
            "author": "Rabiner, Lawrence R.",
            "title": "A Tutorial on Hidden {Markov} Models and Selected Applications in Speech Recognition",
            "journal": "Proceedings of the IEEE", "volume": "77", "number": "2", "pages": "257--286", "year": "1989",
        }),
    ),
    "digits": (
        ("misc", "alpaydin1998optical", {
            "author": "Alpaydin, Ethem and Kaynak, Cenk", "title": "Optical Recognition of Handwritten Digits",
            "year": "1998", "howpublished": "UCI Machine Learning Repository", "doi": "10.24432/C50P49",
        }),
        ("article", "pedregosa2011scikit", {
            "author": "Pedregosa, Fabian and Varoquaux, Ga{\\\"e}l and Gramfort, Alexandre and others",
            "title": "Scikit-learn: Machine Learning in {Python}", "journal": "Journal of Machine Learning Research",
            "year": "2011", "volume": "12", "pages": "2825--2830",
        }),
    ),
}  # fmt: skip
