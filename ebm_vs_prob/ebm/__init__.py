"""Unnormalised energy-based models; the mirror of `prob`, so that two ways of each idea can be read together.

| idea | `ebm` | `prob` |
|---|---|---|
| what training minimises | `objectives`: margins, contrasts, scores | `objectives`: likelihood and its bounds |
| what keeps the energy from collapsing | `negatives`, `proposal_method`: contrast | `proposal_method`: normalise |
| the latent z | `latents`: minimised, or F_beta of limited capacity | `latents`: guides, marginals, enumeration |
| what is believed beforehand | `regularisers` | `priors`, `thickness_priors` |
| whole recipes, one file each | `methods` | `methods`, on the normalised baselines' `densities` |

Neither family imports the other. Both read an energy as a probability with `ebm_vs_prob.gibbs`.
"""
