"""BibTeX entries of the normalised baselines, from flows to chains of labels."""

from __future__ import annotations

from .posterior_sources import Entry

LOAIZA_GANEM: Entry = ("article", "loaizaganem2022diagnosing", {
    "author": "Loaiza-Ganem, Gabriel and Ross, Brendan Leigh and Cresswell, Jesse C. and Caterini, Anthony L.",
    "title": "Diagnosing and Fixing Manifold Overfitting in Deep Generative Models",
    "journal": "Transactions on Machine Learning Research", "year": "2022",
})  # fmt: skip

_DAI_WIPF: Entry = ("inproceedings", "dai2019diagnosing", {
    "author": "Dai, Bin and Wipf, David", "title": "Diagnosing and Enhancing {VAE} Models",
    "booktitle": "International Conference on Learning Representations", "year": "2019",
})  # fmt: skip

_SPLINE_FLOWS: tuple[Entry, ...] = (
    ("inproceedings", "durkan2019neural", {
        "author": "Durkan, Conor and Bekasov, Artur and Murray, Iain and Papamakarios, George",
        "title": "Neural Spline Flows", "booktitle": "Advances in Neural Information Processing Systems 32",
        "year": "2019",
    }),
    ("inproceedings", "dolatabadi2020invertible", {
        "author": "Dolatabadi, Hadi M. and Erfani, Sarah and Leckie, Christopher",
        "title": "Invertible Generative Modeling using Linear Rational Splines",
        "booktitle": "International Conference on Artificial Intelligence and Statistics", "year": "2020",
    }),
)  # fmt: skip

BASELINE_METHODS: dict[str, tuple[Entry, ...]] = {
    "coupling_flow": (
        ("inproceedings", "dinh2017density", {
            "author": "Dinh, Laurent and Sohl-Dickstein, Jascha and Bengio, Samy",
            "title": "Density Estimation Using {Real NVP}",
            "booktitle": "International Conference on Learning Representations", "year": "2017",
        }),
        *_SPLINE_FLOWS,
    ),
    "autoregressive_flow": (
        ("inproceedings", "papamakarios2017masked", {
            "author": "Papamakarios, George and Pavlakou, Theo and Murray, Iain",
            "title": "Masked Autoregressive Flow for Density Estimation",
            "booktitle": "Advances in Neural Information Processing Systems 30", "year": "2017",
        }),
        *_SPLINE_FLOWS,
    ),
    "mixture_density": (
        ("techreport", "bishop1994mixture", {
            "author": "Bishop, Christopher M.", "title": "Mixture Density Networks",
            "institution": "Neural Computing Research Group, Aston University", "number": "NCRG/94/004", "year": "1994",
        }),
    ),
    "vae": (
        ("inproceedings", "kingma2014auto", {
            "author": "Kingma, Diederik P. and Welling, Max", "title": "Auto-Encoding Variational {Bayes}",
            "booktitle": "International Conference on Learning Representations", "year": "2014",
        }),
        ("inproceedings", "sohn2015learning", {
            "author": "Sohn, Kihyuk and Lee, Honglak and Yan, Xinchen",
            "title": "Learning Structured Output Representation using Deep Conditional Generative Models",
            "booktitle": "Advances in Neural Information Processing Systems 28", "year": "2015",
        }),
        _DAI_WIPF,
        ("inproceedings", "burda2016importance", {
            "author": "Burda, Yuri and Grosse, Roger and Salakhutdinov, Ruslan",
            "title": "Importance Weighted Autoencoders",
            "booktitle": "International Conference on Learning Representations", "year": "2016",
        }),
        ("inproceedings", "li2016renyi", {
            "author": "Li, Yingzhen and Turner, Richard E.", "title": "{R{\\'e}nyi} Divergence Variational Inference",
            "booktitle": "Advances in Neural Information Processing Systems 29", "year": "2016",
        }),
    ),
    "kernel_density": (
        ("article", "parzen1962estimation", {
            "author": "Parzen, Emanuel", "title": "On Estimation of a Probability Density Function and Mode",
            "journal": "The Annals of Mathematical Statistics", "year": "1962", "volume": "33", "number": "3",
            "pages": "1065--1076", "doi": "10.1214/aoms/1177704472",
        }),
        ("incollection", "rosenblatt1969conditional", {
            "author": "Rosenblatt, Murray", "title": "Conditional Probability Density and Regression Estimators",
            "booktitle": "Multivariate Analysis II", "editor": "Krishnaiah, Paruchuri R.",
            "publisher": "Academic Press", "year": "1969", "pages": "25--31",
        }),
        ("inproceedings", "holmes2007fast", {
            "author": "Holmes, Michael P. and Gray, Alexander G. and Isbell, Charles L.",
            "title": "Fast Nonparametric Conditional Density Estimation",
            "booktitle": "Uncertainty in Artificial Intelligence", "year": "2007", "pages": "175--182",
        }),
    ),
    "gaussian_process": (
        ("book", "rasmussen2006gaussian", {
            "author": "Rasmussen, Carl Edward and Williams, Christopher K. I.",
            "title": "Gaussian Processes for Machine Learning", "publisher": "MIT Press", "year": "2006",
        }),
    ),
    "two_step": (
        LOAIZA_GANEM,
        _DAI_WIPF,
    ),
    "softmax_classifier": (
        ("incollection", "bridle1990probabilistic", {
            "author": "Bridle, John S.",
            "title": "Probabilistic Interpretation of Feedforward Classification Network Outputs, with "
            "Relationships to Statistical Pattern Recognition",
            "booktitle": "Neurocomputing: Algorithms, Architectures and Applications",
            "editor": "Fogelman Souli{\\'e}, Fran{\\c{c}}oise and H{\\'e}rault, Jeanny", "publisher": "Springer",
            "year": "1990", "pages": "227--236",
        }),
    ),
    "linear_chain_crf": (
        ("inproceedings", "lafferty2001conditional", {
            "author": "Lafferty, John D. and McCallum, Andrew and Pereira, Fernando C. N.",
            "title": "Conditional Random Fields: Probabilistic Models for Segmenting and Labeling Sequence Data",
            "booktitle": "International Conference on Machine Learning", "year": "2001", "pages": "282--289",
        }),
    ),
}  # fmt: skip
