"""Task-relatedness: a reference task transformed until it looks like the target, and what that says of the target.

In the order of the paper; each package uses those before it, and `estimator` and `certify` are what users call.

1. `tasks`: the two tasks, standardised and sampled.
2. `classifier`: the reference's classifier, whose Lipschitz constant τ is known.
3. `labels`: the label transformation, `D` and `B`, and which reference class a target class is matched with.
4. `maps`: the feature transformation.
5. `certificate`: the bound and its three terms, with the proof; `costs`: the ground costs that price transport.
6. `packs`: a reference without its samples.
7. `solvers`: from two tasks to a `Solution`; Algorithm 1 of the paper is one of them. `choices` lists solvers and
   costs.
8. `measure`, `certification`: the bound of a transformation on samples that it was not fitted to.
9. `results`: what a fit returns, shows and keeps.
10. `relate_samples`, `relate_statistics`, `references`: these steps for samples, for statistics, for several; each ends
    with `build_result`.
"""

from transferability import _moved as _moved
