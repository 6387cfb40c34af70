"""How good decision values are: metrics, scores and intervals."""
