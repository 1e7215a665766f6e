"""The reference's classifier: softmax regression with a known Lipschitz constant, its τ and its scale."""
